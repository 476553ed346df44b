"""Attention with a prefix: what the base LM's layers share between reading and answering.

Plain functions of tensors; they know nothing of models.

Letters: B sequences, G groups that share one prefix (B = G * N), T tokens, S prefix tokens, L
layers, H key/value heads, A attention heads, C head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Prefix(NamedTuple):
    """Keys and values that stand in front of every layer, shared by the N sequences of a group.

    Attributes:
        keys: for each of L layers [G, H, S, C], rotary embedding applied at the place of each
            token.
        values: for each layer [G, H, S, C].
        bias: [B, S], added to the attention logits of each prefix token in every layer and head;
            -inf hides a token.
        length: [G], positions the prefix takes up; the sequences of a group start there.
    """

    keys: Sequence[Tensor]
    values: Sequence[Tensor]
    bias: Tensor
    length: Tensor

    def starts(self, sequences: int) -> Tensor:
        """[B], the position at which each of B sequences starts."""
        return self.length.repeat_interleave(sequences // len(self.length))


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    prefix: tuple[Tensor, Tensor, Tensor] | None,
    watch: Tensor | None = None,
) -> Tensor:
    """Attention over the sequence itself and, with a bias, over its group's prefix.

    The queries of all sequences of a group are laid side by side, so that the prefix is neither
    copied nor rotated once a sequence.

    Args:
        q: [B, A, T, C], scaled.
        k: [B, H, T, C].
        v: [B, H, T, C].
        mask: [T, T], 0 where a token may look and -inf where not.
        prefix: keys and values [G, H, S, C] and bias [B, S].
        watch: see `BaseLM.forward`.

    Returns:
        [B, A, T, C].
    """
    b, a, t, c = q.shape
    h = k.shape[1]
    repeats = a // h
    q = q.reshape(b, h, repeats * t, c)
    scores = (q @ k.transpose(-1, -2)).view(b, h, repeats, t, t) + mask
    if prefix is None:
        return (scores.softmax(-1).view(b, h, repeats * t, t) @ v).reshape(b, a, t, c)
    keys, values, bias = prefix
    g, s = keys.shape[0], keys.shape[2]
    n = b // g
    grouped = q.view(g, n, h, repeats * t, c).transpose(1, 2).reshape(g, h, n * repeats * t, c)
    far = (grouped @ keys.transpose(-1, -2)).view(g, h, n, repeats * t, s).transpose(1, 2)
    far = far.reshape(b, h, repeats, t, s) + bias[:, None, None, None].to(far.dtype)
    weights = torch.cat((far, scores), -1).softmax(-1)
    if watch is not None:
        watch += weights[:, :, :, -1, :s].sum((1, 2))
    far = weights[..., :s].view(g, n, h, repeats * t, s).transpose(1, 2)
    y = (far.reshape(g, h, n * repeats * t, s) @ values).view(g, h, n, repeats * t, c)
    near = weights[..., s:].reshape(b, h, repeats * t, t) @ v
    return (y.transpose(1, 2).reshape(b, h, repeats * t, c) + near).reshape(b, a, t, c)


def rotate(x: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
    """Rotary embedding (Su et al., arXiv 2104.09864) of x [..., S, C]; without angles, x itself."""
    if angles is None:
        return x
    cos, sin = angles
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin


def causal_mask(tokens: int, window: int | None, like: Tensor) -> Tensor:
    """[T, T] additive mask: what is before a token, within its layer's window."""
    mask = torch.full((tokens, tokens), float("-inf"), device=like.device, dtype=like.dtype).triu(1)
    if window is not None and window < tokens:
        mask += torch.full_like(mask, float("-inf")).tril(-window)
    return mask
