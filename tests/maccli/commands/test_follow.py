"""`mac ingest --sync` and `--watch`, from the command line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maccli.commands import follow
from maccli.commands.outcomes import Teller
from maccli.output import Output
from maccli.reading import watch
from maccli.service.report import Outcome, Report
from store.errors import FingerprintMismatchError, StoreBusyError, StoreVersionError

from ..conftest import FakeMemory, Ran

Mac = Callable[..., Ran]
ROOT = Path(__file__).parents[3]


def test_the_command(mac: Mac, docs: Path, memory: FakeMemory) -> None:
    first = mac("ingest", "--sync", "docs")
    assert (first.code, first.err) == (0, "")
    assert first.out.startswith("3 documents: 3 added. 3 chunks, 30 tokens, ")
    (docs / "a.txt").rename(docs / "z.txt")
    (docs / "b.txt").unlink()
    dry = mac("ingest", "--sync", "docs", "--dry-run")
    assert dry.out.splitlines()[:2] == [
        "Would rename docs/z.txt (was docs/a.txt)",
        "Would remove docs/b.txt",
    ]
    assert dry.out.splitlines()[2].startswith(
        "Dry run. 3 documents: 1 renamed, 1 removed, 1 unchanged. Took "
    )
    ran = mac("ingest", "--sync", "docs", "-v", "--json")
    assert ran.code == 0
    assert ran.err.splitlines() == [
        "Renamed docs/z.txt (was docs/a.txt)",
        "Unchanged docs/deep/c.txt",
        "Removed docs/b.txt",
    ]
    report = ran.json
    assert (report["renamed"], report["removed"], report["unchanged"]) == (1, 1, 1)
    assert [d["was"] for d in report["documents"]] == [str(docs / "a.txt"), None, None]


def test_a_remark_that_repeats_hides_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(Output(), verbose=True)
    for _ in range(2):
        teller.tell(Outcome("a.pdf", "updated", remark="has a damaged page"))
        teller.tell(Outcome("b.pdf", "failed", "is empty"))
    assert capsys.readouterr().err.splitlines() == [
        "Warning: a.pdf has a damaged page",
        "Updated a.pdf",
        "Error: b.pdf: is empty",
        "Updated a.pdf",
    ]


def test_a_lost_folder_needs_a_yes(
    mac: Mac, docs: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    mac("ingest", "--sync", "docs")
    shutil.rmtree(docs)
    ran = mac("ingest", "--sync", "docs")
    assert ran.code == 1
    assert ran.err == "Error: docs is missing; its 3 documents were kept (--yes removes them)\n"
    assert len(mac("store", "ls", "--json").json) == 3
    assert len(mac("ingest", "--sync", "docs", "--json").json["held"][0]["documents"]) == 3
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return len(asked) > 1

    monkeypatch.setattr("click.confirm", confirm)
    assert mac("ingest", "--sync", "docs").code == 1
    agreed = mac("ingest", "--sync", "docs")
    assert asked == ["Remove 3 documents from the store?"] * 2
    assert agreed.code == 0 and agreed.out.startswith("3 documents: 3 removed. Took ")
    assert mac("store", "ls", "--json").json == []


def test_yes_needs_no_question(mac: Mac, docs: Path, memory: FakeMemory) -> None:
    mac("ingest", "--sync", "docs")
    shutil.rmtree(docs)
    assert mac("ingest", "--sync", "docs", "--yes", "--json").json["removed"] == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--sync", "docs/a.txt"), "--sync takes folders; docs/a.txt is not a folder."),
        (("--sync", "-"), "--sync takes folders; - is not a folder."),
        (("--sync", "docs", "--name", "x"), "--name does not go with --sync."),
        (("--watch", "docs", "--dry-run"), "--dry-run does not go with --watch."),
    ],
)
def test_what_cannot_be_followed(
    mac: Mac, docs: Path, memory: FakeMemory, args: tuple[str, ...], message: str
) -> None:
    ran = mac("ingest", *args)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


# --watch


@pytest.fixture
def watched(work: Path) -> Path:
    """A folder of one document."""
    folder = work / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("Document a tells of things.")
    return folder


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
    mac: Mac, watched: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing() -> None:
        pass

    def move() -> None:
        (watched / "a.txt").rename(watched / "z.txt")
        (watched / "broken.txt").write_bytes(bytes(range(256)) * 9)

    scripted(
        monkeypatch,
        nothing,
        move,
        nothing,
        lambda: shutil.rmtree(watched),
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
        "Error: docs is missing; its 1 document was kept (--yes removes it)",
        "Stopped.",
    ]
    assert memory.calls.count(("load", 1)) == 1
    assert len(mac("store", "ls", "--json").json) == 1


def test_each_change_is_one_line_of_json(
    mac: Mac, watched: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (watched / "a.txt").unlink, end=KeyboardInterrupt)
    (watched / "b.txt").write_text("Another one.")
    lines = mac("ingest", "--watch", "docs", "--json").out.splitlines()
    assert [(json.loads(line)["added"], json.loads(line)["removed"]) for line in lines] == [
        (2, 0),
        (0, 1),
    ]


def test_interrupted_at_work(mac: Mac, watched: Path, memory: FakeMemory) -> None:
    pytest.importorskip("watchfiles")

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    memory.before_amortize = interrupt
    ran = mac("ingest", "--watch", "docs")
    assert ran.code == 130
    assert ran.err.startswith("Warning: interrupted; 0 documents kept; run the same command")


def failing(monkeypatch: pytest.MonkeyPatch, *failures: BaseException) -> list[float]:
    """The next calls of `sync` fail; return the pauses that are made meanwhile."""
    from maccli.service import sync

    pauses: list[float] = []
    left, real = list(failures), sync.sync

    def fail(*args: Any, **options: Any) -> Report:
        if left:
            raise left.pop(0)
        return real(*args, **options)

    monkeypatch.setattr(sync, "sync", fail)
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


def test_what_may_pass_is_told_once_and_tried_again(
    mac: Mac, watched: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = [StoreBusyError("Another process is writing")] * 5
    full = [OSError(errno.ENOSPC, "No space left on device"), sqlite3.OperationalError("odd")]
    pauses = failing(monkeypatch, *busy, *full)
    scripted(monkeypatch, end=KeyboardInterrupt)
    ran = mac("ingest", "--watch", "docs")
    assert ran.code == 0 and ran.out.startswith("1 document: 1 added.")
    assert ran.err.splitlines() == [
        "Error: Another process is writing; trying again until it works",
        "Error: The disk is full; trying again until it works",
        "Error: odd; trying again until it works",
        "It works again.",
        "Following; Ctrl-C ends it.",
        "Stopped.",
    ]
    assert pauses == [1, 2, 4, 5, 5, 32, 60]


@pytest.mark.parametrize(
    "error", [FingerprintMismatchError("Other"), StoreVersionError("Newer"), KeyError("a bug")]
)
def test_what_cannot_pass_ends_it(
    mac: Mac,
    watched: Path,
    memory: FakeMemory,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    pauses = failing(monkeypatch, error)
    scripted(monkeypatch, end=KeyboardInterrupt)
    assert mac("ingest", "--watch", "docs").code == 1
    assert pauses == []


def test_ctrl_c_ends_the_wait(
    mac: Mac, watched: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    failing(monkeypatch, StoreBusyError("Busy"))
    monkeypatch.setattr("time.sleep", interrupt)
    scripted(monkeypatch, end=AssertionError)
    ran = mac("ingest", "--watch", "docs")
    assert ran.code == 0 and ran.err.splitlines()[-1] == "Stopped."


def test_a_change_is_taken_up_when_the_store_is_no_longer_busy(
    mac: Mac, watched: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAC_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(follow, "PATIENCE", 0.0)
    connections: list[sqlite3.Connection] = []

    def lock() -> None:
        connection = sqlite3.connect(tmp_path / "store" / "index.db", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        connections.append(connection)
        (watched / "b.txt").write_text("Another one.")

    def unlock(_: float) -> None:
        connections.pop().close()

    monkeypatch.setattr("time.sleep", unlock)
    scripted(monkeypatch, lock, end=KeyboardInterrupt)
    ran = mac("ingest", "--watch", "docs")
    assert ran.code == 0 and connections == []
    assert [line.split(". ")[0] for line in ran.out.splitlines()] == [
        "1 document: 1 added",
        "2 documents: 1 added, 1 unchanged",
    ]
    assert ran.err.count("trying again until it works") == 1


def test_without_the_library_there_is_a_hint(
    mac: Mac, watched: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    ran = mac("ingest", "--watch", "docs")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "Error: watchfiles is not installed.\nHint: Install the extra: "
        "pip install 'maccli[watch]' (in a clone: pip install '.[watch]')\n"
    )
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
    memory: FakeMemory, watched: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "ingest", "--watch", str(watched), "--json"],
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
            (watched / "b.txt").write_text("Document b tells of other things.")
            assert json.loads(process.stdout.readline())["added"] == 1
            (watched / "b.txt").rename(watched / "deep" / "c.txt")
            assert json.loads(process.stdout.readline())["renamed"] == 1
            (watched / "a.txt").unlink()
            assert json.loads(process.stdout.readline())["removed"] == 1
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
            assert process.stderr.read() == "Stopped.\n"
        finally:
            process.kill()
