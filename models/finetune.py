"""The rival that goes on training the LM itself: `uniform` online fine-tuning on a stream.

One pass over the documents in their order, Adam, the language-modelling loss of every token alike;
as the paper's baseline (arXiv 2403.04317, section 4; the recipe is that of CaMeLS, Hu et al.,
arXiv 2305.15076, without its learned weights).

Letters: T tokens.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from models.errors import ModelError
from models.lm import BaseLM

MAX_TOKENS = 512
"""A longer document is learned piece by piece, one step each."""


class Tuner:
    """A copy of a base LM that learns from documents; the base LM itself stays frozen.

    Attributes:
        lm: the tuned copy, in float32.
    """

    def __init__(self, base: BaseLM, learning_rate: float, max_tokens: int = MAX_TOKENS) -> None:
        if not learning_rate > 0:
            raise ValueError(f"the learning rate must be above 0, not {learning_rate}")
        if getattr(base.model, "is_quantized", False):
            raise ModelError("the weights of a base model in 4 bits cannot be fine-tuned")
        self.lm = BaseLM(copy.deepcopy(base.model).float(), base.tokenizer)
        self._max_tokens = max_tokens
        self._weights = list(self.lm.model.parameters())
        self._optimiser = torch.optim.Adam(self._weights, lr=learning_rate)

    def learn(self, documents: Sequence[str], progress: Callable[[], None] = lambda: None) -> float:
        """Learn from documents, one after the other, each once.

        Each is a step of its own (several, if it is long), so that there is no padding to learn.

        Args:
            documents: plain texts.
            progress: called after every document.

        Returns:
            the seconds that it took.
        """
        begun = time.perf_counter()
        self.lm.model.requires_grad_(True)
        try:
            for document in documents:
                for piece in self._pieces(document):
                    self._optimiser.zero_grad(set_to_none=True)
                    self.loss(piece).backward()
                    self._optimiser.step()
                progress()
        finally:
            self.lm.model.requires_grad_(False)
            self._optimiser.zero_grad(set_to_none=True)
        return time.perf_counter() - begun

    def loss(self, tokens: Sequence[int]) -> Tensor:
        """How surprising the tokens [T] are, each after those before it, in nats a token."""
        ids = self.lm.pad([[self.lm.bos_id, *tokens]])
        hidden = self.lm.forward(ids[:, :-1])
        return F.cross_entropy(self.lm.logits(hidden)[0], ids[0, 1:])

    def _pieces(self, document: str) -> Iterator[list[int]]:
        ids = self.lm.tokenize([document])[0]
        for start in range(0, len(ids), self._max_tokens):
            yield ids[start : start + self._max_tokens]
