"""A document between its file and the store: its chunks, kept or amortized."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from store.records import KeptChunk, NewChunk

if TYPE_CHECKING:
    from maccli.reading.loaders import Loaded
    from models.memory.modulation import Modulation
    from models.text.chunking import Chunk
    from store.records import ChunkRow


@dataclass(slots=True, eq=False)
class Pending:
    """A document whose chunks are being amortized, apart from those of its stored version.

    Attributes:
        source: its name in the store.
        loaded: its text.
        content_hash: of the text.
        size: of the file, in bytes.
        chunks: what the text was cut into.
        kept: by position, chunks of the stored version that have the same text.
        done: by position, what was amortized.
        advanced: how many bytes of the file the progress bar has got.
    """

    source: str
    loaded: Loaded
    content_hash: str
    size: int
    chunks: list[Chunk]
    kept: dict[int, ChunkRow]
    done: dict[int, Modulation] = field(default_factory=dict)
    advanced: int = 0

    @property
    def missing(self) -> list[int]:
        """Positions of the chunks that have to be amortized."""
        return [position for position in range(len(self.chunks)) if position not in self.kept]

    @property
    def complete(self) -> bool:
        """Whether every chunk has its modulation."""
        return len(self.kept) + len(self.done) == len(self.chunks)

    @property
    def tokens(self) -> int:
        """Tokens amortized."""
        return sum(len(modulation.scales) for modulation in self.done.values())

    def advance(self) -> int:
        """Return how many bytes of the file were done since the last call."""
        share = len(self.done) / max(1, len(self.chunks) - len(self.kept))
        before, self.advanced = self.advanced, int(self.size * share)
        return self.advanced - before

    def as_stored(self) -> list[NewChunk | KeptChunk]:
        """Return the chunks as the store takes them."""
        return [self._chunk(position) for position in range(len(self.chunks))]

    def _chunk(self, position: int) -> NewChunk | KeptChunk:
        chunk = self.chunks[position]
        if (row := self.kept.get(position)) is not None:
            return KeptChunk(row.id, chunk.start, chunk.end, chunk.text)
        modulation = self.done[position]
        return NewChunk(
            chunk.start,
            chunk.end,
            chunk.text,
            modulation.latents,
            modulation.scales,
            modulation.key,
        )


def kept(chunks: list[Chunk], stored: list[ChunkRow]) -> dict[int, ChunkRow]:
    """Return, by position among `chunks`, the stored chunks with the same texts, each once."""
    rows: dict[str, list[ChunkRow]] = {}
    for row in reversed(stored):
        rows.setdefault(row.text, []).append(row)
    return {i: rows[chunk.text].pop() for i, chunk in enumerate(chunks) if rows.get(chunk.text)}
