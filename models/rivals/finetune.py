"""The rivals that train the LM itself: online fine-tuning on a stream of documents.

They are the paper's baselines (arXiv 2403.04317, section 4), after CaMeLS (Hu et al., arXiv
2305.15076): one pass over the documents in their order, Adam, and the language-modelling loss of
each token times its weight. The weights are all the same (`uniform`), those of entities only
(`models.rivals.salient`), or learned (`models.rivals.camels`).

Letters: T tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from models.base.lm import BaseLM
from models.memory.protocol import Progress
from models.rivals.adapter import Adapter, merged

MAX_TOKENS = 512
"""The most tokens of a step; a longer document is learned in several steps."""

Weigh = Callable[[str], Tensor]
"""Returns the weights [T], none below 0, of a document's tokens."""


class Tuner:
    """A copy of a base LM that learns from documents; the base LM itself stays frozen.

    Args:
        base: the base LM.
        learning_rate: the learning rate of Adam.
        max_tokens: the most tokens of a step.
        start: an adapter that is merged into the copy first.
        weigh: weighs the tokens; None: all the same.

    Attributes:
        lm: the tuned copy, in float32.

    Raises:
        ModelError: see `models.rivals.adapter.merged`.
    """

    def __init__(
        self,
        base: BaseLM,
        learning_rate: float,
        max_tokens: int = MAX_TOKENS,
        *,
        start: Adapter | None = None,
        weigh: Weigh | None = None,
    ) -> None:
        if not learning_rate > 0:
            raise ValueError(f"the learning rate must be above 0, not {learning_rate}")
        self.lm = merged(base, start, torch.float32)
        self._max_tokens = max_tokens
        self._weigh = weigh
        self._weights = list(self.lm.model.parameters())
        self._optimiser = torch.optim.Adam(self._weights, lr=learning_rate)

    def learn(self, documents: Sequence[str], progress: Progress | None = None) -> float:
        """Learn from documents, one after the other, each once.

        Each document is a step (several if it is long), so that there is no padding. A piece whose
        weights are all 0 is left out.

        Args:
            documents: plain texts.
            progress: is advanced by each document.

        Returns:
            The seconds that it took.
        """
        begun = time.perf_counter()
        self.lm.model.requires_grad_(True)
        try:
            for document in documents:
                for tokens, weights in self._pieces(document):
                    if weights is not None and not bool((weights > 0).any()):
                        continue
                    self._optimiser.zero_grad(set_to_none=True)
                    self.loss(tokens, weights).backward()
                    self._optimiser.step()
                if progress is not None:
                    progress.advance(1)
        finally:
            self.lm.model.requires_grad_(False)
            self._optimiser.zero_grad(set_to_none=True)
        return time.perf_counter() - begun

    def loss(self, tokens: Sequence[int], weights: Tensor | None = None) -> Tensor:
        """See `weighted_loss`."""
        return weighted_loss(self.lm, tokens, weights)

    def _pieces(self, document: str) -> Iterator[tuple[list[int], Tensor | None]]:
        ids = self.lm.tokenize([document])[0]
        weights = self._weigh(document) if self._weigh is not None else None
        for start in range(0, len(ids), self._max_tokens):
            piece = slice(start, start + self._max_tokens)
            yield ids[piece], None if weights is None else weights[piece]


def weighted_loss(lm: BaseLM, tokens: Sequence[int], weights: Tensor | None = None) -> Tensor:
    """Return the weighted cross-entropy of tokens [T], the mean over all T, in nats.

    Args:
        lm: the LM.
        tokens: token ids without special tokens.
        weights: [T], the weight of each token; None: 1.
    """
    ids = lm.pad([[lm.bos_id, *tokens]])
    hidden = lm.forward(ids[:, :-1])
    surprise = F.cross_entropy(lm.logits(hidden)[0].float(), ids[0, 1:], reduction="none")
    if weights is not None:
        surprise = surprise * weights.to(surprise.device)
    return surprise.mean()
