"""Draws the documents and questions of each training step.

A group is a document, D - 1 documents that its question is easily confused with, and a question for
each. So every document is amortized once, and is the answer to one question and a hard negative for
the others. Each step draws anew which documents of its group a question may see: from its own alone
(reading) to all of them (choosing). A batch depends only on the seed and the number of the step, so
a resumed run continues as if it had not stopped.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import DataError
from models.training.corpus import Corpus

POOL = 8
"""Steps whose groups are drawn together and sorted by length, so that there is little padding."""


@dataclass(frozen=True, slots=True)
class Batch:
    """G groups of D documents, with N questions in all (N / G a group).

    Attributes:
        chunks: [G][D] indices into the corpus.
        questions: [N] indices into the corpus, group by group.
        target: [N], the place of each question's document in its group.
        visible: bool [N, D], which documents of its group a question sees.
    """

    chunks: list[list[int]]
    questions: list[int]
    target: Tensor
    visible: Tensor

    def part(self, index: int, parts: int) -> Batch:
        """Return the groups for one of several parts, which processes or steps share."""
        if parts == 1:
            return self
        groups = len(self.chunks) // parts
        n = len(self.questions) // parts
        rows = slice(index * n, (index + 1) * n)
        return Batch(
            self.chunks[index * groups : (index + 1) * groups],
            self.questions[rows],
            self.target[rows],
            self.visible[rows],
        )


class Sampler:
    """Draws batches from a corpus.

    Args:
        corpus: the data, with embeddings.
        weights: how often each data source is drawn.
        groups: G.
        documents: D.
        seed: random seed.
        alone: how often a question sees its own document only.

    Raises:
        DataError: every source has fewer than D documents with a question.
    """

    def __init__(
        self,
        corpus: Corpus,
        weights: Sequence[float],
        *,
        groups: int,
        documents: int,
        seed: int,
        alone: float = 0.2,
    ) -> None:
        self.corpus, self.groups, self.documents, self.seed = corpus, groups, documents, seed
        self.alone = alone
        # Only documents with a question of their own join a group: each must be an answer.
        self._answering: list[list[int]] = [[] for _ in weights]
        for chunk, questions in enumerate(corpus.of_chunk):
            if questions:
                self._answering[corpus.sources[chunk]].append(chunk)
        self._keys = [corpus.keys[chunks] for chunks in self._answering]
        self._weights = [
            weight if len(chunks) >= documents else 0.0
            for weight, chunks in zip(weights, self._answering, strict=True)
        ]
        if not any(self._weights):
            raise DataError(
                f"no source has {documents} documents with an answered question",
                "add documents, or let a question be answered among fewer (--documents)",
            )
        self._pool: tuple[int, list[list[tuple[list[int], list[int]]]]] = (-1, [])

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        number, place = divmod(step, POOL)
        if self._pool[0] != number:
            rng = random.Random(f"{self.seed}:pool:{number}")
            drawn = [self._group(rng) for _ in range(POOL * self.groups)]
            drawn.sort(key=lambda group: max(len(self.corpus.chunks[c]) for c in group[0]))
            batches = [drawn[i : i + self.groups] for i in range(0, len(drawn), self.groups)]
            rng.shuffle(batches)
            self._pool = (number, batches)
        return self._assemble(self._pool[1][place], random.Random(f"{self.seed}:step:{step}"))

    def _group(self, rng: random.Random) -> tuple[list[int], list[int]]:
        """Draw a question, D chunks around it, and a question for each chunk."""
        corpus = self.corpus
        source = rng.choices(range(len(self._answering)), self._weights)[0]
        pool = self._answering[source]
        first = rng.choice(pool)
        question = rng.choice(corpus.of_chunk[first])
        scores = self._keys[source] @ corpus.queries[question]
        ranked = scores.topk(min(4 * self.documents, len(pool))).indices.tolist()
        near_chunks = [pool[i] for i in ranked]
        confusable = [
            chunk
            for chunk in near_chunks
            if chunk != first and not corpus.holds_answer(question, chunk)
        ]
        # Half of the negatives are the nearest, the others are drawn: both hard and varied.
        hard = confusable[: self.documents // 2]
        rest = confusable[len(hard) :]
        chunks = [first, *hard, *rng.sample(rest, min(self.documents - 1 - len(hard), len(rest)))]
        while len(chunks) < self.documents:
            other = rng.choice(pool)
            if other not in chunks:
                chunks.append(other)
        return chunks, [question, *(rng.choice(corpus.of_chunk[c]) for c in chunks[1:])]

    def _assemble(self, groups: list[tuple[list[int], list[int]]], rng: random.Random) -> Batch:
        corpus, d = self.corpus, self.documents
        chunks = [group[0] for group in groups]
        questions = [q for group in groups for q in group[1]]
        target = torch.arange(d).repeat(len(groups))
        visible = torch.zeros(len(questions), d, dtype=torch.bool)
        for n, q in enumerate(questions):
            alone = rng.random() < self.alone or not corpus.questions[q].standalone
            others = [i for i in range(d) if i != target[n]]
            seen = [] if alone else rng.sample(others, rng.randint(1, d - 1))
            visible[n, [int(target[n]), *seen]] = True
        return Batch(chunks, questions, target, visible)
