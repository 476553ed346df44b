"""The store that all compared methods search, and what a question finds in it.

Chunking, amortizing and storing are those of `mac ingest`; documents go by their ids.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maccli.output import NoProgress
from maccli.service.amortizing import amortize_documents
from maccli.service.document import DocumentText, content_hash, holds
from maccli.service.selection import as_selected, judged, search_store, support
from models.judge.choice import NAMES, choose, proposed
from models.memory.confidence import read
from models.memory.modulation import Modulation, Selected, quantise
from models.memory.protocol import Progress
from models.memory.relevance import Candidate, RelevanceWeights, Retriever, select
from store.records import StoredModulation
from store.store import Store

if TYPE_CHECKING:
    from models.data.files import Example
    from models.judge.judge import Judge, Reading
    from models.stacks import AnyMemory

GROUP = 256
"""Modulations that are read together where a question reads all of them."""
_EMBEDDED = 64


class LazyModulations:
    """Amortizes chunks when a question first selects them: for large stores, few of them read.

    The store holds the text and the key of every chunk, which is all that a search goes by, and one
    empty token in place of its modulation. Answers are those of a store that was amortized whole.

    Args:
        model: the checkpoint.

    Attributes:
        seconds: what amortizing took so far.
    """

    def __init__(self, model: AnyMemory) -> None:
        self._model = model
        self._amortized: dict[tuple[str, str], StoredModulation] = {}
        self.seconds = 0.0

    def embed(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> list[Modulation]:
        """Return the key of each text, with an empty token in place of its modulation."""
        empty = quantise(np.zeros((1, self._model.config.latent_size), np.float32))
        return [Modulation(*empty, key) for key in self._model.keys(texts, contexts)]

    def read(self, store: Store, ids: Sequence[int]) -> list[StoredModulation]:
        """Return what `Store.modulations` would, had the chunks been amortized when stored.

        Raises:
            StoreError: the store cannot be read, or a chunk is not in it.
        """
        wanted = [(row.text, row.context) for row in store.chunk_rows(ids)]
        if new := [each for each in dict.fromkeys(wanted) if each not in self._amortized]:
            begun = time.perf_counter()
            texts, contexts = zip(*new, strict=True)
            for each, m in zip(new, self._model.amortize(texts, contexts), strict=True):
                self._amortized[each] = StoredModulation(m.latents, m.scales)
            self.seconds += time.perf_counter() - begun
        return [self._amortized[each] for each in wanted]


@dataclass(frozen=True, slots=True)
class FillCost:
    """The cost of filling a store: seconds in all, those of amortizing, and new documents."""

    seconds: float
    amortize_seconds: float
    documents: int


@dataclass(slots=True)
class EvaluationStore:
    """An open store of documents, with the checkpoint that writes it.

    Attributes:
        model: the checkpoint.
        store: the store.
        chunks_of: the ids of every document's chunks.
        lazy: amortizes chunks when they are selected; None where that is done when they are stored.
    """

    model: AnyMemory
    store: Store
    chunks_of: dict[str, list[int]] = field(default_factory=dict)
    lazy: LazyModulations | None = None

    @classmethod
    def open(cls, folder: Path, model: AnyMemory, *, lazy: bool = False) -> EvaluationStore:
        """Open the store in a folder, made if there is none.

        Args:
            folder: of the store.
            model: the checkpoint.
            lazy: whether it holds texts and keys only; such a store is never used again.

        Raises:
            StoreError: it cannot be used, or another checkpoint wrote it.
        """
        store = Store.open(
            folder,
            fingerprint=model.fingerprint,
            model="mac eval",
            key_size=model.config.key_size,
            latent_size=model.config.latent_size,
            create=True,
        )
        return cls(model, store, lazy=LazyModulations(model) if lazy else None)

    def fill(self, documents: Mapping[str, str], progress: Progress | None = None) -> FillCost:
        """Add documents in their order, but not those that are stored as they are.

        Raises:
            StoreError: the store cannot be written.
        """
        timed, progress = _Timed(self.model, self.lazy), progress or NoProgress()
        number = 0
        begun = time.perf_counter()
        new = self._new(documents, progress)
        for written in amortize_documents(timed, self.store, new):
            if written.complete:
                number += 1
                progress.advance(1)
        seconds = time.perf_counter() - begun
        self.read_chunks()
        return FillCost(seconds, timed.seconds, number)

    def _new(self, documents: Mapping[str, str], progress: Progress) -> Iterator[DocumentText]:
        """Give the documents that are not stored as they are."""
        for name, text in documents.items():
            digest = content_hash(text)
            if holds(self.store.document(name), digest):
                progress.advance(1)
            else:
                yield DocumentText(name, text, digest)

    def read_chunks(self) -> None:
        """Read which chunks each document has."""
        self.chunks_of = {
            document.source: [row.id for row in self.store.chunks(document.id)]
            for document in self.store.documents()
        }

    def candidates(
        self,
        question: str,
        k: int,
        retriever: Retriever,
        weights: RelevanceWeights,
        without: Collection[int] = (),
        judge: Judge | None = None,
    ) -> list[Candidate]:
        """Return the k chunks that a question selects, as if the store were `without` some.

        Args:
            question: the question.
            k: how many.
            retriever: how they are found.
            weights: how the scores mix.
            without: ids of chunks that are left out.
            judge: reads the first candidates with the question.
        """
        selection = search_store(
            self.model,
            self.store,
            question,
            k,
            retriever=retriever,
            weights=weights,
            without=without,
            modulations=self.modulations,
            judge=judge,
        )
        return list(selection.candidates)

    def right(self, example: Example) -> list[Candidate]:
        """Return only the chunks of the document that answers, weighted by relevance."""
        return self.weighed(example.question, self.chunks_of[example.document_id])

    def weighed(self, question: str, ids: Sequence[int]) -> list[Candidate]:
        """Return these chunks, weighted by dense relevance, the most relevant first."""
        wanted = np.array(ids, np.int64)
        query = self.model.encode_question(question)
        blocks = (
            (numbers[mask], keys[mask])
            for numbers, keys in self.store.keys()  # noqa: SIM118 - not a dictionary
            for mask in (np.isin(numbers, wanted),)
        )
        return select(query, blocks, len(wanted), {}, retriever="dense", weights=RelevanceWeights())

    def whole(self) -> Iterator[list[Selected]]:
        """Read all modulations, in the store's order and in parts of bounded size."""
        for ids, _ in self.store.keys(GROUP):
            stored = self.modulations(ids.tolist())
            yield [Selected(m.latents, m.scales, 0.0, m.rows) for m in stored]

    def modulations(self, ids: Sequence[int]) -> list[StoredModulation]:
        """Return the modulations of chunks; those that were not amortized yet are now."""
        if self.lazy is not None:
            return self.lazy.read(self.store, ids)
        return list(self.store.modulations(ids))

    def selected(self, candidates: Sequence[Candidate]) -> list[Selected]:
        """Return what a checkpoint answers from, for the selected chunks."""
        stored = self.modulations([candidate.id for candidate in candidates])
        return [as_selected(*pair) for pair in zip(candidates, stored, strict=True)]

    def texts(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return the texts of the selected chunks, for the methods that read them in the prompt."""
        return [row.text for row in self.store.chunk_rows([c.id for c in candidates])]

    def judged(self, judge: Judge, question: str, candidates: Sequence[Candidate]) -> str:
        """Return what a judge finds the likeliest answer in the selected chunks."""
        weights = [candidate.log_weight for candidate in candidates]
        return next(iter(proposed(self.readings(judge, question, candidates), weights)), "")

    def weighed_answer(
        self,
        judge: Judge,
        question: str,
        wording: str,
        candidates: Sequence[Candidate],
        generated: str,
    ) -> str:
        """Return the likeliest of the LM's answer and the judge's, as `mac ask` would.

        What is too unlikely for `mac ask` to be given is an answer like any other here.

        Args:
            judge: reads the chunks.
            question: what selected them.
            wording: the question with misspelled words as the chunks have them.
            candidates: the chunks.
            generated: the LM's answer.
        """
        model = self.model
        confidence = read(model.config.judge_confidence, NAMES)
        if confidence is None:
            return generated
        selected = self.selected(candidates)
        return choose(
            confidence,
            wording,
            generated,
            judge.read_closely(wording, self.readings(judge, question, candidates)),
            candidates,
            support(self.store, question, candidates, model.relevance),
            lambda answers: model.answer_likelihoods(wording, answers, selected),
        ).text

    def readings(
        self, judge: Judge, question: str, candidates: Sequence[Candidate]
    ) -> list[Reading]:
        """Return what a judge makes of the selected chunks."""
        rows = self.store.chunk_rows([candidate.id for candidate in candidates])
        return judged(judge, question, rows)

    def embed_seconds(self, progress: Progress | None = None) -> float:
        """Return how long it takes to embed all chunks: what dense retrieval of text needs."""
        progress = progress or NoProgress()
        begun = time.perf_counter()
        for ids, _ in self.store.keys(_EMBEDDED):
            rows = self.store.chunk_rows(ids.tolist())
            self.model.keys([row.text for row in rows], [row.context for row in rows])
            progress.advance(len(rows))
        return time.perf_counter() - begun


class _Timed:
    """The checkpoint, with a clock on what amortizes; of a lazy store only the keys are made."""

    def __init__(self, model: AnyMemory, lazy: LazyModulations | None) -> None:
        self._model, self._lazy = model, lazy
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def amortize(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> list[Modulation]:
        """Turn each text into its modulation."""
        begun = time.perf_counter()
        amortize = self._model.amortize if self._lazy is None else self._lazy.embed
        modulations = amortize(texts, contexts)
        self.seconds += time.perf_counter() - begun
        return modulations
