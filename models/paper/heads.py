"""What aggregated latents do to the frozen base LM (phi* of arXiv 2403.04317, section 3.2).

A head takes latents and runs the base LM under them. `prefix` is P-tuning v2 (arXiv 2110.07602):
keys and values in front of every layer. `lora` (arXiv 2106.09685) changes the layers' projections.
The paper leaves the kind of modulation open (section 3.1); its main results are the prefix's, and
an ablation has LoRA slightly behind it.

Letters: N questions, T tokens of a modulation, d latent size, L layers, H key/value heads, C head
size, P prefix tokens a layer, r rank, I inputs and O outputs of a projection.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.base.lm import BaseLM, Prefix, Shape
from models.base.lora import AppliedLora, LowRank, projections, sizes
from models.errors import CheckpointError
from models.paper.layers import PerToken


class ModulationHead(nn.Module, ABC):
    """The networks between aggregated latents and a base LM that answers by them.

    Attributes:
        prefix_tokens: P; 0 for a modulation that changes the layers themselves.
    """

    prefix_tokens: int

    @abstractmethod
    def applied(
        self, lm: BaseLM, latents: Tensor, real: Tensor | None = None
    ) -> AbstractContextManager[Prefix | None]:
        """Return a context in which the base LM runs under N modulations.

        Args:
            lm: the base LM.
            latents: [N, T, d], the aggregated latents of N sequences.
            real: bool [N, S], the sequences' tokens that are not padding, where `BaseLM.forward`
                is given them, too.

        Returns:
            A context that gives the prefix for `BaseLM.forward`; None for a modulation that
            changes the layers themselves. It can be entered again.
        """

    def check(self, lm: BaseLM) -> None:
        """Make sure that the modulations of this head fit the base LM.

        Raises:
            CheckpointError: a projection is missing in a layer, or has another size.
        """

    def opening(self, lm: BaseLM) -> list[int]:
        """Return the token ids in front of every text: none after a prefix."""
        return []


class PrefixHead(ModulationHead):
    """Turns latents into P tokens of keys and values in each layer (section 3.1; P-tuning v2).

    Each of the 2 P L key and value vectors has its own residual MLP, which reads one of the T
    latents. A latent serves 2 P L / T neighbouring vectors; if that is not a whole number, the
    first latents serve one more. A vector is as wide as all key/value heads together, which is
    less than the width of a latent under grouped-query attention.

    Args:
        tokens: T, at most 2 P L.
        size: d.
        shape: the shape of the base LM.
        prefix_tokens: P.
        hidden: the width of the MLPs' hidden layer.

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
        """Return keys and values [L, 2, N, H, P, C] of latents [N, T, d]; index 0 is the key."""
        x: Tensor = self.mlps(latents[:, self.source])
        shape = self.shape
        x = x.view(-1, self.prefix_tokens, shape.layers, 2, shape.kv_heads, shape.head_size)
        return x.permute(2, 3, 0, 4, 1, 5)

    def prefix(self, lm: BaseLM, latents: Tensor) -> Prefix:
        """Return the prefix of N sequences, each its own group, of latents [N, T, d].

        Its keys are learned as they are attended to: no rotary embedding is applied to them, and
        the tokens of the sequence start at position P.
        """
        x = self(latents).to(lm.dtype)
        bias = x.new_zeros(len(latents), self.prefix_tokens)
        length = torch.full((len(latents),), self.prefix_tokens, device=x.device)
        return Prefix(x[:, 0].unbind(0), x[:, 1].unbind(0), bias, length)

    def applied(
        self, lm: BaseLM, latents: Tensor, real: Tensor | None = None
    ) -> AbstractContextManager[Prefix | None]:
        """See `ModulationHead.applied`."""
        return nullcontext(self.prefix(lm, latents))


class LowRankMaps(nn.Module):
    """Turns latents into the A and B of one kind of projection in all layers.

    Each of the r components of a layer reads a learned mixture of the T latents: a single vector
    that decides both what it looks for (its row of A) and what it adds (its column of B). A has a
    part that all modulations share, initialised as in LoRA; B starts at zero.

    Args:
        tokens: T.
        size: d.
        layers: L.
        inputs: I.
        outputs: O.
        r: rank.
    """

    def __init__(
        self, tokens: int, size: int, layers: int, inputs: int, outputs: int, r: int
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.mix = nn.Parameter(torch.randn(layers, r, tokens) / math.sqrt(tokens))
        self.shared = nn.Parameter(torch.empty(layers, r, inputs).uniform_(-bound, bound))
        self.down = nn.Parameter(torch.empty(layers, size, inputs).uniform_(-bound, bound))
        self.up = nn.Parameter(torch.zeros(layers, size, outputs))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return A [L, N, r, I] and B [L, N, O, r] of normalised latents x [N, T, d]."""
        # Of length 1 and not of variance 1: the size of a step in B does not grow with d.
        mixed = torch.einsum("lrt,ntd->lnrd", self.mix, x) / math.sqrt(x.shape[-1])
        a = self.shared[:, None] + mixed @ self.down[:, None]
        return a, (mixed @ self.up[:, None]).transpose(-1, -2)


class LoraHead(ModulationHead):
    """Turns latents into low-rank weights of some projections in every layer, for each sequence.

    At the start B is 0, and the base LM answers as if it had no modulation. Because B is then 0 for
    all latents, the first step moves only `up`; from the second on the gradient reaches the
    latents and the amortizer (a test checks this).

    Args:
        tokens: T.
        size: d.
        layers: L.
        targets: for each projection by name its inputs and outputs.
        r: rank.
        lora_alpha: the weights are multiplied by alpha / r.
        hidden: the width of the MLPs, one a latent, that the latents go through first.
    """

    prefix_tokens = 0

    def __init__(
        self,
        tokens: int,
        size: int,
        layers: int,
        targets: Mapping[str, tuple[int, int]],
        *,
        r: int = 8,
        lora_alpha: float = 16,
        hidden: int = 768,
    ) -> None:
        super().__init__()
        self.targets, self.r, self.lora_alpha = dict(targets), r, lora_alpha
        self.mlps = PerToken(tokens, size, hidden, size, F.gelu)
        self.maps = nn.ModuleList(
            LowRankMaps(tokens, size, layers, *self.targets[name], r) for name in self.targets
        )

    def forward(self, latents: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return for each target A [L, N, r, I] and B [L, N, O, r] of latents [N, T, d]."""
        x = F.layer_norm(self.mlps(latents), latents.shape[-1:])
        return {name: maps(x) for name, maps in zip(self.targets, self.maps, strict=True)}

    def check(self, lm: BaseLM) -> None:
        """See `ModulationHead.check`."""
        for name, wanted in self.targets.items():
            for module in projections(lm, name):
                if (size := sizes(module)) != tuple(wanted):
                    raise CheckpointError(
                        f"the checkpoint changes a {name} of {wanted[0]} to {wanted[1]} numbers, "
                        f"the base LM's has {size[0]} to {size[1]}"
                    )

    def opening(self, lm: BaseLM) -> list[int]:
        """See `ModulationHead.opening`; the base LM uses this token as its attention sink."""
        return [lm.bos_id]

    def applied(self, lm: BaseLM, latents: Tensor, real: Tensor | None = None) -> AppliedLora:
        """See `ModulationHead.applied`."""
        changes = [
            LowRank(module, a[i].to(lm.dtype), b[i].to(lm.dtype))
            for name, (a, b) in self(latents).items()
            for i, module in enumerate(projections(lm, name))
        ]
        return AppliedLora(changes, self.r, self.lora_alpha, real)
