"""A few tokens of one sequence through the base LM's layers, behind a cache, with few operations.

At batch one a small LM's time goes to reading its weights, and next to the number of operations. So
the layers' norms and matrices are taken out of their modules once, and prefix, question and answer
share one preallocated cache. Which matrices multiply is the caller's choice: the LM's own, or the
narrow copy of `models.base.draft`.

Letters: K tokens of a block, M places in the cache, S prefix tokens, L layers, H key/value heads, A
attention heads, C head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.base.architectures import Angles, Map, Parts, matrix
from models.base.lm import BaseLM, Prefix


class Products(NamedTuple):
    """The matrix products of one layer, each of [K, n] to [K, m].

    Attributes:
        qkv: queries, keys and values in one row of (A + 2 H) * C.
        output: of the attention.
        up: into the MLP: gate and up in one row, or up alone.
        down: out of it.
    """

    qkv: Map
    output: Map
    up: Map
    down: Map


def matrices(parts: Parts) -> tuple[tuple[nn.Module, ...], ...]:
    """A layer's linear modules as `Products` groups them."""
    return parts.qkv, (parts.output,), parts.up, (parts.down,)


def exact(parts: Parts) -> Products:
    """A layer's products with the LM's own weights."""
    return Products(*map(_linear, matrices(parts)))


def called(parts: Parts) -> Products:
    """A layer's products by calling its modules, so that what hooks them is heard."""
    return Products(*(partial(_called, group) for group in matrices(parts)))


def hooked(parts: Parts) -> bool:
    """Whether a modulation changes what a layer's matrices give (`models.base.lora`)."""
    return any(module._forward_hooks for group in matrices(parts) for module in group)


