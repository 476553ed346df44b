"""Aggregated latents to low-rank weights of the base LM's projections (LoRA, arXiv 2106.09685).

The paper leaves the kind of modulation open (section 3.1): its main results are the prefix's, and
an ablation has LoRA slightly behind it.

Letters: N questions, T tokens of a modulation, d latent size, L layers, r rank, I inputs and O
outputs of a projection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.base.lm import BaseLM
from models.base.lora import LowRank, Worn, projections, sizes
from models.errors import CheckpointError
from models.paper.layers import PerToken
from models.paper.modulation import ModulationHead


class LowRankMaps(nn.Module):
    """Latents to the A and B of one kind of projection in all layers.

    Each of a layer's r components reads a learned mixture of the T latents, and one vector decides
    both what it looks for (its row of A) and what it adds (its column of B). A has a part that all
    modulations share, drawn as LoRA draws it; B starts at zero.

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
        """A [L, N, r, I] and B [L, N, O, r] of normalised latents x [N, T, d]."""
        # Of length 1 and not of variance 1: the size of a step in B does not grow with d.
        mixed = torch.einsum("lrt,ntd->lnrd", self.mix, x) / math.sqrt(x.shape[-1])
        a = self.shared[:, None] + mixed @ self.down[:, None]
        return a, (mixed @ self.up[:, None]).transpose(-1, -2)


class LoraHead(ModulationHead):
    """Latents to low-rank weights of some projections in every layer, for each sequence its own.

    At the start B is 0 and the base LM answers as if it wore nothing. What starts at 0 for all
    latents is flat in them: the first step moves only `up`, and from the second on the gradient
    reaches latents and amortizer (a test looks).

    Args:
        tokens: T.
        size: d.
        layers: L.
        targets: for each projection by name its inputs and outputs.
        r: rank.
        lora_alpha: the weights are multiplied by alpha / r.
        hidden: width of the MLPs that the latents go through first, one each.
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
        """For each target A [L, N, r, I] and B [L, N, O, r] of latents [N, T, d]."""
        x = F.layer_norm(self.mlps(latents), latents.shape[-1:])
        return {name: maps(x) for name, maps in zip(self.targets, self.maps, strict=True)}

    def check(self, lm: BaseLM) -> None:
        """See `ModulationHead.check`."""
        for name, wanted in self.targets.items():
            for module in projections(lm, name):
                if (found := sizes(module)) != tuple(wanted):
                    raise CheckpointError(
                        f"the checkpoint changes a {name} of {wanted[0]} to {wanted[1]} numbers, "
                        f"the base LM's has {found[0]} to {found[1]}"
                    )

    def opening(self, lm: BaseLM) -> list[int]:
        """See `ModulationHead.opening`; the base LM rests its attention on this token."""
        return [lm.bos_id]

    def worn(self, lm: BaseLM, latents: Tensor, real: Tensor | None = None) -> Worn:
        """See `ModulationHead.worn`."""
        changes = [
            LowRank(module, a[i].to(lm.dtype), b[i].to(lm.dtype))
            for name, (a, b) in self(latents).items()
            for i, module in enumerate(projections(lm, name))
        ]
        return Worn(changes, self.r, self.lora_alpha, real)
