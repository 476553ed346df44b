"""Attention with a prefix, without a cache (training, scoring) and with one (generating).

Plain functions of tensors; they know nothing of models.

Letters: B sequences, G groups that share one prefix (B = G * N), T tokens, S prefix tokens, M
places in a cache, L layers, H key/value heads, A attention heads, C head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.base.device import onednn_preferred

STEP = 32
"""Places that a cache's part in sight grows by, one token at a time."""
MOST_SCORES = 2_000_000
"""More of them are better computed piece by piece, as torch's fused operation does."""


class Prefix(NamedTuple):
    """Keys and values that stand in front of every layer, shared by the N sequences of a group.

    Attributes:
        keys: for each of L layers [G, H, S, C], rotary embedding applied at the place of each
            token.
        values: for each layer [G, H, S, C].
        bias: [B, S], added to the attention logits of each prefix token in every layer and head;
            -inf hides a token.
        length: [G], positions that the prefix takes; the sequences of a group start after them.
    """

    keys: Sequence[Tensor]
    values: Sequence[Tensor]
    bias: Tensor
    length: Tensor

    def starts(self, sequences: int) -> Tensor:
        """Return the position at which each of B sequences starts, [B]."""
        return self.length.repeat_interleave(sequences // len(self.length))


class Cache:
    """Keys and values of a prefix and of all tokens after it, for B sequences that grow.

    Args:
        layers: L.
        heads: H.
        size: C.
        prefix: what the sequences attend to besides themselves, if anything.
        sequences: B.
        tokens: the most tokens of a sequence, without the prefix.
        like: a tensor of the type and on the device of keys and values.

    Attributes:
        prefix: S.
        length: places taken, those of the prefix included.
        seen: places that the layers see, M: those taken, and unless many tokens are read at once
            some empty ones, so that the shapes of one token's step are those of the last.
    """

    def __init__(
        self,
        layers: int,
        heads: int,
        size: int,
        prefix: Prefix | None,
        sequences: int,
        tokens: int,
        like: Tensor,
    ) -> None:
        self.prefix = self.length = 0 if prefix is None else prefix.bias.shape[1]
        places = self.prefix + tokens
        self.seen = self.length
        self.keys = like.new_zeros(layers, sequences, heads, places, size)
        self.values = torch.zeros_like(self.keys)
        self._bias = like.new_full((sequences, places), float("-inf"))
        self._places = torch.arange(places, device=like.device)
        self._positions = self._places.new_zeros(sequences, places)  # of the token in each place
        self._next = self._places.new_zeros(sequences)
        if prefix is not None:
            self._bias[:, : self.prefix] = prefix.bias
            self._next = prefix.starts(sequences)
            for cached, shared in ((self.keys, prefix.keys), (self.values, prefix.values)):
                for target, x in zip(cached, shared, strict=True):
                    target[:, :, : self.prefix] = x.repeat_interleave(sequences // len(x), 0)

    def reserve(self, tokens: int) -> Tensor:
        """Take the next T places and return the positions of their tokens, [B, T]."""
        positions = self._next[:, None] + self._places[:tokens]
        self._next = self._next + tokens
        self._positions[:, self.length : self.length + tokens] = positions
        self._bias[:, self.length : self.length + tokens] = 0
        self.length += tokens
        step = STEP if tokens == 1 else 1
        self.seen = min(-(-self.length // step) * step, len(self._places))
        return positions

    def store(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values [B, H, T, C] into the places that were taken last.

        Returns:
            Keys and values [B, H, M, C] of the prefix, all tokens so far, and empty places.
        """
        start = self.length - k.shape[2]
        self.keys[layer, :, :, start : self.length] = k
        self.values[layer, :, :, start : self.length] = v
        return self.keys[layer, :, :, : self.seen], self.values[layer, :, :, : self.seen]

    def mask(self, tokens: int, window: int | None, heads: int) -> Tensor:
        """Return what is added to the logits of the last T tokens, [B * H, A / H * T, M].

        A token sees the prefix and, within its layer's window, itself and the tokens before it.
        """
        mask = self._bias[:, None, : self.seen]
        if window is not None and self.length - self.prefix <= window:
            window = None
        if tokens > 1 or window is not None:
            places, last = self._places[: self.seen], slice(self.length - tokens, self.length)
            hidden = (places > places[last, None])[None]
            if window is not None:
                positions = self._positions[:, : self.seen]
                far = positions[:, None] <= positions[:, last, None] - window
                hidden = hidden | (far & (places >= self.prefix))
            mask = mask.masked_fill(hidden, float("-inf"))
        b, h = self.keys.shape[1:3]
        mask = mask[:, None, None].expand(b, h, heads // h, tokens, self.seen)
        return mask.reshape(b * h, -1, self.seen)

    def fork(self, sequences: int, tokens: int) -> Cache:
        """Return a cache for B sequences that all go on from the one in this cache.

        Args:
            sequences: B.
            tokens: the most tokens that each of them gets.
        """
        layers, _, heads, _, size = self.keys.shape
        forked = Cache(layers, heads, size, None, sequences, self.length + tokens, self.keys)
        forked.prefix, forked.length = self.prefix, self.length
        for new, old in ((forked.keys, self.keys), (forked.values, self.values)):
            new[:, :, :, : self.length] = old[:, :, :, : self.length]
        for new, old in ((forked._bias, self._bias), (forked._positions, self._positions)):
            new[:, : self.length] = old[:, : self.length]
        forked._next = self._next.expand(sequences)
        return forked

    def hide_padding(self, lengths: Tensor) -> None:
        """Hide the padding that was read after each sequence's own `lengths` [B] tokens."""
        padding = self._places[: self.length - self.prefix] >= lengths[:, None]
        self._bias[:, self.prefix : self.length].masked_fill_(padding, float("-inf"))
        self._next = self._next - padding.sum(1)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    prefix: tuple[Tensor, Tensor, Tensor] | None,
    watch: Tensor | None = None,
) -> Tensor:
    """Attend to the sequence itself and, with a bias, to its group's prefix.

    With keys K_p and values V_p of the prefix: softmax([q K_p^T + bias, q k^T + mask]) [V_p; v].

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
    if prefix is None and not torch.is_grad_enabled():
        # Faster, and more exact in bfloat16; its gradient cannot be differentiated once more.
        return attend_alone(q, k, v, mask, 1)
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


def attend_alone(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Attend to the sequence itself; for what is not trained.

    Where oneDNN multiplies float32 (see `models.base.device.prefer_onednn`), scores, weights and
    sums are in float32. It takes half the time of torch's fused operation, which MKL works for.

    Args:
        q: [B, A, T, C].
        k: [B, H, T, C].
        v: [B, H, T, C].
        mask: [T, T], added to the scores, or bool [B, 1, 1, T], false for what nothing may see.
        scaling: of the scores.

    Returns:
        [B, A, T, C].
    """
    b, a, t, c = q.shape
    h = k.shape[1]
    at_once = MOST_SCORES // max(1, a * t * t)
    if q.device.type != "cpu" or not onednn_preferred() or at_once == 0:
        mask = mask if mask is None else mask.expand(*mask.shape[:-2], t, t)
        return F.scaled_dot_product_attention(q, k, v, mask, scale=scaling, enable_gqa=a != h)
    if mask is None:
        rows = q.new_zeros(1, 1, 1, dtype=torch.float32)
    elif mask.dtype == torch.bool:
        hidden = torch.zeros(mask.shape).masked_fill_(~mask, float("-inf"))
        rows = hidden[:, 0].repeat_interleave(h, 0)
    else:
        rows = mask.float().repeat(a // h, 1)[None]
    rows = rows.expand(b * h, a // h * t, t)
    parts = [x.reshape(b * h, -1, c).float().split(at_once * h) for x in (q, k, v)]
    with torch.autocast("cpu", enabled=False):
        y = [
            torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=scaling).softmax(-1) @ values
            for queries, keys, values, bias in zip(*parts, rows.split(at_once * h), strict=True)
        ]
    return torch.cat(y).view(b, a, t, c).to(v.dtype)


def attend_cached(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    scaling: float,
    watch: Tensor | None = None,
) -> Tensor:
    """Attend to what a cache holds.

    Args:
        q: [B, A, T, C].
        keys: [B, H, M, C].
        values: [B, H, M, C].
        mask: [B * H, A / H * T, M], see `Cache.mask`.
        scaling: of the attention logits.
        watch: see `BaseLM.forward`.

    Returns:
        [B, A, T, C].
    """
    b, a, t, c = q.shape
    h, m = keys.shape[1:3]
    scores = torch.baddbmm(
        mask, q.reshape(b * h, -1, c), keys.flatten(0, 1).transpose(1, 2), alpha=scaling
    )
    weights = scores.softmax(-1)
    if watch is not None:
        watch += weights.view(b, a, t, m)[:, :, -1, : watch.shape[1]].sum(1)
    return (weights @ values.flatten(0, 1)).view(b, a, t, c)


def rotate(x: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
    """Apply the rotary embedding (arXiv 2104.09864) to x [..., S, C]; without angles, nothing."""
    if angles is None:
        return x
    cos, sin = angles
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin


def rotate_fused(x: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return what `rotate` returns, with one operation and one rounding less."""
    if angles is None:
        return x
    cos, sin = angles
    left, right = x.chunk(2, -1)
    return torch.addcmul(x * cos, torch.cat((-right, left), -1), sin)


def causal_mask(tokens: int, window: int | None, like: Tensor) -> Tensor:
    """Return an additive mask [T, T]: a token sees those before it, within its layer's window."""
    mask = torch.full((tokens, tokens), float("-inf"), device=like.device, dtype=like.dtype).triu(1)
    if window is not None and window < tokens:
        mask += torch.full_like(mask, float("-inf")).tril(-window)
    return mask
