"""The way of a document into a store: it is cut, amortized and written, a part at a time.

Chunks of several documents are amortized together, so that batches are full, and everything is
written every few seconds: little is lost when the work is interrupted. A long document is written
in parts; what is stored of it answers at once, and running the same work again finishes it.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from models.text import chunking
from store.errors import ChunksGoneError
from store.labels import NO_CHANGE, Labels
from store.records import KeptChunk, NewChunk

if TYPE_CHECKING:
    from models.memory.modulation import Modulation
    from models.memory.protocol import LoadedModel
    from models.text.chunking import Chunk
    from store.records import ChunkRow, Document
    from store.store import Store

GROUP_TOKENS = 8192
"""Cut before the first of them is amortized: among so many, batches of equal length are full."""
SECONDS = 3.0
"""What is amortized is written after this time at the latest, give or take a batch."""
_PART = 4
"""A document is written in parts of at least so many chunks."""


@dataclass(frozen=True, slots=True, eq=False)
class DocumentText:
    """A document on its way into a store.

    Attributes:
        source: what identifies it, such as its path.
        text: what is cut and amortized.
        content_hash: of the document, kept to tell later whether it changed.
        title: for people to read.
        media_type, encoding: of what the text was read from.
        labels: what to change about its tags and date.
    """

    source: str
    text: str
    content_hash: str
    title: str | None = None
    media_type: str = "text/plain"
    encoding: str = "utf-8"
    labels: Labels = NO_CHANGE


@dataclass(frozen=True, slots=True)
class Written:
    """What is stored of a document after some or all of its chunks were amortized.

    Attributes:
        document: the document.
        status: whether it was added to the store or updated.
        chunks: how many were amortized for it.
        tokens, bytes: of these chunks, and of their modulations on disk.
        reused: how many were taken over from the stored version.
        total: how many chunks its text has.
    """

    document: DocumentText
    status: Literal["added", "updated"]
    chunks: int
    tokens: int
    bytes: int
    reused: int
    total: int

    @property
    def complete(self) -> bool:
        """Whether all of its text is stored."""
        return self.chunks + self.reused == self.total


def content_hash(text: str) -> str:
    """Return what tells whether a document's text has changed: its SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_current(rules: str) -> bool:
    """Return whether a document's `chunking` names the rules that are in force."""
    return rules.split(":")[0] == chunking.VERSION


def holds(stored: Document | None, content_hash: str) -> bool:
    """Return whether a document is stored whole, with this content, cut by the rules in force."""
    # The store has the checkpoint's fingerprint, which covers the size of chunks: only the rules of
    # cutting remain to be compared. So an unchanged document needs no model.
    return (
        stored is not None
        and not stored.partial
        and stored.content_hash == content_hash
        and is_current(stored.chunking)
    )


def amortize_documents(
    model: LoadedModel,
    store: Store,
    documents: Iterable[DocumentText],
) -> Iterator[Written]:
    """Cut, amortize and store documents, in their order.

    Of a document that is stored in part or in another version, only the chunks that are new are
    amortized. What was yielded is stored, whatever happens afterwards.

    Args:
        model: cuts and amortizes.
        store: where the documents go.
        documents: read only as far as is needed to go on.

    Yields:
        after each step what is stored of a document: once for a short one, several times for a
        long one, the last time with `complete`.

    Raises:
        StoreError: the store cannot be written.
    """
    waiting = iter(documents)
    queue: deque[tuple[_Job, int]] = deque()
    while True:
        complete = _collect(model, store, waiting, queue)
        if not (complete or queue):
            return
        for job in complete:
            yield from _write(model, store, job, queue)
        group = _take(queue)
        written_at = time.perf_counter()
        for batch in _batches(model, group):
            lacking = [(job, i) for job, i in batch if job.lacks(i)]  # not written by others now
            modulations = model.amortize([job.chunks[i].text for job, i in lacking])
            for (job, i), modulation in zip(lacking, modulations, strict=True):
                job.ready[i] = modulation
            if time.perf_counter() - written_at >= SECONDS:
                for job in dict.fromkeys(job for job, _ in group):
                    if job.complete or len(job.ready) >= _PART:
                        yield from _write(model, store, job, queue)
                written_at = time.perf_counter()
        for job in dict.fromkeys(job for job, _ in group):
            yield from _write(model, store, job, queue)


def _batches(
    model: LoadedModel, group: Sequence[tuple[_Job, int]]
) -> Iterator[list[tuple[_Job, int]]]:
    """Yield the batches of similar length that the model would make of the whole group."""
    from models.base.batching import length_batches

    lengths = [job.chunks[i].tokens + 1 for job, i in group]  # with the begin of sequence
    for places in length_batches(lengths, model.batch_tokens):
        yield [group[place] for place in places]


def _write(
    model: LoadedModel, store: Store, job: _Job, queue: deque[tuple[_Job, int]]
) -> Iterator[Written]:
    """Write what is ready of a document, if anything, and yield what is stored then.

    What is missing because another process has changed the document goes to the queue's front.
    """
    if not (job.ready or (job.complete and job.status is None)):
        return
    if not (job.complete or job.document.content_hash):
        return  # without a hash it cannot be told from another: all or nothing
    while True:
        try:
            yield job.write(store, model.chunking)
            return
        except ChunksGoneError:
            job.compare(store)
            waiting = [pair for pair in queue if pair[0] is not job]
            queue.clear()
            queue.extend([*((job, i) for i in job.missing), *waiting])
            if not job.complete:
                return


