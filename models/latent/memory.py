"""A checkpoint at work: documents to modulations, questions to answers.

Joins the base LM, the sentence encoder and the trained stack. It knows nothing of files other than
the checkpoint's, and nothing of the store.

Letters: T tokens a document, R latent size, E key size, S prefix tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from models.base.decode import generate_batch
from models.base.lm import BaseLM, Prefix
from models.latent.config import LatentConfig
from models.latent.features import compute, document_ids
from models.latent.networks import LatentStack, pack
from models.memory.answering import Answerer
from models.memory.base_models import BaseModels
from models.memory.modulation import Modulation, Selected, quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LatentMemory(Answerer):
    """A loaded checkpoint of the `latent` stack.

    Args:
        stack: the networks.
        base: the frozen models under them.
        fingerprint: see `models.memory.checkpoint.fingerprint`.
    """

    config: LatentConfig

    def __init__(self, stack: LatentStack, base: BaseModels, fingerprint: str) -> None:
        super().__init__(stack, base, fingerprint)
        self.stack = stack

    @cached_property
    def generating_lm(self) -> BaseLM:
        """See `BaseModels.generating_lm`.

        Raises:
            CheckpointError: the checkpoint was not made for a base LM of these sizes.
        """
        return self._checked(self._base.generating_lm)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Return the character offsets (start, end) of each of a chunk's T tokens."""
        return self.text.spans(text)[: self.config.chunk_tokens]

    @torch.no_grad()
    def amortize(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> list[Modulation]:
        """See `LoadedModel.amortize`."""
        ids = document_ids(self.lm, texts, self.config.chunk_tokens)
        features = compute(self.lm, ids, self.lm.tokenize(contexts))
        keys = self.keys(texts, contexts)
        out, rounding = [], self.config.rounding
        for x, key in zip(features, keys, strict=True):
            latents, scales = quantise(self.stack.latents(x).cpu().numpy(), rounding)
            out.append(Modulation(latents, scales, key))
        return out

    @torch.no_grad()
    def encode_question(self, question: str) -> NDArray[np.float32]:
        """See `LoadedModel.encode_question`; the base LM is not needed."""
        embedding = self._base.key_encoder.encode_queries([question])
        relevance = self.stack.relevance
        side = relevance.query if self._base.chosen is None else relevance.cosine_query
        query: NDArray[np.float32] = side(embedding)[0].cpu().numpy()
        return query

    @torch.no_grad()
    def prefix(self, groups: Sequence[Sequence[Selected]]) -> Prefix:
        """Return the aggregated modulation of the documents of each group."""
        lm, device = self.generating_lm, self._base.device
        latents = [
            [
                torch.from_numpy(s.latents).to(device).float()
                * torch.from_numpy(s.scales).to(device).float()[:, None]
                for s in group
            ]
            for group in groups
        ]
        size = max(map(len, groups))
        bias = torch.full((len(groups), size), float("-inf"), device=device)
        for i, group in enumerate(groups):
            bias[i, : len(group)] = torch.tensor([s.log_weight for s in group])
        if all(s.rows is None for group in groups for s in group):
            return self.stack.prefix(lm, *pack(latents), bias)
        ends = [[torch.from_numpy(s.before_end()).to(device) for s in group] for group in groups]
        counts = [torch.from_numpy(np.concatenate([s.counts() for s in group])) for group in groups]
        log_count = pad_sequence(counts, batch_first=True, padding_value=1).to(device).log()
        return self.stack.prefix(lm, *pack(latents, ends), bias, log_count)

    def answer_batch(
        self,
        questions: Sequence[str],
        groups: Sequence[Sequence[Selected]],
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
    ) -> list[list[int]]:
        """See `Answerer.answer_batch`; the base LM's own attention to each prompt aggregates."""
        return generate_batch(self.generating_lm, prompts, self.prefix(groups), max_new_tokens)

    def prefix_size(self, selected: Sequence[Selected]) -> int:
        """See `Answerer.prefix_size`; it grows with the documents."""
        return self.config.constant_tokens + sum(len(s.latents) for s in selected)

    def applied(
        self, question: str, groups: Sequence[Sequence[Selected]]
    ) -> AbstractContextManager[Prefix | None]:
        """See `Answerer.applied`; the documents are aggregated by the LM's attention."""
        return nullcontext(self.prefix(groups))
