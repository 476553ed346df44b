"""The container of an export: lines of JSON and parts of bytes, with digests; nothing of a store.

No line and no part is read that is longer than an exporter may write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TypeGuard

from store import portable
from store.errors import ExportFormatError, StoreError
from store.opening import MAX_SIZE

_IN_MEMORY = 8 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """What an export says of the store that it came from."""

    fingerprint: str
    model: str
    key_size: int
    latent_size: int
    documents: int
    chunks: int
    version: int


class ExportFile:
    """An export, read from the beginning to the end.

    Args:
        file: the stream.
        name: of the file, for messages.
        advance: called with the number of bytes read since the last call.

    Attributes:
        header: what it says of the store it came from.

    Raises:
        ExportFormatError: it is no export, or of a version that this program does not know.
    """

    def __init__(
        self, file: IO[bytes], name: str, advance: Callable[[int], None] | None = None
    ) -> None:
        self.name = name
        self._file = file
        self._advance = advance or (lambda _: None)
        self._digest = hashlib.blake2b(digest_size=32)
        self._before = ""
        self._offset = 0
        self.header = self._read_header()

    def documents(self) -> Iterator[tuple[dict[str, Any], IO[bytes]]]:
        """Each document's line, and a file with its parts, which lasts until the next one.

        Raises:
            ExportFormatError: the file is damaged or cut short; the documents before were right.
        """
        counts = {"documents": 0, "chunks": 0}
        while True:
            line, _ = self._line()
            if "end" in line:
                self._check(line)
                if line["end"] != counts or self._read_some(1):
                    raise self.damaged("its end does not fit what is before")
                return
            chunks: Any = line.get("chunks")
            if not isinstance(line.get("document"), dict) or not _is_count(chunks):
                raise self.damaged("a document was expected")
            with SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
                left = chunks
                while left:
                    part, raw = self._line()
                    size: Any = part.get("bytes")
                    rows: Any = part.get("part")
                    if "shared" in part and self.header.version >= portable.PRUNED_FORMAT:
                        rows = []
                    elif not isinstance(rows, list) or not 0 < len(rows) <= left:
                        raise self.damaged("a part was expected")
                    if not _is_count(size) or size > portable.MAX_PART:
                        raise self.damaged(f"a part claims {str(size)[:40]} bytes")
                    left -= len(rows)
                    spool.write(raw)
                    spool.write(self._read(size))
                self._check(self._line()[0])
                spool.seek(0)
                yield line, spool
            counts["documents"] += 1
            counts["chunks"] += chunks

    def damaged(self, what: str) -> ExportFormatError:
        """The error for something that no exporter writes."""
        return ExportFormatError(
            f"{self.name} is damaged before byte {self._offset:,}: {what}",
            hint="Export the store again. The documents before the damage are kept.",
        )

    def _read_header(self) -> Header:
        first = self._read_some(len(portable.MAGIC) + 3)
        if first != f'{{"{portable.MAGIC}"'.encode():
            raise ExportFormatError(
                f"{self.name} is not an export of a store",
                hint="`mac store export FILE` makes one.",
            )
        line, _ = self._line(first)
        version = line[portable.MAGIC]
        if type(version) is not int or not portable.FORMAT <= version <= portable.PRUNED_FORMAT:
            raise ExportFormatError(
                f"{self.name} is an export of version {str(version)[:40]}; this program reads "
                f"versions up to {portable.PRUNED_FORMAT}",
                hint="Upgrade this program.",
            )
        sizes: list[Any] = [line.get("key_size"), line.get("latent_size")]
        counts: list[Any] = [line.get("documents"), line.get("chunks")]
        names: list[Any] = [line.get("fingerprint"), line.get("model")]
        if (
            not all(_is_count(number) for number in (*sizes, *counts))
            or not all(1 <= size <= MAX_SIZE for size in sizes)
            or not all(isinstance(name, str) and name.isprintable() for name in names)
            or not names[0]
        ):
            raise self.damaged("its first line states impossible facts")
        facts: list[Any] = [*names, *sizes, *counts, version]
        return Header(*facts)

    def _check(self, line: dict[str, Any]) -> None:
        if line.get("check") != self._before:
            raise self.damaged("its check does not fit what is before")

    def _line(self, start: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """The next line as JSON and as it stands."""
        self._before = self._digest.hexdigest() if not start else ""
        raw = start + self._taken(self._reading(self._file.readline, portable.MAX_LINE))
        if not raw.endswith(b"\n"):
            cut = len(raw) < portable.MAX_LINE
            raise self.damaged("it is cut short" if cut else "a line is too long")
        line = parsed(raw)
        if line is None:
            raise self.damaged("a line is no JSON object")
        return line, raw

    def _read(self, size: int) -> bytes:
        data = self._read_some(size)
        if len(data) < size:
            raise self.damaged("it is cut short")
        return data

    def _read_some(self, size: int) -> bytes:
        """`size` bytes, or those up to the end. A claim costs no memory that is not there to read.

        A pipe gives less than it is asked for, hence the loop.
        """
        pieces: list[bytes] = []
        left = size
        while left:
            piece = self._taken(self._reading(self._file.read, min(left, 1 << 20)))
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _reading(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"{self.name} cannot be read: {reason}") from error

    def _taken(self, data: bytes) -> bytes:
        self._digest.update(data)
        self._offset += len(data)
        self._advance(len(data))
        return data


def parsed(raw: bytes) -> dict[str, Any] | None:
    """A line as a JSON object; None if it is none."""
    try:
        line = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
