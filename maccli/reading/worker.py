"""A process of its own for files that a library parses: a hostile one can end that, not this one.

It is started when the first such file is read, reads one after the other, and gets their bytes, not
their paths. Both sides send frames: four bytes with the length of a JSON object, the object, and
from here to there the file.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from maccli.reading.draft import Loaded
from maccli.reading.encodings import Binary, Empty, Refused
from store.marks import Mark

MEMORY = 2 * 2**30
"""Bytes of address space that reading a file may take."""
SECONDS, SECONDS_A_MB = 60, 2
"""How long reading a file may take."""
_RENEWED = 64 * 2**20  # bytes of files, after which a new process is started: libraries leak
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; from maccli.reading.worker import main; "
    "main(sys.argv[1])"
)
_REFUSALS: dict[str, type[Refused]] = {kind.__name__: kind for kind in (Refused, Empty, Binary)}


class ReaderError(Exception):
    """What went wrong in the other process, with its traceback."""


class Worker:
    """The other process, seen from here.

    Args:
        target: "module:function" that is called there with (data, name, encoding), and returns a
            `Loaded`.
        seconds: how long it may take, besides `SECONDS_A_MB`.
        memory: see `MEMORY`.
    """

    def __init__(
        self,
        target: str = "maccli.reading.reader:read",
        *,
        seconds: float = SECONDS,
        memory: int = MEMORY,
    ) -> None:
        self._target = target
        self._seconds = seconds
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._read_bytes = 0

    @property
    def pid(self) -> int | None:
        """The number of the process, if there is one."""
        return self._process.pid if self._process else None

    def read(self, data: bytes, name: str, encoding: str | None = None) -> Loaded:
        """Return the text of a file.

        Raises:
            Refused: it cannot be read, or is too much for the time and memory that it may take.
        """
        seconds = self._seconds + SECONDS_A_MB * len(data) / 2**20
        request = {
            "name": name,
            "encoding": encoding,
            "size": len(data),
            "seconds": seconds,
            "memory": self._memory,
        }
        with self._lock:
            try:
                answer = self._ask(request, data)
                self._read_bytes += len(data)
                if answer is None or answer.get("stop") or self._read_bytes > _RENEWED:
                    code = self._stop()
                    answer = answer or {"refused": _why(code, seconds)}
            except BaseException:  # Ctrl-C: the answer is still to come, so start anew
                self._stop()
                raise
        if "refused" in answer:
            refusal = _REFUSALS[answer.get("kind", "Refused")](answer["refused"])
            raise refusal from ReaderError(answer["trace"]) if "trace" in answer else None
        answer["marks"] = tuple(Mark(*mark) for mark in answer["marks"])
        answer["remarks"] = tuple(answer["remarks"])
        return Loaded(**answer)

    def close(self) -> None:
        """End the process; the next file starts another."""
        with self._lock:
            self._stop()

    def _ask(self, request: dict[str, Any], data: bytes) -> dict[str, Any] | None:
        """Return what the process answers; None if it ended instead."""
        process = self._process = self._process or self._start()
        assert process.stdin and process.stdout
        try:
            _send(process.stdin, request, data)
        except BrokenPipeError:
            return None
        return _receive(process.stdout)

    def _start(self) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).resolve().parents[2])
        paths = [path for path in sys.path if os.path.isabs(path)]
        self._read_bytes = 0
        return subprocess.Popen(
            # -P and absolute paths: nothing is imported from the folder that the user is in.
            [sys.executable, "-P", "-c", _START, self._target, *paths, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries tell of every small fault
            cwd=os.sep,
            start_new_session=True,  # Ctrl-C is for the parent
        )

    def _stop(self) -> int:
        """End the process, if there is one, and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        ended = process.poll()
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        return process.wait() if ended is None else ended


def _why(code: int, seconds: float) -> str:
    if code == -signal.SIGALRM:
        return f"takes too long to read (more than {seconds:.0f} s)"
    return "crashed the reader; it may be damaged"


def _send(stream: IO[bytes], head: dict[str, Any], data: bytes = b"") -> None:
    packed = json.dumps(head).encode("ascii")
    stream.write(len(packed).to_bytes(4, "big") + packed)
    stream.write(data)
    stream.flush()


def _receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """Return the next object; None at the end of the stream."""
    size = stream.read(4)
    packed = stream.read(int.from_bytes(size, "big")) if len(size) == 4 else b""
    if not packed or len(packed) < int.from_bytes(size, "big"):
        return None
    head: dict[str, Any] = json.loads(packed)
    return head


_worker = Worker()
atexit.register(_worker.close)


def read(data: bytes, name: str, encoding: str | None = None) -> Loaded:
    """Read a file as `maccli.reading.reader.read` does, in the other process.

    Raises:
        Refused: see `Worker.read`.
    """
    return _worker.read(data, name, encoding)


def _after_fork() -> None:
    """Give a fork of this process a worker of its own."""
    global _worker
    _worker = Worker()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def main(target: str) -> None:
    """Read files, until there are no more: the other side of `Worker`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what libraries print must not get between the frames
        os.dup2(nothing, descriptor)
    module, function = target.split(":")
    reader = getattr(import_module(module), function)
    while (request := _receive(requests)) is not None:
        data = requests.read(request["size"])
        if len(data) < request["size"]:
            return  # the parent is gone
        _limit(request["memory"])
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        answer = _answer(reader, data, request["name"], request["encoding"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            _send(answers, answer)
        except BrokenPipeError:
            os._exit(0)  # not even a flush at exit


def _answer(reader: Any, data: bytes, name: str, encoding: str | None) -> dict[str, Any]:
    try:
        loaded = reader(data, name, encoding)
        marks = [[mark.start, mark.heading, mark.place] for mark in loaded.marks]
        fields = ("text", "title", "media_type", "encoding", "remarks")
        return {"marks": marks} | {field: getattr(loaded, field) for field in fields}
    except Refused as refusal:
        return {"refused": str(refusal), "kind": type(refusal).__name__}
    except MemoryError:
        return {"refused": "needs too much memory to be read", "stop": True}
    except RecursionError:
        return {"refused": "is damaged: it is nested too deeply", "stop": True}
    except BaseException as error:  # a library can raise nearly anything at a damaged file
        import traceback

        short = " ".join((str(error) or type(error).__name__).split())[:100]
        return {"refused": f"is damaged: {short}", "trace": traceback.format_exc(), "stop": True}


def _limit(memory: int) -> None:
    """Bound the address space of this process, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
