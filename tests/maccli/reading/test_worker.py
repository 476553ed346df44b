from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maccli.reading import worker
from maccli.reading.draft import Loaded
from maccli.reading.encodings import Empty, Refused
from maccli.reading.worker import ReaderError, Worker
from store.marks import Mark

# What stands in for a library: it does what the file says.
READER = """
import ctypes, os, sys, time
from maccli.reading.draft import Loaded
from maccli.reading.encodings import Empty
from store.marks import Mark

def read(data, name, encoding):
    order = data[:20].decode().strip()
    if order == "echo":
        print("a library says something", flush=True)
        os.write(1, b"to the descriptor, too")
        marks = (Mark(0, "h", "page 1"),)
        return Loaded(data.decode(), name, "text/x", str(encoding), ("r",), marks)
    if order == "half":
        return Loaded("\\ud83d", None, "text/x", "binary")
    if order == "where":
        return Loaded(os.getcwd() + " " + repr(sys.path), None, "text/x", "binary")
    if order == "empty":
        raise Empty("has no text in it")
    if order == "bug":
        raise ValueError("bad\\n  cross reference")
    if order == "memory":
        bytearray(3 * 2**30)
    if order == "deep":
        return read(data, name, encoding)
    if order == "crash":
        ctypes.string_at(0)
    if order == "exit":
        sys.exit(3)
    time.sleep(600)
"""


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    (tmp_path / "obedient_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = Worker("obedient_reader:read", seconds=30)
    yield found
    found.close()


def test_a_text_comes_back_whole(reader: Worker) -> None:
    data = "echo ".ljust(20).encode() + "Voilà 😀".encode() * 1000
    expected = Loaded(data.decode(), "n\udcff", "text/x", "koi8", ("r",), (Mark(0, "h", "page 1"),))
    assert reader.read(data, "n\udcff", "koi8") == expected
    assert reader.read(b"half", "x").text == "\ud83d"


def test_one_process_reads_many_files(reader: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.read(b"echo", "a")
    first = reader.pid
    with pytest.raises(Empty, match="^has no text in it$"):
        reader.read(b"empty", "a")
    reader.read(b"echo", "a")
    assert reader.pid == first
    monkeypatch.setattr(worker, "_RENEWED", 10)  # libraries leak
    reader.read(b"echo".ljust(20), "a")
    reader.read(b"echo", "a")
    assert reader.pid != first


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (b"bug", "^is damaged: bad cross reference$"),
        (b"exit", "^is damaged: 3$"),
        (b"deep", "^is damaged: it is nested too deeply$"),
        (b"crash", "^crashed the reader; it may be damaged$"),
        pytest.param(
            b"memory",
            "^needs too much memory to be read$",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="has no limit to set"),
        ),
    ],
)
def test_a_bad_file_is_one_line_and_the_next_is_read(
    reader: Worker, order: bytes, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        reader.read(order, "a")
    assert reader.read(b"echo", "b").title == "b"


def test_the_traceback_is_kept_for_whoever_asks(reader: Worker) -> None:
    with pytest.raises(Refused) as refusal:
        reader.read(b"bug", "a")
    assert isinstance(refusal.value.__cause__, ReaderError)
    assert "obedient_reader.py" in str(refusal.value.__cause__)


def test_a_file_that_takes_too_long_is_given_up(reader: Worker) -> None:
    reader._seconds = 0.2
    with pytest.raises(Refused, match=r"^takes too long to read \(more than 0 s\)$"):
        reader.read(b"sleep", "a")
    reader._seconds = 30
    assert reader.read(b"echo", "b").title == "b"


def test_a_process_that_is_killed_is_one_line_and_the_next_file_is_read(reader: Worker) -> None:
    reader.read(b"echo", "a")
    pid = reader.pid
    assert pid is not None
    killer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(Refused, match="^crashed the reader"):
        reader.read(b"sleep", "a")
    killer.join()
    assert reader.read(b"echo", "b").title == "b"


def test_ctrl_c_leaves_no_answer_behind(reader: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.read(b"echo", "a")
    first = reader.pid

    def interrupted(stream: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(worker, "_receive", interrupted)
        reader.read(b"echo", "a")
    assert reader.pid is None
    assert reader.read(b"echo", "b").title == "b"
    assert reader.pid != first


def test_nothing_is_imported_from_the_folder_the_user_is_in(
    reader: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = tmp_path / "downloads"
    hostile.mkdir()
    (hostile / "json.py").write_text("raise SystemExit('hostile')")
    monkeypatch.chdir(hostile)
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path])
    text = reader.read(b"where", "a").text
    assert text.startswith(f"{os.sep} ")
    assert "downloads" not in text and "''" not in text


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_process_ends_when_its_parent_does(tmp_path: Path) -> None:
    (tmp_path / "obedient_reader.py").write_text(READER)
    script = (
        "import os, sys; from maccli.reading.worker import Worker\n"
        "w = Worker('obedient_reader:read'); w.read(b'echo', 'a'); print(w.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(worker.__file__).parents[2])])
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    pid = int(run.stdout)
    while not gone(pid):  # at once, as its stdin ends; pytest's own patience is the limit
        time.sleep(0.01)