def _collect(
    model: LoadedModel,
    store: Store,
    waiting: Iterator[DocumentText],
    queue: deque[tuple[_Job, int]],
) -> list[_Job]:
    """Cut documents until the queue holds a group; return those that need no amortizing."""
    complete: list[_Job] = []
    tokens = sum(job.chunks[i].tokens for job, i in queue)
    begun = time.perf_counter()
    while tokens < GROUP_TOKENS:
        if (queue or complete) and time.perf_counter() - begun > SECONDS:
            break  # reading is slow: write what there is
        document = next(waiting, None)
        if document is None:
            break
        job = _Job.cut(model, store, document)
        if job.complete:
            complete.append(job)
        queue.extend((job, i) for i in job.missing)
        tokens += sum(job.chunks[i].tokens for i in job.missing)
    return complete


def _take(queue: deque[tuple[_Job, int]]) -> list[tuple[_Job, int]]:
    """Take the chunks of a group from the queue."""
    group: list[tuple[_Job, int]] = []
    tokens = 0
    while queue and tokens < GROUP_TOKENS:
        job, i = queue.popleft()
        group.append((job, i))
        tokens += job.chunks[i].tokens
    return group


@dataclass(slots=True, eq=False)
class _Job:
    """A document that is being amortized; chunks go by their positions."""

    document: DocumentText
    chunks: list[Chunk]
    reused: dict[int, ChunkRow]  # chunks of the stored version that have the same text
    ready: dict[int, Modulation] = field(default_factory=dict)  # not written yet
    status: Literal["added", "updated"] | None = None  # None as long as nothing is written
    written: set[int] = field(default_factory=set)  # chunks that were amortized and written
    tokens: int = 0  # of these

    @classmethod
    def cut(cls, model: LoadedModel, store: Store, document: DocumentText) -> _Job:
        """Cut a document into chunks, and look which of them are stored already."""
        chunks = chunking.split(document.text, model.count_tokens, model.config.chunk_tokens)
        job = cls(document, chunks, {})
        job.compare(store)
        return job

    def compare(self, store: Store) -> None:
        """Look which chunks the stored version has, as if nothing had been written yet."""
        stored = store.document(self.document.source)
        rows: dict[str, list[ChunkRow]] = {}
        if stored is not None and not stored.damaged:
            for row in reversed(store.chunks(stored.id)):
                rows.setdefault(row.text, []).append(row)
        self.reused = {i: rows[c.text].pop() for i, c in enumerate(self.chunks) if rows.get(c.text)}
        self.ready = {i: m for i, m in self.ready.items() if i not in self.reused}
        self.status, self.written, self.tokens = None, set(), 0

    def lacks(self, i: int) -> bool:
        """Return whether a chunk has yet to be amortized."""
        return not (i in self.reused or i in self.ready or i in self.written)

    @property
    def missing(self) -> list[int]:
        """The chunks that have yet to be amortized, in the order of the text."""
        return [i for i in range(len(self.chunks)) if self.lacks(i)]

    @property
    def complete(self) -> bool:
        """Whether every chunk is stored or ready."""
        return not self.missing

    def write(self, store: Store, rules: str) -> Written:
        """Write what is ready: the first time with the chunks that are reused.

        Raises:
            ChunksGoneError: another process has written the document meanwhile.
            StoreError: the store cannot be written.
        """
        document, fresh = self.document, [self._new(i) for i in sorted(self.ready)]
        stored: Document | None
        if self.status is None:
            self.status = store.put(
                document.source,
                content_hash=document.content_hash,
                chunking=rules,
                chunks=sorted([*self._kept(), *fresh], key=lambda chunk: chunk.position),
                expected=len(self.chunks),
                title=document.title,
                media_type=document.media_type,
                encoding=document.encoding,
                characters=len(document.text),
                labels=document.labels,
            )
            stored = store.document(document.source)
        else:
            hashed = document.content_hash
            stored = store.extend(document.source, content_hash=hashed, chunks=fresh)
        self.written.update(self.ready)
        self.tokens += sum(len(chunk.scales) for chunk in fresh)
        self.ready.clear()
        reused_bytes = sum(row.bytes for row in self.reused.values())
        return Written(
            document,
            self.status,
            len(self.written),
            self.tokens,
            stored.bytes - reused_bytes if stored else 0,
            len(self.reused),
            len(self.chunks),
        )

    def _kept(self) -> Iterator[KeptChunk]:
        for position, row in self.reused.items():
            chunk = self.chunks[position]
            yield KeptChunk(row.id, position, chunk.start, chunk.end, chunk.text)

    def _new(self, position: int) -> NewChunk:
        chunk, modulation = self.chunks[position], self.ready[position]
        arrays = (modulation.latents, modulation.scales, modulation.key)
        return NewChunk(position, chunk.start, chunk.end, chunk.text, *arrays)
