"""A narrow copy of the base LM's matrices, which guesses tokens for the exact ones to confirm.

Reading the weights is what a step costs, and an exact step costs as much as three or four of these.
Guesses change no answer (speculative decoding, arXiv 2211.17192): the LM itself checks them, up to
16 at a time for about the price of two steps. The layers have 4 bits a weight, as the file that the
default base LM comes from: its guesses are nearly always right.

Letters: K tokens, n inputs, m outputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.base.architectures import Map, matrix
from models.base.blocks import Products, matrices
from models.base.lm import BaseLM

GROUP = 32
"""Weights that share a scale and an offset, as in the 4-bit files of llama.cpp."""
_OUTPUTS = 16
"""torch packs so many outputs together."""
_CANDIDATES = 64
"""Tokens whose logits are computed in full; a vocabulary is never so small."""
_KERNELS = ("_convert_weight_to_int4pack_for_cpu", "_weight_int4pack_mm_for_cpu")
"""Not public functions of torch: where they are missing there are no guesses, only less speed."""


class Draft:
    """The copy: a fifth of the LM's float32 weights in size, made in a second or two.

    Attributes:
        products: of each layer.
    """

    def __init__(self, lm: BaseLM) -> None:
        self.products = [Products(*map(_narrow, matrices(parts))) for parts in lm.parts]
        head: nn.Linear = lm.model.get_output_embeddings()
        self._rough, self._exact = _narrow([head]), head.weight

    def guess(self, hidden: Tensor) -> int:
        """The token that a hidden state [hidden size] likely chooses."""
        # An error of the last product is one of the guess: 4 bits only choose the candidates.
        near = self._rough(hidden[None])[0].topk(_CANDIDATES).indices
        return int(near[F.linear(hidden, self._exact[near]).argmax()])

    @staticmethod
    def suits(lm: BaseLM) -> bool:
        """Whether this machine multiplies 4-bit weights faster than the LM's own."""
        groups = [g for parts in lm.parts for g in matrices(parts)]
        groups.append((lm.model.get_output_embeddings(),))
        weights = [matrix(linear) for group in groups for linear in group]
        return (
            lm.device.type == "cpu"
            and lm.dtype == torch.float32
            and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
            and all(hasattr(torch, name) for name in _KERNELS)
            and all(found is not None and found[0].shape[1] % GROUP == 0 for found in weights)
        )


def _narrow(linears: Sequence[nn.Module]) -> Map:
    """The matrices side by side in 4 bits: w = scale * q + low, q in 0..15, group by group."""
    found = [one for linear in linears if (one := matrix(linear)) is not None]
    weight = torch.cat([weight for weight, _ in found])
    outputs = len(weight)
    weight = F.pad(weight, (0, 0, 0, -outputs % _OUTPUTS)).unflatten(1, (-1, GROUP))
    low, high = weight.aminmax(dim=2)
    scale = ((high - low) / 15).clamp_min(1e-8)
    whole = ((weight - low[..., None]) / scale[..., None]).round_().to(torch.int32).flatten(1)
    # The kernel computes (q - 8) * scale + offset, and wants both for [groups, m].
    factors = torch.stack((scale, low + 8 * scale), -1).transpose(0, 1).contiguous()
    biases: list[Tensor] = [bias for _, bias in found if bias is not None]
    product = partial(
        _product,
        torch._convert_weight_to_int4pack_for_cpu(whole, 2),
        factors.bfloat16(),
        torch.cat(biases) if biases else None,
    )
    return product if len(weight) == outputs else lambda x: product(x)[:, :outputs]


def _product(packed: Tensor, factors: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """[K, m] of [K, n]; the kernel works in bfloat16."""
    y = torch._weight_int4pack_mm_for_cpu(x.bfloat16(), packed, GROUP, factors).float()
    return y if bias is None else y + bias
