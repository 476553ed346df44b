"""The two building blocks of the paper's networks: an MLP for each token, and cross-attention.

Letters: N sequences, T tokens, S tokens attended to, I inputs, J hidden, O outputs, A attention
heads, C head size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PerToken(nn.Module):
    """T residual MLPs, one for each token: skip(x) + down(activation(up(norm(x)))).

    They are the last layers of an amortization network (arXiv 2403.04317, section 3.1), and turn
    the aggregated latents into the tokens of a prefix. The T networks are stored as stacked
    matrices, so that all of them are one product.

    Args:
        tokens: T.
        inputs: I.
        hidden: J.
        outputs: O; if it is not I, the skip connection is a learned matrix.
        activation: the function between the two layers.
    """

    def __init__(
        self,
        tokens: int,
        inputs: int,
        hidden: int,
        outputs: int,
        activation: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.activation = activation
        self.norm = nn.Parameter(torch.ones(tokens, inputs))
        self.norm_bias = nn.Parameter(torch.zeros(tokens, inputs))
        self.up, self.up_bias = _matrices(tokens, inputs, hidden)
        self.down, self.down_bias = _matrices(tokens, hidden, outputs)
        self.skip: nn.Parameter | None = None
        self.skip_bias: nn.Parameter | None = None
        if inputs != outputs:
            self.skip, self.skip_bias = _matrices(tokens, inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, T, O] of tokens [N, T, I], each through its own network."""
        y = F.layer_norm(x, x.shape[-1:]) * self.norm + self.norm_bias
        y = _per_token(
            self.activation(_per_token(y, self.up, self.up_bias)), self.down, self.down_bias
        )
        return y + (x if self.skip is None else _per_token(x, self.skip, self.skip_bias))


def _matrices(tokens: int, inputs: int, outputs: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Return weights [T, I, O] and biases [T, O], initialised as in `nn.Linear`."""
    bound = 1 / math.sqrt(inputs)
    weight = torch.empty(tokens, inputs, outputs).uniform_(-bound, bound)
    return nn.Parameter(weight), nn.Parameter(torch.empty(tokens, outputs).uniform_(-bound, bound))


def _per_token(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return [N, T, O] of x [N, T, I], a token at a time: weight [T, I, O], bias [T, O]."""
    y = x.transpose(0, 1) @ weight
    return (y if bias is None else y + bias[:, None]).transpose(0, 1)


class CrossBlock(nn.Module):
    """Pre-norm cross-attention and MLP, both residual (the blocks of h_psi, section 3.2).

    The MLP is no wider than the attention. There are no positions: the order of the context makes
    no difference.

    Args:
        size: the width of the queries.
        context: the width of the tokens that are attended to.
        heads: A.
        head_size: C.
    """

    def __init__(self, size: int, context: int, heads: int = 8, head_size: int = 96) -> None:
        super().__init__()
        inner = heads * head_size
        self.heads = heads
        self.norm_query = nn.LayerNorm(size)
        self.norm_context = nn.LayerNorm(context)
        self.query = nn.Linear(size, inner, bias=False)
        self.key = nn.Linear(context, inner, bias=False)
        self.value = nn.Linear(context, inner, bias=False)
        self.out = nn.Linear(inner, size)
        self.norm_mlp = nn.LayerNorm(size)
        self.up = nn.Linear(size, min(size, inner))
        self.down = nn.Linear(min(size, inner), size)

    def queries(self, x: Tensor) -> Tensor:
        """Return queries [N, A, T, C] of x [N, T, size]."""
        return self._split(self.query(self.norm_query(x)))

    def context(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values [..., A, S, C] of the context [..., S, context size]."""
        x = self.norm_context(x)
        return self._split(self.key(x)), self._split(self.value(x))

    def finish(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the output [N, T, size] of the input and of what the heads read, [N, A, T, C]."""
        x = x + self.out(y.transpose(1, 2).flatten(2))
        update: Tensor = self.down(F.gelu(self.up(self.norm_mlp(x))))
        return x + update

    def forward(self, x: Tensor, context: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return the output [N, T, size].

        Args:
            x: [N, T, size], the tokens that attend.
            context: [N, S, context size], or [S, ...] for all N, the tokens attended to.
            visible: bool [N, S], which of them each sequence sees, at least one; None: all.
        """
        keys, values = self.context(context)
        if context.dim() == 2:
            keys, values = keys.expand(len(x), -1, -1, -1), values.expand(len(x), -1, -1, -1)
        mask = visible[:, None, None] if visible is not None else None
        y = F.scaled_dot_product_attention(self.queries(x), keys, values, attn_mask=mask)
        return self.finish(x, y)

    def _split(self, x: Tensor) -> Tensor:
        split: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)
        return split
