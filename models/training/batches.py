"""Which documents and questions meet in one training step.

A group is a document, the D - 1 documents that its question is most likely to be confused with, and
a question for each: so every document is amortized once and serves as the answer to one question
and as a hard negative to the others. Which of the group's documents a question may see is drawn
afresh each step, from its own alone (reading) to all of them (choosing). A step's batch depends on
the seed and the step's number alone, so a resumed run goes on as if it had not stopped.
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
"""Steps whose groups are drawn together and sorted by length, so that little is padding."""


@dataclass(frozen=True, slots=True)
class Batch:
    """G groups of D documents and N questions in all (N / G a group).

    Attributes:
        chunks: [G][D] indices into the corpus.
        questions: [N] indices into the corpus, group by group.
        own: [N], the place of a question's own document in its group.
        visible: bool [N, D], which documents of its group a question sees.
    """

    chunks: list[list[int]]
    questions: list[int]
    own: Tensor
    visible: Tensor

    def part(self, index: int, parts: int) -> Batch:
        """The groups that fall to one of several processes."""
        if parts == 1:
            return self
        groups = len(self.chunks) // parts
        n = len(self.questions) // parts
        rows = slice(index * n, (index + 1) * n)
        return Batch(
            self.chunks[index * groups : (index + 1) * groups],
            self.questions[rows],
            self.own[rows],
            self.visible[rows],
        )


class Sampler:
    """Draws batches from a corpus.

    Args:
        corpus: with embeddings.
        weights: of each data source, how often it is drawn.
        groups: G.
        documents: D.
        seed: of all that is random.
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
        # Only documents with a question of their own join a group: each must serve as an answer.
        self._asked: list[list[int]] = [[] for _ in weights]
        for chunk, questions in enumerate(corpus.of_chunk):
            if questions:
                self._asked[corpus.sources[chunk]].append(chunk)
        self._keys = [corpus.keys[asked] for asked in self._asked]
        self._weights = [
            weight if len(asked) >= documents else 0.0
            for weight, asked in zip(weights, self._asked, strict=True)
        ]
        if not any(self._weights):
            raise DataError(
                f"no source has {documents} documents with an answered question",
                "add documents, or let a question be answered among fewer (--documents)",
            )
        self._pool: tuple[int, list[list[tuple[list[int], list[int]]]]] = (-1, [])

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
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
        """D chunks and a question of each, around one question drawn at random."""
        corpus = self.corpus
        source = rng.choices(range(len(self._asked)), self._weights)[0]
        asked = self._asked[source]
        seed = rng.choice(asked)
        question = rng.choice(corpus.of_chunk[seed])
        near = self._keys[source] @ corpus.queries[question]
        ranked = near.topk(min(4 * self.documents, len(asked))).indices.tolist()
        confusable = [
            asked[i]
            for i in ranked
            if asked[i] != seed and not corpus.holds_answer(question, asked[i])
        ]
        # Half of the places go to the very nearest, the others further out: both hard and varied.
        hard = confusable[: self.documents // 2]
        rest = confusable[len(hard) :]
        chunks = [seed, *hard, *rng.sample(rest, min(self.documents - 1 - len(hard), len(rest)))]
        while len(chunks) < self.documents:
            other = rng.choice(asked)
            if other not in chunks:
                chunks.append(other)
        return chunks, [question, *(rng.choice(corpus.of_chunk[c]) for c in chunks[1:])]

    def _assemble(self, groups: list[tuple[list[int], list[int]]], rng: random.Random) -> Batch:
        corpus, d = self.corpus, self.documents
        chunks = [group[0] for group in groups]
        questions = [q for group in groups for q in group[1]]
        own = torch.arange(d).repeat(len(groups))
        visible = torch.zeros(len(questions), d, dtype=torch.bool)
        for n, q in enumerate(questions):
            alone = rng.random() < self.alone or not corpus.questions[q].standalone
            others = [i for i in range(d) if i != own[n]]
            seen = [] if alone else rng.sample(others, rng.randint(1, d - 1))
            visible[n, [int(own[n]), *seen]] = True
        return Batch(chunks, questions, own, visible)
