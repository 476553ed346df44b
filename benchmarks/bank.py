"""A memory bank of a question-answering set, made as `mac ingest` makes it, and its rivals.

Shared by the quality and speed benchmarks: chunking, amortizing and storing go through the
product's own code; nothing here is a model of it.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from maccli.service.evidence import relevant, selected
from models.chunking import split
from models.data import Example, read
from models.memory import Memory
from models.modulation import Modulation, Selected, quantise
from models.relevance import Candidate, RelevanceWeights, Retriever, select
from store import NewChunk, Store


@dataclass
class Bank:
    """All documents of the set in one store, and the questions asked of it."""

    memory: Memory
    store: Store
    examples: list[Example]
    chunks_of: dict[str, list[int]]
    seconds: float

    def candidates(
        self, question: str, k: int, retriever: Retriever, weights: RelevanceWeights
    ) -> list[Candidate]:
        """The k documents that the question selects from the whole bank."""
        return relevant(self.memory, self.store, question, k, retriever=retriever, weights=weights)

    def right(self, example: Example) -> list[Candidate]:
        """Only the chunks of the document that answers, weighted by relevance."""
        ids = set(self.chunks_of[example.document_id])
        query = self.memory.encode_question(example.question)
        blocks = []
        for numbers, keys in self.store.keys():  # noqa: SIM118 - no dictionary
            mine = [i for i, n in enumerate(numbers.tolist()) if n in ids]
            blocks.append((numbers[mine], keys[mine]))
        weights = RelevanceWeights()
        return select(query, blocks, len(ids), {}, retriever="dense", weights=weights)

    def modulations(self, candidates: Sequence[Candidate]) -> list[Selected]:
        """What `Memory.prefix` takes, for the selected documents."""
        return selected(candidates, self.store.views([c.id for c in candidates]))

    def texts(self, candidates: Sequence[Candidate]) -> list[str]:
        """The text of the selected documents, for the prompt-based rivals."""
        return [row.text for row in self.store.chunk_rows([c.id for c in candidates])]


def load(
    memory: Memory,
    folder: Path,
    data: Sequence[Path],
    *,
    split_name: str | None,
    questions: int | None,
    seed: int,
    standalone: bool = True,
    documents: int | None = None,
    keys_only: bool = False,
) -> Bank:
    """Ingest every document of the data files into a store and draw questions.

    Args:
        memory: the checkpoint.
        folder: of the store; documents that it already holds are not amortized again.
        data: files of question-answering data.
        split_name: only examples of this split.
        questions: how many, drawn at random; all if None.
        seed: of the draw.
        standalone: leave out questions that do not say what they are about.
        documents: keep only so many documents of each file, drawn at random.
        keys_only: for retrieval alone: the modulations are one empty token each.
    """
    rng = random.Random(seed)
    examples: list[Example] = []
    texts: dict[str, str] = {}
    for path in data:
        rows = read(path, split_name)
        names = sorted({e.document_id for e in rows})
        kept = set(rng.sample(names, min(documents, len(names))) if documents else names)
        for example in rows:
            if example.document_id in kept:
                texts.setdefault(example.document_id, example.document)
                if example.standalone or not standalone:
                    examples.append(example)
    if questions is not None and questions < len(examples):
        examples = rng.sample(examples, questions)
    config = memory.config
    store = Store.open(
        folder,
        fingerprint=memory.fingerprint,
        model="benchmark",
        key_size=config.key_size,
        latent_size=config.latent_size,
        create=True,
    )
    begun = time.perf_counter()
    waiting: list[tuple[str, str]] = []
    for name, text in tqdm(texts.items(), desc="ingest", unit="doc"):
        if store.document(name) is None:
            waiting.append((name, text))
        if len(waiting) == 64:
            _put(memory, store, waiting, keys_only)
            waiting = []
    _put(memory, store, waiting, keys_only)
    seconds = time.perf_counter() - begun
    chunks_of = {d.source: [c.id for c in store.chunks(d.id)] for d in store.documents()}
    return Bank(memory, store, examples, chunks_of, seconds)


def _put(
    memory: Memory, store: Store, documents: Sequence[tuple[str, str]], keys_only: bool
) -> None:
    if not documents:
        return
    cut = [split(text, memory.count_tokens, memory.config.chunk_tokens) for _, text in documents]
    texts = [c.text for chunks in cut for c in chunks]
    if keys_only:
        keys = memory.encoder.encode(texts).cpu().numpy().astype(np.float16)
        nothing = quantise(np.zeros((1, memory.config.latent_size), np.float32))
        made = iter([Modulation(*nothing, key) for key in keys])
    else:
        made = iter(memory.amortize(texts))
    for (name, text), chunks in zip(documents, cut, strict=True):
        rows = []
        for chunk in chunks:
            m = next(made)
            rows.append(NewChunk(chunk.start, chunk.end, chunk.text, m.latents, m.scales, m.key))
        store.put(
            name,
            content_hash=hashlib.sha256(text.encode()).hexdigest(),
            chunking=memory.chunking,
            chunks=rows,
            characters=len(text),
        )
