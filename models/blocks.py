"""A few tokens of one sequence through the base LM's layers, behind a cache, with few operations.

At batch one a small LM's time goes to reading its weights, and next to the number of operations. So
the layers' norms and matrices are taken out of their modules once, and prefix, question and answer
share one preallocated cache. Which matrices multiply is the caller's choice: the LM's own, or the
narrow copy of `models.draft`.

Letters: K tokens of a block, M places in the cache, S prefix tokens, L layers, H key/value heads, A
attention heads, C head size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.lm import BaseLM, Prefix

Map = Callable[[Tensor], Tensor]


class Products(NamedTuple):
    """The matrix products of one layer, each of [K, n] to [K, m].

    Attributes:
        qkv: queries, keys and values in one row of (A + 2 H) * C.
        output: of the attention.
        gate_up: gate and up in one row.
        down: of the MLP.
    """

    qkv: Map
    output: Map
    gate_up: Map
    down: Map


def matrices(
    layer: Any,
) -> tuple[list[nn.Linear], list[nn.Linear], list[nn.Linear], list[nn.Linear]]:
    """A layer's linear modules as `Products` groups them."""
    a, m = layer.self_attn, layer.mlp
    return [a.q_proj, a.k_proj, a.v_proj], [a.o_proj], [m.gate_proj, m.up_proj], [m.down_proj]


def exact(layer: Any) -> Products:
    """A layer's products with the LM's own weights."""
    return Products(*(partial(_linear, [(m.weight, m.bias) for m in g]) for g in matrices(layer)))


def called(layer: Any) -> Products:
    """A layer's products by calling its modules, so that what hooks them is heard."""
    return Products(*(partial(_called, group) for group in matrices(layer)))


def hooked(layer: Any) -> bool:
    """Whether a modulation changes what a layer's matrices give (`models.lora`)."""
    return any(module._forward_hooks for group in matrices(layer) for module in group)


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
        positions = torch.arange(self._start, self._start + tokens, device=lm.device)
        like = torch.empty(0, **options)
        self._rotary = {}
        for kind, (cos, sin) in lm.rotary(like, positions[None]).items():
            sin[..., : sin.shape[-1] // 2].neg_()
            self._rotary[kind] = cos[0, :, None], sin[0, :, None]

    def views(self, k: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For each layer keys [H, C, M], values [H, M, C] and the block's places [2 H, K, C]."""
        seen = self._places[:, :, : self.length + k]
        keys, values = seen.chunk(2, 1)
        own = seen[:, :, self.length :]
        return list(zip(keys.transpose(2, 3).unbind(), values.unbind(), own.unbind(), strict=True))

    def rotary(self, k: int) -> dict[str | None, tuple[Tensor, Tensor]]:
        """Cosines and sines [K, 1, C] of the next k places, for each kind of layer.

        The sines of a head's first half are negated: `x * cos + (x with its halves swapped) * sin`.
        """
        here = slice(self.length - self.prefix, self.length - self.prefix + k)
        return {kind: (cos[here], sin[here]) for kind, (cos, sin) in self._rotary.items()}

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
        self.own = [exact(layer) for layer in lm.layers]
        self._layers = [self._take(i) for i in range(lm.shape.layers)]
        self._last = self._norm(lm.model.model.norm)

    def current(self) -> Sequence[Products]:
        """`own`, with any modulation that the layers wear now."""
        if not any(map(hooked, self.lm.layers)):
            return self.own
        return [called(layer) for layer in self.lm.layers]

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
        x = lm.embed(torch.tensor(ids, device=lm.device))
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
            cos, sin = rotary[layer.kind]
            turned = row[:, : a + h]
            swapped = turned.roll(c // 2, -1)
            turned.mul_(cos).addcmul_(swapped, sin)
            own.copy_(row[:, a:].transpose(0, 1))
            queries = row[:, :a].transpose(0, 1).reshape(h, -1, c)
            weights = torch.baddbmm(biases[layer.window], queries, keys, alpha=layer.scaling)
            weights = weights.softmax(-1)
            if watch is not None:
                paid = weights.view(a, k, -1)[:, -len(watch) :, : watch.shape[1]]
                watch += paid.sum(0)
            y = product.output((weights @ values).view(a, k, c).transpose(0, 1).reshape(k, -1))
            x = x + (y if layer.after_attention is None else layer.after_attention(y))
            gate, up = product.gate_up(layer.before_mlp(x)).chunk(2, -1)
            y = product.down(layer.activation(gate).mul_(up))
            x = x + (y if layer.after_mlp is None else layer.after_mlp(y))
        return self._last(x)

    def _take(self, index: int) -> _Layer:
        layer = self.lm.layers[index]
        attention, norm = layer.self_attn, self._norm
        own_norms = hasattr(attention, "q_norm")
        both_sides = hasattr(layer, "pre_feedforward_layernorm")  # Gemma
        between = layer.post_attention_layernorm
        return _Layer(
            kind=self.lm.layer_types[index],
            window=getattr(attention, "sliding_window", None),
            scaling=attention.scaling,
            before_attention=norm(layer.input_layernorm),
            query=norm(attention.q_norm) if own_norms else None,
            key=norm(attention.k_norm) if own_norms else None,
            after_attention=norm(between) if both_sides else None,
            before_mlp=norm(layer.pre_feedforward_layernorm if both_sides else between),
            activation=layer.mlp.act_fn,
            after_mlp=norm(layer.post_feedforward_layernorm) if both_sides else None,
        )

    def _norm(self, module: Any) -> Map:
        """The module's RMS norm (arXiv 1910.07467) as one operation on the last axis."""
        weight, gemma = module.weight, self.lm.model.config.model_type == "gemma3_text"
        return partial(
            F.rms_norm,
            normalized_shape=weight.shape,
            weight=1 + weight if gemma else weight,
            eps=module.eps if gemma else module.variance_epsilon,
        )


def _linear(parts: Sequence[tuple[Tensor, Tensor | None]], x: Tensor) -> Tensor:
    """One linear map of x, or several side by side."""
    if len(parts) == 1:
        return F.linear(x, *parts[0])
    return torch.cat([F.linear(x, weight, bias) for weight, bias in parts], -1)
