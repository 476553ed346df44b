"""What is given to a store, checked before it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from store import marks as marking
from store.errors import StoreError
from store.marks import Mark
from store.records import KeptChunk, NewChunk

if TYPE_CHECKING:
    from store.modulations.codec import Codec

MAX_CONTEXT = 1 << 16
MAX_MARKS = 1 << 20
"""Characters of what is stored beside a chunk's text."""
UNREADABLE = (ValueError, ArithmeticError, RecursionError)
"""What `store.marks.decode` may raise for something that nobody encoded."""
_MAX_WORDS = 500
# What ends a line, steers a terminal or turns the direction of writing, and halves of characters.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def storable(text: str) -> bool:
    """Return whether a text is valid Unicode (an undecodable name holds lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_storable(name: str, *texts: str) -> None:
    """Raise `StoreError` unless a document's name and its texts are valid Unicode."""
    if not all(map(storable, (name, *texts))):
        raise StoreError(
            f"{name!r} cannot be stored: its name or text is not valid Unicode",
            hint="Rename the file, or convert it to UTF-8.",
        )


def check_positions(chunks: Sequence[NewChunk | KeptChunk], expected: int) -> None:
    """Raise `ValueError` unless the positions grow and are below `expected`."""
    before = -1
    for chunk in chunks:
        if not before < chunk.position < expected:
            raise ValueError(
                f"positions must grow and be below {expected}, not {chunk.position} after {before}"
            )
        before = chunk.position


def encode(codec: Codec, key_size: int, chunks: Sequence[NewChunk]) -> list[bytes]:
    """Check new chunks, and return the blobs of their modulations.

    Raises:
        ValueError: an array has another dtype or shape than the store's, or is not finite; a
            context is too long.
    """
    import numpy as np

    for chunk in chunks:
        if chunk.key.dtype != np.float16 or chunk.key.shape != (key_size,):
            raise ValueError(
                f"key must be float16 [{key_size}], not {chunk.key.dtype} {list(chunk.key.shape)}"
            )
        if not np.isfinite(chunk.key).all():
            raise ValueError("a chunk's key must be finite numbers")
        if len(chunk.context) > MAX_CONTEXT:
            raise ValueError(f"a chunk's context has at most {MAX_CONTEXT:,} characters")
    return [codec.encode(chunk.latents, chunk.scales) for chunk in chunks]


def stored_marks(marks: Sequence[Mark], text: str) -> str:
    """Return marks as they are stored, their words short and without control characters.

    Raises:
        ValueError: as for `check_marks`.
    """
    if not marks:
        return ""
    stored = marking.encode(
        replace(mark, heading=shown(mark.heading), place=shown(mark.place)) for mark in marks
    )
    check_marks(stored, text)
    return stored


def check_marks(stored: str, text: str) -> None:
    """Check that `stored` is what `stored_marks` may return.

    Raises:
        ValueError: it cannot be read, is too long, does not stand in the text in the order of
            starts, or holds control characters.
    """
    if len(stored) > MAX_MARKS:
        raise ValueError(f"its marks have more than {MAX_MARKS:,} characters")
    try:
        marks = marking.decode(stored)
    except UNREADABLE as error:
        raise ValueError("its marks cannot be read") from error
    starts = [mark.start for mark in marks]
    if starts != sorted(starts) or (starts and not 0 <= starts[0] <= starts[-1] <= len(text)):
        raise ValueError("its marks do not stand in its text")
    words = {words for mark in marks for words in (mark.heading, mark.place)}
    if marking.encode(marks) != stored or words != set(map(shown, words)):
        raise ValueError("its marks are not as a store writes them")


def shown(words: str) -> str:
    """Return a heading, a place or a reason as it may be shown: on one line, not too long."""
    clean = _CONTROL.sub(" ", words)
    return clean if len(clean) <= _MAX_WORDS else clean[: _MAX_WORDS - 1] + "…"
