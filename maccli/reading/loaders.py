"""Files to text: what mac reads, and which files are refused.

A file that cannot be a document raises `Refused` with the reason in a few words. What a library
parses is read in a process of its own, with bounded time and memory.
"""

from __future__ import annotations

import os
from pathlib import Path

from maccli.reading import reader, worker
from maccli.reading.draft import Loaded
from maccli.reading.encodings import Empty, Refused
from maccli.reading.kinds import FORMATS, kind_of

__all__ = ["FORMATS", "MAX_BYTES", "Loaded", "from_bytes", "load"]

MAX_BYTES = 50 * 1024 * 1024
"""Larger files are refused: one document of that size takes hours to ingest."""


def load(path: Path, encoding: str | None = None) -> Loaded:
    """Read the text of a file.

    Args:
        path: the file.
        encoding: of a text file; None finds it out, see `maccli.reading.encodings.decode`.

    Raises:
        Refused: it is too large, empty, binary, damaged, or cannot be decoded.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise _too_large()
        return from_bytes(file.read(MAX_BYTES + 1), path.name, encoding)


def from_bytes(data: bytes, name: str, encoding: str | None = None) -> Loaded:
    """Read the text of a file as `load` does.

    Args:
        data: the file, or its first `MAX_BYTES` + 1 bytes.
        name: of the file; its suffix says what kind it is if its content does not.
        encoding: see `load`.

    Raises:
        Refused: see `load`.
    """
    if len(data) > MAX_BYTES:
        raise _too_large()
    if not data:
        raise Empty("is empty")
    read = worker.read if kind_of(data, name).apart else reader.read
    return read(data, name, encoding)


def _too_large() -> Refused:
    return Refused(f"is larger than {MAX_BYTES // 2**20} MB; split it into smaller files")
