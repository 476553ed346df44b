"""What goes into a store and comes out of it.

T: tokens of a chunk, U: rows of a stored modulation, R: latent size, E: key size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.marks import Mark

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Advance = Callable[[int], None]
"""Called during long work with the number of units done since the last call."""


@dataclass(frozen=True, slots=True, eq=False)
class NewChunk:
    """A piece of a document with its modulation, on its way into the store.

    Attributes:
        position: its place among the document's chunks, from 0.
        start: offset of the first character in the document.
        end: offset after the last character.
        text: the characters from `start` to `end`.
        latents: int8 [T, R], T >= 1.
        scales: float16 [T]; the latents' values are `latents * scales[:, None]`.
        key: float16 [E], finite.
        context: what the model read before the text; "" if nothing.
        marks: where the parts of the text stand, in the order of their starts in it.
    """

    position: int
    start: int
    end: int
    text: str
    latents: NDArray[np.int8]
    scales: NDArray[np.float16]
    key: NDArray[np.float16]
    context: str = ""
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptChunk:
    """A chunk of a document's stored version that its new version contains too.

    It keeps its modulation, its key and its id.

    Attributes:
        id: of the stored chunk.
        position: its place among the chunks of the new version, from 0.
        start: offset of the first character in the new version.
        end: offset after the last character.
        text: that of the stored chunk.
        context: that of the stored chunk.
        marks: where the parts of the text stand in the new version.
    """

    id: int
    position: int
    start: int
    end: int
    text: str
    context: str = ""
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document.

    Attributes:
        id: its number, never given to another document.
        source: what identifies it, such as its path.
        title: for people to read.
        content_hash: of its content; "" if a repair found that some of it is lost.
        chunking: how it was cut.
        chunks: number of chunks that are stored.
        expected: number of chunks that the whole document has.
        tokens: tokens of the stored chunks.
        bytes: size of their modulations on disk.
        characters: length of the document.
        media_type: of what it was read from.
        encoding: of what it was read from.
        added_at: ISO 8601 in UTC.
        updated_at: ISO 8601 in UTC.
        date: YYYY-MM-DD, if one was given.
        pruned: number of its chunks that a prune dropped; they are never found.
        tags: sorted.
        stale: why its file could not be read any more when it was last tried; None if it could.
    """

    id: int
    source: str
    title: str | None
    content_hash: str
    chunking: str
    chunks: int
    expected: int
    tokens: int
    bytes: int
    characters: int
    media_type: str
    encoding: str
    added_at: str
    updated_at: str
    date: str | None
    pruned: int
    tags: tuple[str, ...]
    stale: str | None = None

    @property
    def damaged(self) -> bool:
        """Whether a repair has found that modulations are lost: none of its chunks can be kept."""
        return not self.content_hash

    @property
    def partial(self) -> bool:
        """Whether only some of its chunks have been stored so far."""
        return self.chunks < self.expected


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A stored chunk. `position` counts from 0; `bytes` is its modulation's size on disk.

    `context` is what the model read before the text, `marks` say where the parts of the text stand;
    `stale` is the document's.

    Where a prune has merged modulations, `sharing` other chunks have the same one, and `bytes` is
    this chunk's part of it. A `pruned` chunk was dropped: it is never found, and has no modulation.
    """

    id: int
    document_id: int
    source: str
    title: str | None
    position: int
    start: int
    end: int
    text: str
    tokens: int
    bytes: int
    pruned: bool = False
    sharing: int = 0
    context: str = ""
    marks: tuple[Mark, ...] = ()
    stale: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StoredModulation:
    """A chunk's modulation as it is stored.

    Attributes:
        latents: int8 [U, R]; the latents' values are `latents * scales[:, None]`.
        scales: float16 [U].
        rows: int64 [T], for each token of the chunk the row that stands for it; None where every
            token has its own (U = T).
    """

    latents: NDArray[np.int8]
    scales: NDArray[np.float16]
    rows: NDArray[np.int64] | None = None

    def spread(self) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
        """Return latents int8 [T, R] and scales float16 [T], a row for each token of the chunk."""
        if self.rows is None:
            return self.latents, self.scales
        return self.latents[self.rows], self.scales[self.rows]


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the cache for approximate search covers (`store.near.build`).

    Attributes:
        keys: number of keys in it.
        later: number of keys added to the store since; they are read one by one.
        bytes: size of its file.
    """

    keys: int
    later: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Sizes of a store.

    Attributes:
        documents: number of documents.
        partial: number of documents of which only some chunks have been stored so far.
        chunks: number of chunks.
        pruned: number of chunks that a prune dropped.
        modulations: number of modulations; fewer than chunks, once pruned.
        tokens: tokens of all chunks.
        text_bytes: the chunks' texts as UTF-8.
        modulation_bytes: the compressed modulations, without what is kept to undo a prune.
        key_bytes: the chunks' keys, those of removed chunks included until they are folded away.
        total_bytes: all of the store's files.
        fingerprint: of the checkpoint that wrote the store.
        model: name of that checkpoint.
        schema_version: of the database.
        created_at: ISO 8601 in UTC.
    """

    documents: int
    partial: int
    chunks: int
    pruned: int
    modulations: int
    tokens: int
    text_bytes: int
    modulation_bytes: int
    key_bytes: int
    total_bytes: int
    fingerprint: str
    model: str
    schema_version: int
    created_at: str
