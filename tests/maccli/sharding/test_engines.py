"""Shards with the real engines: Ray's actors, and an object store that speaks S3."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TEXTS = [
    f"Report {n}. In {1900 + n} the town of Varnholt had {n * 37} lamps. " * (1 + n % 3)
    for n in range(8)
]
SMALL = ("--shard-size", "0.00005")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(work: Path, build_memory: Any, tiny_llama: Path) -> Iterator[Start]:
    """Run `mac` with tiny networks in a process of its own."""
    build_memory(tiny_llama).stack.save(work / "made")
    (work / "docs").mkdir()
    for n, text in enumerate(TEXTS):
        (work / "docs" / f"{n}.txt").write_text(text)
    variables = {"MAC_MODEL": str(work / "made"), "RAY_USAGE_STATS_ENABLED": "0"}
    running = []

    def run(*args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "maccli", *args]
        pipe = subprocess.PIPE
        running.append(
            subprocess.Popen(
                command,
                env={**os.environ, **variables},
                stdout=pipe,
                stderr=pipe,
                text=True,
                start_new_session=True,
            )
        )
        return running[-1]

    yield run
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def done(process: subprocess.Popen[str]) -> str:
    """What it printed, after it ended well."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


def held(folder: Path) -> set[tuple[Any, ...]]:
    """Every chunk of a store: document, place, text, and the digest of text and modulation."""
    with sqlite3.connect(folder / "index.db") as connection:
        query = (
            "SELECT source, position, text, digest, data FROM chunks JOIN documents "
            "ON documents.id = document_id JOIN modulations ON chunk_id = chunks.id"
        )
        return set(connection.execute(query))


def imported(start: Start, bank: str, name: str, work: Path) -> set[tuple[Any, ...]]:
    done(start("store", "import", bank, "--store", name))
    found = held(work / name)
    assert len({row[0] for row in found}) == len(TEXTS)
    return found


def actors() -> list[int]:
    """The processes of Ray that amortize."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::" in (title := file.read_bytes()) and b"Map" in title:
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


def written(bank: Path, least: int) -> None:
    """Wait until so many shards are there."""
    until = time.monotonic() + 200
    while len(list(bank.glob("shards/*.json"))) < least:
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ray_with_actors_and_a_driver_that_are_killed(start: Start, work: Path) -> None:
    pytest.importorskip("ray")
    done(start("ingest", "docs", "--out", "alone", *SMALL))
    wanted = imported(start, "alone", "one", work)

    run = start("ingest", "docs", "--out", "bank", "--engine", "ray", *SMALL)
    written(work / "bank", 1)
    for actor in actors()[:1]:
        os.kill(actor, signal.SIGKILL)
    written(work / "bank", 3)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    there = {path: path.read_bytes() for path in (work / "bank").glob("shards/*.json")}

    out = done(start("ingest", "docs", "--out", "bank", "--engine", "ray", *SMALL))
    assert out.startswith(f"{len(TEXTS)} documents in {len(TEXTS)} shards")
    assert all(path.read_bytes() == data for path, data in there.items())
    assert imported(start, "bank", "two", work) == wanted


def test_an_object_store_without_credentials(start: Start, work: Path) -> None:
    pytest.importorskip("s3fs")
    run = start("ingest", "docs", "--out", "s3://archive/bank")
    _, err = run.communicate(timeout=240)
    assert run.returncode == 1 and "s3://archive/bank cannot be used" in err


def test_an_object_store(start: Start, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = moto.ThreadedMotoServer("127.0.0.1", port)
    server.start()
    try:
        settings = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "k"}
        settings |= {"AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="archive")
        for n, text in enumerate(TEXTS):
            client.put_object(Bucket="archive", Key=f"docs/{n}.txt", Body=text.encode())
        out = done(start("ingest", "s3://archive/docs", "--out", "s3://archive/bank", *SMALL))
        assert "mac store import s3://archive/bank" in out
        found = imported(start, "s3://archive/bank", "one", work)
        assert {row[0] for row in found} == {f"s3://archive/docs/{n}.txt" for n in range(8)}
        done(start("ingest", "docs", "--store", "two"))
        assert {row[1:3] for row in found} == {row[1:3] for row in held(work / "two")}
    finally:
        server.stop()
