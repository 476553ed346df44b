"""The way of a document into a store: it is cut, amortized and written, a part at a time.

Chunks of several documents are amortized together, so that batches are full, and everything is
written every few seconds: little is lost when the work is interrupted. A long document is written
in parts; what is stored of it answers at once, and running the same work again finishes it.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
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

SECONDS = 4.0
"""About the time in which a group of chunks is amortized and after which it is written."""
SMALLEST_GROUP = 2048
"""Tokens of the first group, and of any on a slow or busy machine: batches of fewer are poor."""
_LARGEST_GROUP, _GROWTH = 2**17, 8


@dataclass(frozen=True, slots=True, eq=False)
class DocumentText:
    """A document on its way into a store.

    Attributes:
        source: what identifies it, such as its path.
        text: what is cut and amortized.
        content_hash: of the document, kept to tell later whether it changed.
        title: for people to read.
        media_type: of what the text was read from.
        encoding: of what the text was read from.
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
        tokens: of these chunks.
        bytes: of their modulations on disk.
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
    *,
    group_tokens: int | None = None,
) -> Iterator[Written]:
    """Cut, amortize and store documents, in their order.

    Of a document that is stored in part or in another version, only the chunks that are new are
    amortized. What was yielded is stored, whatever happens afterwards.

    Args:
        model: cuts and amortizes.
        store: where the documents go.
        documents: read only as far as is needed to go on.
        group_tokens: how many tokens are amortized together; None for as many as take `SECONDS` on
            this machine. A given number makes modulations repeat bit for bit on a CPU.

    Yields:
        after each step what is stored of a document: once for a short one, several times for a
        long one, the last time with `complete`.

    Raises:
        StoreError: the store cannot be written.
    """
    size = group_tokens or SMALLEST_GROUP
    waiting = iter(documents)
    queue: deque[tuple[_Job, int]] = deque()
    while True:
        jobs = _collect(model, store, waiting, queue, size, patient=group_tokens is not None)
        if not (jobs or queue):
            return
        if batch := _take(queue, size):
            begun = time.perf_counter()
            modulations = model.amortize([job.chunks[i].text for job, i in batch])
            if group_tokens is None:
                size = _adapted(size, _tokens(batch), time.perf_counter() - begun)
            for (job, i), modulation in zip(batch, modulations, strict=True):
                job.ready[i] = modulation
        for job in dict.fromkeys([*jobs, *(job for job, _ in batch)]):
            if not (job.complete or job.document.content_hash):
                continue  # a document without a hash cannot be told from another: all or nothing
            present, written = _write(model, store, job)
            if written is not None:
                yield written
            if present is not job:
                queue = deque(pair for pair in queue if pair[0] is not job)
                queue.extendleft((present, i) for i in reversed(present.missing))


def _write(model: LoadedModel, store: Store, job: _Job) -> tuple[_Job, Written | None]:
    """Write what is ready of a document.

    Returns:
        the document's job and what is stored. If another process has written the document
        meanwhile, it is a new job, and there may be chunks to amortize before anything is written.
    """
    while True:
        try:
            return job, job.write(store, model.chunking)
        except ChunksGoneError:
            ready = job.ready
            job = _Job.cut(model, store, job.document)
            job.ready = {i: ready[i] for i in job.missing if i in ready}
            if not job.complete:
                return job, None


def _collect(
    model: LoadedModel,
    store: Store,
    waiting: Iterator[DocumentText],
    queue: deque[tuple[_Job, int]],
    size: int,
    *,
    patient: bool,
) -> list[_Job]:
    """Cut documents until the queue holds `size` tokens; return those that need no amortizing."""
    complete: list[_Job] = []
    tokens = _tokens(queue)
    begun = time.perf_counter()
    while tokens < size:
        if not patient and (queue or complete) and time.perf_counter() - begun > SECONDS:
            break  # reading is slow: write what there is
        document = next(waiting, None)
        if document is None:
            break
        job = _Job.cut(model, store, document)
        if job.complete:
            complete.append(job)
        pairs = [(job, i) for i in job.missing]
        queue.extend(pairs)
        tokens += _tokens(pairs)
    return complete


def _tokens(pairs: Iterable[tuple[_Job, int]]) -> int:
    return sum(job.chunks[i].tokens for job, i in pairs)


def _take(queue: deque[tuple[_Job, int]], size: int) -> list[tuple[_Job, int]]:
    """Take chunks of about `size` tokens from the queue, at least one."""
    batch: list[tuple[_Job, int]] = []
    tokens = 0
    while queue and tokens < size:
        batch.append(queue.popleft())
        tokens += _tokens(batch[-1:])
    return batch


def _adapted(last: int, tokens: int, seconds: float) -> int:
    """Return a size of groups that takes about `SECONDS`, a power of two, from the last one."""
    fitting = tokens / max(seconds, 1e-6) * SECONDS
    size = 1 << round(math.log2(min(max(fitting, SMALLEST_GROUP), last * _GROWTH)))
    return min(size, _LARGEST_GROUP)


@dataclass(slots=True, eq=False)
class _Job:
    """A document that is being amortized; chunks go by their positions."""

    document: DocumentText
    chunks: list[Chunk]
    reused: dict[int, ChunkRow]  # chunks of the stored version that have the same text
    ready: dict[int, Modulation] = field(default_factory=dict)  # not written yet
    status: Literal["added", "updated"] | None = None  # None as long as nothing is written
    amortized: int = 0  # and written
    tokens: int = 0

    @classmethod
    def cut(cls, model: LoadedModel, store: Store, document: DocumentText) -> _Job:
        """Cut a document into chunks, and look which of them are stored already."""
        chunks = chunking.split(document.text, model.count_tokens, model.config.chunk_tokens)
        stored = store.document(document.source)
        rows: dict[str, list[ChunkRow]] = {}
        if stored is not None and not stored.damaged:
            for row in reversed(store.chunks(stored.id)):
                rows.setdefault(row.text, []).append(row)
        same = {i: rows[c.text].pop() for i, c in enumerate(chunks) if rows.get(c.text)}
        return cls(document, chunks, same)

    @property
    def missing(self) -> list[int]:
        """The chunks that have yet to be amortized, in the order of the text."""
        return [i for i in range(len(self.chunks)) if i not in self.reused and i not in self.ready]

    @property
    def complete(self) -> bool:
        """Whether every chunk is stored or ready."""
        return len(self.reused) + self.amortized + len(self.ready) == len(self.chunks)

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
            known = document.content_hash
            stored = store.extend(document.source, content_hash=known, chunks=fresh)
        self.amortized += len(fresh)
        self.tokens += sum(len(chunk.scales) for chunk in fresh)
        self.ready.clear()
        reused_bytes = sum(row.bytes for row in self.reused.values())
        return Written(
            document,
            self.status,
            self.amortized,
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
