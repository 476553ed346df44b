"""The parts of an export: some chunks of a document with what they have of their own or share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from store import portable
from store.codec import MAX_TOKENS
from store.records import NewChunk
from store.shares import Arrived, places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store.views import Views


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A chunk of a part: its columns and what it has of its own or shares.

    Attributes:
        row: the columns, checked.
        related: the rows of other tables, if any came.
        new: with its own modulation and key, or with neither (T scales of no meaning).
        blob: its modulation, None if it has none of its own.
        shared: the number of what it shares, if it does.
        part: its part of that.
        dropped: whether a prune dropped it.
    """

    row: dict[str, Any]
    related: Any
    new: NewChunk
    blob: bytes | None = None
    shared: int | None = None
    part: bytes = b""
    dropped: bool = False


def read(
    given: list[Any], data: bytes, layout: portable.Layout, views: Views, shared: Arrived
) -> list[Chunk]:
    """The chunks of a part.

    Args:
        given: the rows of its line.
        data: what follows the line.
        layout: of the store.
        views: to encode.
        shared: the merged modulations that came before.

    Raises:
        ValueRefused: they are not what an exporter writes, or do not fit the store.
    """
    rows = [_row(layout, row) for row in given]
    dropped = [_is_dropped(row) for row in given]
    kinds = [
        (row["tokens"], None if gone else line.get("shared"), gone)
        for row, line, gone in zip(rows, given, dropped, strict=True)
    ]
    own = sum(t for t, number, gone in kinds if number is None and not gone)
    pointing = sum(t for t, number, _ in kinds if number is not None)
    size = views.codec.latent_size
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        "latents": ("int8", (own, size)),
        "scales": ("float16", (own,)),
        "keys": ("float16", (len(rows) - sum(dropped), views.codec.key_size)),
    }
    if pointing:
        wanted["places"] = ("uint16", (pointing,))
    tensors = portable.arrays(data, wanted)
    keys = iter(tensors["keys"])
    if not np.isfinite(tensors["keys"]).all():
        raise portable.ValueRefused("a modulation's key and scales must be finite numbers")
    made: list[Chunk] = []
    at = place = 0
    for row, line, (count, number, gone) in zip(rows, given, kinds, strict=True):
        latents: NDArray[np.int8] = tensors["latents"][:0]
        scales: NDArray[np.float16] = np.broadcast_to(np.float16(0), count)
        key: NDArray[np.float16] = scales[:0] if gone else next(keys)
        blob, part = None, b""
        if number is not None:
            which = places(tensors["places"][place : place + count], shared.size(number))
            part = views.encode_member(which, key)
            place += count
        elif not gone:
            latents, scales = (
                tensors["latents"][at : at + count],
                tensors["scales"][at : at + count],
            )
            at += count
            try:
                blob = views.codec.encode(latents, scales, key)
            except ValueError as error:
                raise portable.ValueRefused(str(error)) from error
        new = NewChunk(row["start"], row["end"], row["text"], latents, scales, key)
        made.append(Chunk(row, line.get("related"), new, blob, number, part, gone))
    return made


def _is_dropped(row: dict[str, Any]) -> bool:
    if row.get("dropped", False) not in (True, False) or {"dropped", "shared"} <= row.keys():
        raise portable.ValueRefused("a chunk is not clearly there or dropped")
    return bool(row.get("dropped", False))


def _row(layout: portable.Layout, given: Any) -> dict[str, Any]:
    """A chunk's columns, checked."""
    if not isinstance(given, dict):
        raise portable.ValueRefused("a chunk is no object")
    others = ("related", "shared", "dropped")
    row = layout.chunk.row({name: value for name, value in given.items() if name not in others})
    for name in ("start", "end", "text", "tokens"):
        if name not in row:
            raise portable.ValueRefused(f"a chunk has no {name}")
    numbers: Any = (row["start"], row["end"], row["tokens"])
    start, end, tokens = numbers
    if not (0 <= start <= end and 1 <= tokens <= MAX_TOKENS):
        raise portable.ValueRefused(f"a chunk goes from {start} to {end} and has {tokens} tokens")
    return row
