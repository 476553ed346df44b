"""A memory bank of a stream's documents, and what a question finds in it.

Chunking, amortizing and storing are those of `mac ingest`; documents go by their ids. Every method
that is compared searches this one bank.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from maccli.errors import MacError
from maccli.evaluation.late import MODEL, Late, fingerprint
from maccli.output import NoProgress, Progress
from maccli.service.evidence import relevant, selected
from models.memory.relevance import Candidate, RelevanceWeights, Retriever, select
from models.text.chunking import split
from store.bank import Store
from store.records import NewChunk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from maccli.evaluation.retrievers import External
    from models.data.files import Example
    from models.latent.memory import Memory
    from models.memory.modulation import Selected
    from models.paper.memory import PaperMemory
    from store.views import View

    AnyMemory = Memory | PaperMemory
    """A loaded checkpoint of any stack."""

GROUP = 64
"""Documents that are amortized together."""
WHOLE_GROUP = 256
"""Modulations that are read together where a question reads all of them."""
ALL: Final = "all"
"""In place of k: every chunk of the bank."""
K = int | Literal["all"]


@dataclass(slots=True)
class Spent:
    """What filling a bank took: seconds in all, those of amortizing, and new documents."""

    seconds: float = 0.0
    amortize_seconds: float = 0.0
    documents: int = 0


@dataclass(slots=True)
class Bank:
    """A store of documents, open, with the checkpoint that wrote it.

    Attributes:
        memory: the checkpoint.
        store: the store.
        chunks_of: the chunks of every document.
        late: amortizes chunks when they are selected; None where they were when they were stored.
            The store is then one of `create_store(..., late=True)`.
    """

    memory: AnyMemory
    store: Store
    chunks_of: dict[str, list[int]] = field(default_factory=dict)
    late: Late | None = None

    def fill(self, documents: Mapping[str, str], progress: Progress | None = None) -> Spent:
        """Add documents in their order, but not those that are stored as they are.

        Raises:
            StoreError: the store cannot be written.
        """
        progress = progress or NoProgress()
        spent = Spent()
        begun = time.perf_counter()
        waiting = iter(documents.items())
        while group := list(islice(waiting, GROUP)):
            new = [(name, text) for name, text in group if not self._holds(name, text)]
            if new:
                spent.amortize_seconds += self._put(new)
                spent.documents += len(new)
            progress.advance(len(group))
        spent.seconds = time.perf_counter() - begun
        self.look()
        return spent

    def look(self) -> None:
        """Find out which chunks each document of the store has."""
        self.chunks_of = {
            document.source: [row.id for row in self.store.chunks(document.id)]
            for document in self.store.documents()
        }

    def _holds(self, name: str, text: str) -> bool:
        stored = self.store.document(name)
        return stored is not None and (stored.content_hash, stored.chunking) == (
            _digest(text),
            self.memory.chunking,
        )

    def _put(self, documents: Sequence[tuple[str, str]]) -> float:
        """Cut, amortize and store documents; returns the seconds of amortizing."""
        memory = self.memory
        cut = [
            split(text, memory.count_tokens, memory.config.chunk_tokens) for _, text in documents
        ]
        begun = time.perf_counter()
        amortize = memory.amortize if self.late is None else self.late.embed
        made = iter(amortize([chunk.text for chunks in cut for chunk in chunks]))
        seconds = time.perf_counter() - begun
        for (name, text), chunks in zip(documents, cut, strict=True):
            rows = [
                NewChunk(chunk.start, chunk.end, chunk.text, m.latents, m.scales, m.key)
                for chunk, m in zip(chunks, islice(made, len(chunks)), strict=True)
            ]
            self.store.put(
                name,
                content_hash=_digest(text),
                chunking=memory.chunking,
                chunks=rows,
                characters=len(text),
            )
        return seconds

    def part(self, folder: Path, names: Iterable[str]) -> Bank:
        """Make a smaller bank of some of the documents, in a new store; nothing is amortized.

        Raises:
            StoreError: the new store cannot be written.
        """
        keys: dict[int, NDArray[np.float16]] = {}
        for numbers, block in self.store.keys():  # noqa: SIM118 - no dictionary
            keys |= zip(numbers.tolist(), block, strict=True)
        empty = create_store(folder, self.memory, late=self.late is not None)
        bank = Bank(self.memory, empty, late=self.late)
        for name in names:
            ids = self.chunks_of[name]
            document = self.store.document(name)
            if document is None:
                raise MacError(f"The document {name!r} is not in the store any more.")
            rows = self.store.chunk_rows(ids)
            if self.late is None:
                kept = self.store.modulations(ids)
            else:  # reading them would take most of the time
                kept = [self.late.nothing()] * len(ids)
            bank.store.put(
                name,
                content_hash=document.content_hash,
                chunking=document.chunking,
                chunks=[
                    NewChunk(row.start, row.end, row.text, latents, scales, keys[row.id])
                    for row, (latents, scales) in zip(rows, kept, strict=True)
                ],
                characters=document.characters,
            )
        bank.look()
        return bank

    def candidates(
        self,
        question: str,
        k: int,
        retriever: Retriever,
        weights: RelevanceWeights,
        without: Collection[int] = (),
    ) -> list[Candidate]:
        """Return the k chunks that a question selects from the bank, as if it were `without` some.

        Args:
            question: the question.
            k: how many.
            retriever: how they are found.
            weights: how the scores mix.
            without: chunks that are left out.
        """
        return relevant(
            self.memory,
            self.store,
            question,
            k,
            retriever=retriever,
            weights=weights,
            without=without,
            views=self.views,
        )

    def right(self, example: Example) -> list[Candidate]:
        """Return only the chunks of the document that answers, weighted by relevance."""
        return self.weighed(example.question, self.chunks_of[example.document_id])

    def weighed(self, question: str, chunks: Sequence[int]) -> list[Candidate]:
        """Return these chunks, weighted by dense relevance, the most relevant first."""
        own = np.array(chunks, np.int64)
        query = self.memory.encode_question(question)
        masks = (
            (ids, keys, np.isin(ids, own))
            for ids, keys in self.store.keys()  # noqa: SIM118 - no dictionary
        )
        blocks = ((ids[mine], keys[mine]) for ids, keys, mine in masks)
        return select(query, blocks, len(own), {}, retriever="dense", weights=RelevanceWeights())

    def found_by(self, external: External, question: str, k: int) -> list[Candidate]:
        """Return the k chunks that another encoder finds, the nearest first.

        As BM25 alone does, it chooses, and the checkpoint's own relevance says with which weight.
        """
        numbers = external.search(self, question, k)
        weighed = {candidate.id: candidate for candidate in self.weighed(question, numbers)}
        return [weighed[number] for number in numbers]

    def whole(self) -> Iterator[list[Selected]]:
        """Read all modulations, in the bank's order and in parts of bounded size."""
        from models.memory.modulation import Selected

        for ids, _ in self.store.keys(WHOLE_GROUP):
            views = self.views(ids.tolist())
            yield [Selected(view.latents, view.scales, 0.0, view.which) for view in views]

    def views(self, ids: Sequence[int]) -> list[View]:
        """Return the modulations of chunks, from the store unless they are amortized late."""
        return self.store.views(ids) if self.late is None else self.late.views(self.store, ids)

    def modulations(self, candidates: Sequence[Candidate]) -> list[Selected]:
        """Return what a memory answers from, for the selected chunks."""
        return selected(candidates, self.views([c.id for c in candidates]))

    def texts(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return the texts of the selected chunks, for the rivals that read them in the prompt."""
        return [row.text for row in self.store.chunk_rows([c.id for c in candidates])]

    def embed_seconds(self, progress: Progress | None = None) -> float:
        """Return how long it takes to embed all chunks: what dense retrieval of text needs."""
        progress = progress or NoProgress()
        begun = time.perf_counter()
        waiting = iter(self.chunks_of.values())
        while group := list(islice(waiting, GROUP)):
            rows = self.store.chunk_rows([i for ids in group for i in ids])
            self.memory.encoder.encode([row.text for row in rows])
            progress.advance(len(group))
        return time.perf_counter() - begun


def create_store(folder: Path, memory: AnyMemory, *, late: bool = False) -> Store:
    """Open the store in a folder, made if there is none.

    Args:
        folder: of the store.
        memory: the checkpoint.
        late: whether it has texts and keys only; see `maccli.evaluation.late`.

    Raises:
        StoreError: it cannot be used, or another checkpoint wrote it.
    """
    return Store.open(
        folder,
        fingerprint=fingerprint(memory.fingerprint) if late else memory.fingerprint,
        model=MODEL if late else "mac eval",
        key_size=memory.config.key_size,
        latent_size=memory.config.latent_size,
        create=True,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
