"""What goes into a store and comes out. T: tokens a modulation, R: latent size, E: key size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class NewChunk:
    """A piece of a document with its modulation, on its way into the store.

    Attributes:
        start: offset of the first character in the document.
        end: offset behind the last character.
        text: the characters from `start` to `end`.
        latents: int8 [T, R], T >= 1.
        scales: float16 [T]; the latents' values are `latents * scales[:, None]`.
        key: float16 [E], finite.
    """

    start: int
    end: int
    text: str
    latents: NDArray[np.int8]
    scales: NDArray[np.float16]
    key: NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class KeptChunk:
    """A chunk of a document's stored version that its new version holds too, perhaps elsewhere.

    It keeps its modulation, its key and its id.

    Attributes:
        id: of the stored chunk.
        start: offset of the first character in the new version.
        end: offset behind the last character.
        text: that of the stored chunk.
    """

    id: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document. Times are ISO 8601 in UTC; `bytes` is its modulations' size on disk.

    `date` is YYYY-MM-DD, if one was given; `tags` are sorted.
    Of its `chunks`, `pruned` were dropped by a prune: they are never found.
    """

    id: int
    source: str
    title: str | None
    content_hash: str
    chunking: str
    chunks: int
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

    @property
    def damaged(self) -> bool:
        """Whether a repair has found that modulations are lost: nothing of it is to be kept."""
        return not self.content_hash


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A stored chunk. `position` counts from 0; `bytes` is its modulation's size on disk.

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


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the store's history: `action` is "added", "updated", "renamed" or "removed".

    `was` is the source that a renamed document had before.
    """

    id: int
    at: str
    action: str
    source: str
    content_hash: str
    chunks: int
    tokens: int
    was: str | None = None


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the graph for approximate search covers (`Store.index_keys`).

    Attributes:
        keys: how many are in it, those of removed chunks included.
        later: how many have been added to the store since, and are read one by one.
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
        chunks: number of chunks.
        pruned: those of them that a prune dropped.
        modulations: number of modulations; fewer than chunks, once pruned.
        tokens: tokens of all chunks.
        text_bytes: the chunks' texts as UTF-8.
        modulation_bytes: the compressed modulations, without what is kept to undo a prune.
        key_bytes: the key file, removed chunks included until they are compacted away.
        total_bytes: all of the store's files.
        fingerprint: of the checkpoint that wrote the store.
        model: name of that checkpoint.
        schema_version: of the index.
        created_at: ISO 8601 in UTC.
        graph_bytes: the graph for approximate search.
    """

    documents: int
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
    graph_bytes: int = 0
