"""A checkpoint of the paper's stack at work, see `models.memory.protocol.LoadedModel`.

A modulation is stored as its T latents of size d, rounded like those of the `latent` stack, and
the document's sentence embedding is its key. A question selects documents by their keys (the paper
has no such step; with k as large as the bank nothing is left out), and the aggregator reads them,
hierarchically if there are more than M.

Letters: K selected documents, T tokens of a modulation, d latent size, E key size, M documents a
group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.base.batching import batch_tokens, length_batches
from models.base.decode import generate_batch
from models.base.lm import Prefix
from models.memory.answering import Answerer
from models.memory.base_models import BaseModels
from models.memory.modulation import Modulation, Selected, dequantise, quantise
from models.paper import setup
from models.paper.config import PaperConfig
from models.paper.reading import Reader, collate
from models.paper.stack import PaperStack
from models.text.prompts import in_context

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARPNESS = 20.0
"""The factor that turns cosines into nats, as in an untrained `latent` stack."""


class PaperMemory(Answerer):
    """A loaded checkpoint of the paper's stack with its base LM and encoders.

    Attributes:
        group: M, how many documents are aggregated at once, more hierarchically; None: all of
            them, block by block, with the result of all at once.
    """

    config: PaperConfig

    def __init__(
        self,
        stack: PaperStack,
        base: BaseModels,
        fingerprint: str,
        reader: Reader | None = None,
    ) -> None:
        super().__init__(stack, base, fingerprint)
        self.stack = stack
        self.group: int | None = self.config.group
        self._reader = reader

    @cached_property
    def reader(self) -> Reader:
        """What reads texts for the amortizer, loaded at its first use."""
        return self._reader or setup.reader(self.config, self.lm, self.encoder, self._base.progress)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Return none: a latent belongs to no token in particular."""
        return []

    @torch.no_grad()
    def amortize(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> list[Modulation]:
        """Return the modulation of each text, T latents (section 3.1).

        They belong to no token in particular, and hold its context as well.
        """
        rows = self.reader.read(in_context(texts, contexts))
        keys = self.keys(texts, contexts)
        latents = [np.empty(0, np.float32)] * len(rows)
        for batch in length_batches([len(row) for row in rows], batch_tokens(self.lm.device)):
            amortized = self.stack.amortizer(collate([rows[i] for i in batch])).cpu().numpy()
            for i, z in zip(batch, amortized, strict=True):
                latents[i] = z
        return [Modulation(*quantise(z), key) for z, key in zip(latents, keys, strict=True)]

    @torch.no_grad()
    def encode_question(self, question: str) -> NDArray[np.float32]:
        """Return the query, float32 [E]: a document's relevance is its key times this."""
        embedding = self._base.key_encoder.encode_queries([question])
        query: NDArray[np.float32] = embedding[0].cpu().numpy()
        return query * np.float32(SHARPNESS)

    def aggregate(self, question: str, selected: Sequence[Selected]) -> torch.Tensor:
        """Return the modulation [1, T, d] of the selected documents (sections 3.2, 3.3)."""
        return self.aggregate_whole([question], lambda: [selected])

    @torch.no_grad()
    def aggregate_whole(
        self, questions: Sequence[str], read: Callable[[], Iterable[Sequence[Selected]]]
    ) -> torch.Tensor:
        """Return the modulation of each question, [N, T, d], from a bank that all of them read.

        Args:
            questions: N questions.
            read: starts reading the bank in parts of bounded size; called once, or once a layer
                if all documents are aggregated at once.
        """
        device = self.lm.device

        def blocks() -> Iterator[torch.Tensor]:
            for block in read():
                yield torch.from_numpy(np.stack([_latents(s) for s in block])).to(device)

        queries = self.stack.question(collate(self.reader.read(questions)))
        if self.group is None:
            return self.stack.aggregator.chunked(queries, blocks)
        return self.stack.aggregator.hierarchical(queries, blocks(), self.group)

    def answer_batch(
        self,
        questions: Sequence[str],
        groups: Sequence[Sequence[Selected]],
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
    ) -> list[list[int]]:
        """See `Answerer.answer_batch`."""
        latents = [self.aggregate(q, bank) for q, bank in zip(questions, groups, strict=True)]
        return self.answer_aggregated(torch.cat(latents), prompts, max_new_tokens)

    @torch.no_grad()
    def answer_aggregated(
        self, latents: torch.Tensor, prompts: Sequence[Sequence[int]], max_new_tokens: int
    ) -> list[list[int]]:
        """Return greedy answers as token ids to B prompts, under aggregated latents [B, T, d]."""
        opening = self.opening()
        with self.stack.head.applied(self.lm, latents) as prefix:
            rows = [[*opening, *prompt] for prompt in prompts]
            return generate_batch(self.lm, rows, prefix, max_new_tokens)

    def prefix_size(self, selected: Sequence[Selected]) -> int:
        """See `Answerer.prefix_size`; it is the same for any number of documents."""
        return self.config.prefix_tokens if self.config.modulation == "prefix" else 0

    @torch.no_grad()
    def applied(
        self, question: str, groups: Sequence[Sequence[Selected]]
    ) -> AbstractContextManager[Prefix | None]:
        """See `Answerer.applied`."""
        latents = torch.cat([self.aggregate(question, group) for group in groups])
        return self.stack.head.applied(self.lm, latents)

    def opening(self) -> list[int]:
        """See `Answerer.opening`."""
        return self.stack.head.opening(self.lm)

    def _attended(self, selected: Sequence[Selected]) -> Sequence[Selected]:
        """Return none: no token of the prefix belongs to a single document."""
        return ()


def _latents(selected: Selected) -> NDArray[np.float32]:
    """Return the T latents, float32 [T, d]; a merged one stands in the place of each."""
    latents = dequantise(selected.latents, selected.scales)
    return latents if selected.rows is None else latents[selected.rows]
