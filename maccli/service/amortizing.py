"""The way of documents into a store: they are cut, amortized and written, a part at a time.

Chunks of several documents are amortized together, so that batches are full, and everything is
written every few seconds: little is lost when the work is interrupted. A long document is written
in parts; what is stored of it answers at once, and running the same work again finishes it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from maccli.service.document import DocumentText, Job, Written
from store.errors import ChunksGoneError

if TYPE_CHECKING:
    from models.memory.protocol import LoadedModel
    from store.store import Store

GROUP_TOKENS = 8192
"""Tokens that are cut before amortizing begins: enough chunks to fill batches of equal length."""
SECONDS = 3.0
"""What is amortized is written after this time at the latest, give or take a batch."""
_PART = 4
"""A document is written in parts of at least so many chunks."""


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
    queue: deque[tuple[Job, int]] = deque()
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
            texts = [job.chunks[i].text for job, i in lacking]
            modulations = model.amortize(texts, [job.contexts[i] for job, i in lacking])
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
    model: LoadedModel, group: Sequence[tuple[Job, int]]
) -> Iterator[list[tuple[Job, int]]]:
    """Yield the batches of similar length that the model would make of the whole group."""
    from models.base.batching import length_batches

    lengths = [job.chunks[i].tokens + job.before[i] for job, i in group]
    for places in length_batches(lengths, model.batch_tokens):
        yield [group[place] for place in places]


def _write(
    model: LoadedModel, store: Store, job: Job, queue: deque[tuple[Job, int]]
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
    queue: deque[tuple[Job, int]],
) -> list[Job]:
    """Cut documents until the queue holds a group; return those that need no amortizing."""
    complete: list[Job] = []
    tokens = sum(job.chunks[i].tokens for job, i in queue)
    begun = time.perf_counter()
    while tokens < GROUP_TOKENS:
        if (queue or complete) and time.perf_counter() - begun > SECONDS:
            break  # reading is slow: write what there is
        document = next(waiting, None)
        if document is None:
            break
        job = Job.cut(model, store, document)
        if job.complete:
            complete.append(job)
        queue.extend((job, i) for i in job.missing)
        tokens += sum(job.chunks[i].tokens for i in job.missing)
    return complete


def _take(queue: deque[tuple[Job, int]]) -> list[tuple[Job, int]]:
    """Take the chunks of a group from the queue."""
    group: list[tuple[Job, int]] = []
    tokens = 0
    while queue and tokens < GROUP_TOKENS:
        job, i = queue.popleft()
        group.append((job, i))
        tokens += job.chunks[i].tokens
    return group