def _called(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """One module's map of x, or several side by side."""
    return torch.cat([module(x) for module in modules], -1)


class Cache:
    """Keys and values of one answer: the prefix's, then those of every token so far.

    Attributes:
        prefix: S, the prefix tokens.
        length: places taken.
    """

    def __init__(self, lm: BaseLM, prefix: Prefix | None, tokens: int) -> None:
        """Room for `tokens` behind the prefix (of one group and one sequence)."""
        h = lm.shape.kv_heads
        self.prefix, self._start = (
            (0, 0) if prefix is None else (prefix.bias.shape[1], int(prefix.length[0]))
        )
        self.length = self.prefix
        size = self.prefix + tokens
        options: Any = {"dtype": lm.dtype, "device": lm.device}
        self._places = torch.empty(lm.shape.layers, 2 * h, size, lm.shape.head_size, **options)
        self._bias = torch.zeros(size, **options)
        if prefix is not None:
            self._bias[: self.prefix] = prefix.bias[0]
            for places, k, v in zip(self._places, prefix.keys, prefix.values, strict=True):
                places[:h, : self.prefix], places[h:, : self.prefix] = k[0], v[0]
        self._positions = torch.arange(self._start, self._start + tokens, device=lm.device)
        like = torch.empty(0, **options)
        self._rotary: dict[str | None, Angles] = {}
        for kind, angles in lm.architecture.rotary(like, self._positions[None]).items():
            self._rotary[kind] = None
            if angles is not None:
                cos, sin = (x[0, 0, :, None] for x in angles)
                sin[..., : sin.shape[-1] // 2].neg_()
                self._rotary[kind] = cos, sin

    def views(self, k: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For each layer keys [H, C, M], values [H, M, C] and the block's places [2 H, K, C]."""
        seen = self._places[:, :, : self.length + k]
        keys, values = seen.chunk(2, 1)
        own = seen[:, :, self.length :]
        return list(zip(keys.transpose(2, 3).unbind(), values.unbind(), own.unbind(), strict=True))

    def positions(self, k: int) -> Tensor:
        """[K], those of the next k places."""
        return self._positions[self.length - self.prefix : self.length - self.prefix + k]

    def rotary(self, k: int) -> dict[str | None, Angles]:
        """Cosines and sines [K, 1, C] of the next k places, for each kind of layer.

        The sines of a head's first half are negated: `x * cos + (x with its halves swapped) * sin`.
        """
        here = slice(self.length - self.prefix, self.length - self.prefix + k)
        return {
            kind: None if angles is None else (angles[0][here], angles[1][here])
            for kind, angles in self._rotary.items()
        }

    def bias(self, k: int, window: int | None) -> Tensor:
        """[K, M], what is added to the attention logits; the prefix is in every window's sight."""
        tokens = self.length - self.prefix + k
        bias = self._bias[: self.length + k].repeat(k, 1)
        there = torch.arange(tokens, device=bias.device)
        here = there[-k:, None]
        hidden = there > here
        if window is not None:
            hidden |= there <= here - window
        bias[:, self.prefix :].masked_fill_(hidden, float("-inf"))
        return bias


@dataclass(frozen=True, slots=True)
class _Layer:
    """What stands between a layer's products."""

    kind: str | None
    window: int | None
    scaling: float
    gated: bool
    before_attention: Map
    query: Map | None
    key: Map | None
    after_attention: Map | None
    before_mlp: Map
    activation: Map
    after_mlp: Map | None


class Blocks:
    """Runs blocks of tokens through the layers of one base LM."""

    def __init__(self, lm: BaseLM) -> None:
        self.lm = lm
        self.own = [exact(parts) for parts in lm.parts]
        self._layers = [self._take(parts) for parts in lm.parts]
        self._last = lm.architecture.fused()

    def current(self) -> Sequence[Products]:
        """`own`, with any modulation that the layers wear now."""
        if not any(map(hooked, self.lm.parts)):
            return self.own
        return [called(parts) for parts in self.lm.parts]

    def run(
        self,
        ids: Sequence[int],
        cache: Cache,
        products: Sequence[Products],
        watch: Tensor | None = None,
    ) -> Tensor:
        """Hidden states [K, hidden size] after the last norm, of the K tokens behind the cache.

        Their keys and values go into the cache, whose `length` the caller moves on: by less than K
        to take some of them back.

        Args:
            ids: K token ids.
            cache: with room for them.
            products: of each layer.
            watch: when given, [W, S], grows by the attention that each of the block's last W tokens
                pays to each prefix token, summed over layers and heads.
        """
        lm, k = self.lm, len(ids)
        a, h, c = lm.heads, lm.shape.kv_heads, lm.shape.head_size
        x = lm.architecture.embed(torch.tensor(ids, device=lm.device), cache.positions(k))
        rotary = cache.rotary(k)
        biases = {
            window: cache.bias(k, window).repeat(a // h, 1)
            for window in {layer.window for layer in self._layers}
        }
        for layer, product, (keys, values, own) in zip(
            self._layers, products, cache.views(k), strict=True
        ):
            row = product.qkv(layer.before_attention(x)).view(k, a + 2 * h, c)
            if layer.query is not None and layer.key is not None:
                row[:, :a] = layer.query(row[:, :a])
                row[:, a : a + h] = layer.key(row[:, a : a + h])
            angles = rotary[layer.kind]
            if angles is not None:
                turned = row[:, : a + h]
                swapped = turned.roll(c // 2, -1)
                turned.mul_(angles[0]).addcmul_(swapped, angles[1])
            own.copy_(row[:, a:].transpose(0, 1))
            queries = row[:, :a].transpose(0, 1).reshape(h, -1, c)
            weights = torch.baddbmm(biases[layer.window], queries, keys, alpha=layer.scaling)
            weights = weights.softmax(-1)
            if watch is not None:
                paid = weights.view(a, k, -1)[:, -len(watch) :, : watch.shape[1]]
                watch += paid.sum(0)
            y = product.output((weights @ values).view(a, k, c).transpose(0, 1).reshape(k, -1))
            x = x + (y if layer.after_attention is None else layer.after_attention(y))
            inner = product.up(layer.before_mlp(x))
            if layer.gated:
                gate, up = inner.chunk(2, -1)
                y = product.down(layer.activation(gate).mul_(up))
            else:
                y = product.down(layer.activation(inner))
            x = x + (y if layer.after_mlp is None else layer.after_mlp(y))
        return self._last(x)

    def _take(self, parts: Parts) -> _Layer:
        def fused(norm: nn.Module | None) -> Map | None:
            return None if norm is None else self.lm.architecture.fused(norm)

        return _Layer(
            kind=parts.kind,
            window=parts.window,
            scaling=parts.scaling,
            gated=len(parts.up) == 2,
            before_attention=self.lm.architecture.fused(parts.before_attention),
            query=fused(parts.query),
            key=fused(parts.key),
            after_attention=fused(parts.after_attention),
            before_mlp=self.lm.architecture.fused(parts.before_mlp),
            activation=parts.activation,
            after_mlp=fused(parts.after_mlp),
        )


def _linear(modules: Sequence[nn.Module]) -> Map:
    """One linear map, or several side by side; by their weights alone where they lie open."""
    maps: list[Map] = []
    for module in modules:
        found = matrix(module)
        maps.append(module if found is None else partial(F.linear, weight=found[0], bias=found[1]))
    if len(maps) == 1:
        return maps[0]
    return partial(_side_by_side, maps)


def _side_by_side(maps: Sequence[Map], x: Tensor) -> Tensor:
    return torch.cat([product(x) for product in maps], -1)
