"""What aggregated latents do to the frozen base LM (phi* of arXiv 2403.04317, section 3.2).

One interface: a head takes latents and lets the base LM be run under them. `prefix` is P-tuning v2
(arXiv 2110.07602), keys and values in front of every layer; `lora` (`models.paper.lora`) changes
the layers' projections.

Letters: N questions, T tokens of a modulation, d latent size, L layers, H key/value heads, C head
size, P prefix tokens a layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.base.lm import BaseLM, Prefix, Shape
from models.errors import CheckpointError
from models.paper.layers import PerToken


class ModulationHead(nn.Module, ABC):
    """The trained way from aggregated latents to a base LM that answers by them.

    Attributes:
        prefix_tokens: P; 0 for a modulation that changes the layers themselves.
    """

    prefix_tokens: int

    @abstractmethod
    def worn(
        self, lm: BaseLM, latents: Tensor, real: Tensor | None = None
    ) -> AbstractContextManager[Prefix | None]:
        """Run the base LM under N modulations while the context lasts.

        Args:
            lm: the base LM.
            latents: [N, T, d], aggregated, of N sequences.
            real: bool [N, S], the sequences' tokens that are no padding, where `BaseLM.forward` is
                given it, too.

        Returns:
            A context that gives what `BaseLM.forward` takes as its prefix; None for a modulation
            that changes the layers themselves. It can be entered again.
        """

    def check(self, lm: BaseLM) -> None:
        """Make sure that the base LM can wear what this head makes.

        Raises:
            CheckpointError: it lacks a layer's part, or that has another size.
        """

    def opening(self, lm: BaseLM) -> list[int]:
        """Tokens in front of every text: none behind a prefix, which stands in their place."""
        return []


class PrefixHead(ModulationHead):
    """Latents to P tokens of keys and values in each layer (section 3.1; P-tuning v2).

    Each of the 2 P L key and value vectors has a residual MLP of its own that reads one of the T
    latents. A latent serves 2 P L / T vectors, one next to the other; where that is no whole
    number, the first latents serve one more. A vector is as wide as the key/value heads together,
    which under grouped-query attention is less than the latents are.

    Args:
        tokens: T, at most 2 P L.
        size: d.
        shape: of the base LM.
        prefix_tokens: P.
        hidden: width of the MLPs' hidden layer.

    Raises:
        CheckpointError: there are more latents than key and value vectors.
    """

    source: Tensor

    def __init__(
        self, tokens: int, size: int, shape: Shape, prefix_tokens: int = 2, hidden: int = 768
    ) -> None:
        super().__init__()
        vectors = prefix_tokens * shape.layers * 2
        if tokens > vectors:
            raise CheckpointError(
                f"tokens must be at most {vectors}, not {tokens}: a prefix of {prefix_tokens} in "
                f"{shape.layers} layers has no more keys and values"
            )
        self.shape, self.prefix_tokens = shape, prefix_tokens
        each, more = divmod(vectors, tokens)
        serves = torch.tensor([each + (t < more) for t in range(tokens)])
        source = torch.arange(tokens).repeat_interleave(serves, output_size=vectors)
        self.register_buffer("source", source, persistent=False)
        self.mlps = PerToken(vectors, size, hidden, shape.kv_heads * shape.head_size, F.gelu)

    def forward(self, latents: Tensor) -> Tensor:
        """Keys and values [L, 2, N, H, P, C] of latents [N, T, d]; index 0 is the key."""
        x: Tensor = self.mlps(latents[:, self.source])
        shape = self.shape
        x = x.view(-1, self.prefix_tokens, shape.layers, 2, shape.kv_heads, shape.head_size)
        return x.permute(2, 3, 0, 4, 1, 5)

    def prefix(self, lm: BaseLM, latents: Tensor) -> Prefix:
        """The prefix of N sequences, each a group of its own, of latents [N, T, d].

        Its keys are learned as they are attended to: no rotary embedding is applied to them, the
        sequence's own tokens start at position P.
        """
        x = self(latents).to(lm.dtype)
        bias = x.new_zeros(len(latents), self.prefix_tokens)
        length = torch.full((len(latents),), self.prefix_tokens, device=x.device)
        return Prefix(x[:, 0].unbind(0), x[:, 1].unbind(0), bias, length)

    def worn(
        self, lm: BaseLM, latents: Tensor, real: Tensor | None = None
    ) -> AbstractContextManager[Prefix | None]:
        """See `ModulationHead.worn`."""
        return nullcontext(self.prefix(lm, latents))
