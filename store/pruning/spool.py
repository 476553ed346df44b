"""Merged modulations that wait on the disk until all are there and can be taken in at once."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from store.pruning.records import Merged

_HEAD = struct.Struct("<QI")
_MEMBER = struct.Struct("<qQ")
_IN_MEMORY = 1 << 24


class Spool:
    """A file without a name in the store's folder: it is gone with the process. A context manager.

    Attributes:
        number: number of merged modulations in it.
        size: size of their blobs in bytes.
    """

    def __init__(self, folder: Path) -> None:
        # On the disk once it is large; closed by __exit__.
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115
        self.number = 0
        self.size = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, merged: Merged) -> None:
        """Write a modulation after the others."""
        self._file.write(_HEAD.pack(len(merged.data), len(merged.members)))
        self._file.write(merged.data)
        for chunk_id, data in merged.members.items():
            self._file.write(_MEMBER.pack(chunk_id, len(data)))
            self._file.write(data)
        self.number += 1
        self.size += len(merged.data) + sum(map(len, merged.members.values()))

    def clear(self) -> None:
        """Remove all of them."""
        self._file.seek(0)
        self._file.truncate()
        self.number = self.size = 0

    def __iter__(self) -> Iterator[Merged]:
        self._file.seek(0)
        for _ in range(self.number):
            length, members = _HEAD.unpack(self._file.read(_HEAD.size))
            data = self._file.read(length)
            parts = {}
            for _ in range(members):
                chunk_id, length = _MEMBER.unpack(self._file.read(_MEMBER.size))
                parts[chunk_id] = self._file.read(length)
            yield Merged(data, parts)
