"""`mac ingest --watch`: bursts of changes, and the store that follows them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maccli.service import watch
from maccli.service.watch import bursts

from ..conftest import FakeMemory, Ran

Mac = Callable[..., Ran]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def docs(work: Path) -> Path:
    folder = work / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("Document a tells of things.")
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SETTLED_MS", 50)
    monkeypatch.setattr(watch, "_WAKE_MS", 100)
    monkeypatch.setattr(watch, "_RETRY_SECONDS", 0.05)


def soon(*steps: Callable[[], object], pause: float = 0.2) -> threading.Thread:
    """Do something a little later, step by step."""

    def run() -> None:
        for step in steps:
            time.sleep(pause)
            step()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def expect(events: Iterator[None], *steps: Callable[[], object]) -> None:
    """The steps are noticed, as one burst or several; nothing else is."""
    thread = soon(*steps)
    next(events)
    thread.join()


@pytest.mark.usefixtures("quick")
def test_a_burst_is_told_when_it_has_settled(docs: Path, work: Path) -> None:
    events = bursts([str(docs)], str(docs / "bank"))
    next(events)  # watching has begun

    def write_many() -> None:
        for n in range(20):
            (docs / "deep" / f"{n}.txt").write_text("new")

    expect(events, write_many)
    assert len(list((docs / "deep").iterdir())) == 20
    expect(events, (docs / "a.txt").unlink)
    (docs / "b.txt").write_text("while the caller is at work")
    next(events)
    events.close()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("quick")
def test_what_a_walk_passes_by_and_the_store_are_no_news(docs: Path) -> None:
    for folder in ("bank", ".git", "node_modules"):
        (docs / folder).mkdir()
    events = bursts([str(docs)], str(docs / "bank"))
    next(events)
    seen = threading.Event()

    def wait() -> None:
        next(events)
        seen.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    for name in ("bank/index.db", ".git/HEAD", "node_modules/x.js", ".hidden"):
        (docs / name).write_text("noise")
    assert (docs / "a.txt").read_text()  # as every sync does
    assert not seen.wait(0.6)
    (docs / "new.txt").write_text("news")
    assert seen.wait(20)
    waiting.join()


@pytest.mark.usefixtures("quick")
def test_a_folder_that_goes_away_and_comes_back_is_watched_again(docs: Path) -> None:
    events = bursts([str(docs)], "/nowhere")
    next(events)
    away = docs.with_name("away")
    expect(events, lambda: docs.rename(away))
    assert not docs.exists()
    expect(events, lambda: away.rename(docs))
    assert docs.exists()
    expect(events, lambda: (docs / "new.txt").write_text("news"))
    assert (docs / "new.txt").exists()


def scripted(
    monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object], end: type[BaseException]
) -> None:
    """Instead of watching: a burst at once and one after every step, then `end`."""

    def fake(folders: list[str], store: str) -> Iterator[None]:
        yield
        for step in steps:
            step()
            yield
        raise end

    monkeypatch.setattr(watch, "bursts", fake)


def test_the_store_follows_until_ctrl_c(
    mac: Mac, docs: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing() -> None:
        pass

    def move() -> None:
        (docs / "a.txt").rename(docs / "z.txt")
        (docs / "broken.txt").write_bytes(bytes(range(256)) * 9)

    scripted(
        monkeypatch,
        nothing,
        move,
        nothing,
        lambda: shutil.rmtree(docs),
        nothing,
        end=KeyboardInterrupt,
    )
    ran = mac("ingest", "--watch", "docs")
    assert ran.code == 0
    assert [line.split(". ")[0] for line in ran.out.splitlines()] == [
        "1 document: 1 added",
        "2 documents: 1 renamed, 1 skipped",
    ]
    assert ran.err.splitlines() == [
        "Following; Ctrl-C ends it.",
        "Skipped docs/broken.txt: is a binary file",
        "Error: docs is missing; kept 1 document of it (--yes removes them)",
        "Stopped.",
    ]
    assert memory.calls.count(("load", 1)) == 1
    assert len(mac("store", "ls", "--json").json) == 1


def test_each_change_is_one_line_of_json(
    mac: Mac, docs: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (docs / "a.txt").unlink, end=KeyboardInterrupt)
    (docs / "b.txt").write_text("Another one.")
    lines = mac("ingest", "--watch", "docs", "--json").out.splitlines()
    assert [(json.loads(line)["added"], json.loads(line)["removed"]) for line in lines] == [
        (2, 0),
        (0, 1),
    ]


def test_interrupted_at_work(mac: Mac, docs: Path, memory: FakeMemory) -> None:
    pytest.importorskip("watchfiles")

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    memory.before_amortize = interrupt
    ran = mac("ingest", "--watch", "docs")
    assert ran.code == 130
    assert ran.err.startswith("Warning: interrupted; 0 documents kept; run the same command")


def test_without_the_library_there_is_a_hint(
    mac: Mac, docs: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    ran = mac("ingest", "--watch", "docs")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == ("Error: watchfiles is not installed.\nHint: pip install 'maccli[watch]'\n")
    assert memory.calls == []
    assert mac("ingest", "--sync", "docs").code == 0


def test_a_folder_must_be_there_to_be_watched(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("ingest", "--watch", "nowhere")
    assert ran.code == 1
    assert ran.err.startswith("Error: nowhere: no such folder\nHint: ")


RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from maccli.cli import main
from maccli.service import session
from tests.maccli.conftest import FakeMemory
session.load_model = lambda *_, **__: FakeMemory()
main(sys.argv[1:])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="needs signals")
def test_a_real_process_follows_and_ends_cleanly(
    memory: FakeMemory, docs: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "ingest", "--watch", str(docs), "--json"],
        cwd=ROOT,
        env={**os.environ, "MAC_STORE": str(tmp_path / "store"), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None and process.stderr is not None
            assert json.loads(process.stdout.readline())["added"] == 1
            assert process.stderr.readline() == "Following; Ctrl-C ends it.\n"
            (docs / "b.txt").write_text("Document b tells of other things.")
            assert json.loads(process.stdout.readline())["added"] == 1
            (docs / "b.txt").rename(docs / "deep" / "c.txt")
            assert json.loads(process.stdout.readline())["renamed"] == 1
            (docs / "a.txt").unlink()
            assert json.loads(process.stdout.readline())["removed"] == 1
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
            assert process.stderr.read() == "Stopped.\n"
        finally:
            process.kill()
