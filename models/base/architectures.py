"""What the layers of each family of base LMs consist of: the only module that knows their names.

Every family is a pre-norm decoder: attention, then an MLP, each added to the residual stream. An
`Architecture` knows how tokens and positions come in, and gives the modules of each layer by what
they do, its `LayerModules`. It does not run them.

Letters: B sequences, T tokens, L layers, A attention heads, H key/value heads, C head size, X = L *
2 * H * C features of a token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F

from models.errors import ModelError, UnsupportedModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from models.base.native.llama import LlamaLM

Map = Callable[[Tensor], Tensor]
Norm = Callable[[nn.Module, Tensor], Tensor]
"""Applies a norm to the last axis."""
Angles = tuple[Tensor, Tensor] | None
"""Cosines and sines [B, 1, T, C] of the rotary embedding; None where a family has none."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a base LM that fix the shape of its modulations."""

    layers: int
    kv_heads: int
    head_size: int
    hidden_size: int

    @property
    def features(self) -> int:
        """X, the numbers in one token's keys and values over all layers."""
        return self.layers * 2 * self.kv_heads * self.head_size


@dataclass(frozen=True, slots=True)
class LayerModules:
    """The modules of one layer; what a family does not have is None.

    Attributes:
        before_attention: the norm of what attention reads.
        qkv: linear maps to queries, keys and values: one each, or one for all three.
        output: linear map of the attended values.
        before_mlp: the norm of what the MLP reads.
        up: linear maps into the MLP: gate and up, or up alone.
        activation: of the gate, or of up where there is no gate.
        down: linear map out of the MLP.
        scaling: of the attention logits.
        window: how far back a sliding-window layer looks; the prefix is in sight of every layer.
        kind: which of the family's rotary embeddings it uses.
        query: norm of each head's queries, before the rotary embedding.
        key: norm of each head's keys, likewise.
        after_attention: norm of what attention adds.
        after_mlp: norm of what the MLP adds.
    """

    before_attention: nn.Module
    qkv: tuple[nn.Module, ...]
    output: nn.Module
    before_mlp: nn.Module
    up: tuple[nn.Module, ...]
    activation: Map
    down: nn.Module
    scaling: float
    window: int | None = None
    kind: str | None = None
    query: nn.Module | None = None
    key: nn.Module | None = None
    after_attention: nn.Module | None = None
    after_mlp: nn.Module | None = None

    def replaced(self, maps: Mapping[nn.Module, nn.Module]) -> LayerModules:
        """Return the layer with other linear maps in place of some."""
        return replace(
            self,
            qkv=tuple(maps.get(linear, linear) for linear in self.qkv),
            output=maps.get(self.output, self.output),
            up=tuple(maps.get(linear, linear) for linear in self.up),
            down=maps.get(self.down, self.down),
        )


class Architecture(ABC):
    """One family's way in and out of its layers.

    Attributes:
        layers: L of them, as the model has them.
        modules: those of each layer, by what they do.
        shape: see `Shape`.
        heads: A.
        embedding: of the tokens.
        last_norm: the norm after the last layer.
        positions: how many positions the family has learned; None if any number will do.
    """

    layers: list[nn.Module]
    modules: list[LayerModules]
    shape: Shape
    heads: int
    embedding: nn.Embedding
    last_norm: nn.Module
    positions: int | None = None

    @abstractmethod
    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Return what the first layer reads, [..., T, hidden size].

        Args:
            ids: token ids [..., T].
            positions: the place of each token, of a shape that broadcasts to that of `ids`.

        Raises:
            ModelError: a position is beyond the last learned one.
        """

    def fused_norm(self, norm: nn.Module, x: Tensor) -> Tensor:
        """Apply one of the family's norms as a single operation."""
        y: Tensor = norm(x)
        return y

    def rotary(self, like: Tensor, positions: Tensor) -> dict[str | None, Angles]:
        """Return the angles of positions [B, T] for each kind of layer, of the type of `like`."""
        del like, positions
        return {None: None}

    def check(self, tokens: int) -> None:
        """Make sure that so many tokens, those of a prefix included, have a position each.

        Raises:
            ModelError: they are more than the learned positions.
        """
        if self.positions is not None and tokens > self.positions:
            raise ModelError(
                f"the base model has {self.positions} positions, but the text and the prefix "
                f"before it take {tokens}",
                hint="ask a shorter question, take fewer texts (-k) or shorter chunks, or use a "
                "base model with a rotary embedding, which has no such end",
            )

    def context_left(self, taken: int, wanted: int) -> int:
        """Return how many of the wanted tokens may follow on those that take so many positions.

        Raises:
            ModelError: these alone are more than the learned positions.
        """
        self.check(taken)
        # The last token is only chosen, and never read at a position of its own.
        return wanted if self.positions is None else min(wanted, self.positions - taken + 1)


class Llama(Architecture):
    """Llama, Mistral, Qwen and Gemma: rotary embedding, RMS norms, a gated MLP."""

    def __init__(self, model: Any) -> None:
        config: Any = model.config
        self._body: Any = model.model
        self._gemma = config.model_type == "gemma3_text"
        self.embedding, self.last_norm = self._body.embed_tokens, self._body.norm
        self.layers = list(self._body.layers[: config.num_hidden_layers])
        self.modules = [self._take(layer, config) for layer in self.layers]
        self.heads = config.num_attention_heads
        self.shape = Shape(
            len(self.layers),
            config.num_key_value_heads,
            self._body.layers[0].self_attn.head_dim,
            config.hidden_size,
        )

    def _take(self, layer: Any, config: Any) -> LayerModules:
        attention, mlp, between = layer.self_attn, layer.mlp, layer.post_attention_layernorm
        # Mistral's window stands in its config alone, the others' with each layer.
        window = getattr(attention, "sliding_window", getattr(config, "sliding_window", None))
        return LayerModules(
            before_attention=layer.input_layernorm,
            qkv=(attention.q_proj, attention.k_proj, attention.v_proj),
            output=attention.o_proj,
            before_mlp=layer.pre_feedforward_layernorm if self._gemma else between,
            up=(mlp.gate_proj, mlp.up_proj),
            activation=mlp.act_fn,
            down=mlp.down_proj,
            scaling=attention.scaling,
            window=window,
            kind=attention.layer_type if self._gemma else None,
            query=getattr(attention, "q_norm", None),
            key=getattr(attention, "k_norm", None),
            # Gemma has norms on both sides of attention and MLP.
            after_attention=between if self._gemma else None,
            after_mlp=layer.post_feedforward_layernorm if self._gemma else None,
        )

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """See `Architecture.embed`; positions matter to the rotary embedding alone."""
        del positions
        x: Tensor = self.embedding(ids)
        return x

    def fused_norm(self, norm: Any, x: Tensor) -> Tensor:
        """See `Architecture.fused_norm`; RMS norm (arXiv 1910.07467)."""
        weight = 1 + norm.weight if self._gemma else norm.weight
        eps = norm.eps if self._gemma else norm.variance_epsilon
        return F.rms_norm(x, weight.shape, weight, eps)

    def rotary(self, like: Tensor, positions: Tensor) -> dict[str | None, Angles]:
        """See `Architecture.rotary` (arXiv 2104.09864)."""
        out: dict[str | None, Angles] = {}
        for kind in {modules.kind for modules in self.modules}:
            cos, sin = self._body.rotary_emb(like, positions, *(() if kind is None else (kind,)))
            out[kind] = cos[:, None], sin[:, None]
        return out


class GPT2(Architecture):
    """GPT-2 in its four sizes and distilled: learned positions, layer norms, biases everywhere.

    A position is added to the token's embedding once, and so it is in every key and value that
    a token gives: placed elsewhere, they do not change.
    """

    def __init__(self, model: Any) -> None:
        config: Any = model.config
        self._body: Any = model.transformer
        self.embedding, self._places = self._body.wte, self._body.wpe
        self.last_norm = self._body.ln_f
        self.positions = len(self._places.weight)
        self.layers = list(self._body.h)
        self.modules = [
            LayerModules(
                before_attention=module.ln_1,
                qkv=(module.attn.c_attn,),
                output=module.attn.c_proj,
                before_mlp=module.ln_2,
                up=(module.mlp.c_fc,),
                activation=module.mlp.act,
                down=module.mlp.c_proj,
                scaling=module.attn.scaling,
            )
            for module in self._body.h
        ]
        self.heads = config.n_head
        size = config.n_embd // config.n_head
        self.shape = Shape(len(self.layers), config.n_head, size, config.n_embd)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """See `Architecture.embed`."""
        self.check(int(positions.max()) + 1)
        x: Tensor = self.embedding(ids) + self._places(positions)
        return x


FAMILIES: dict[str, type[Llama | GPT2]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma3_text"), Llama),
    "gpt2": GPT2,
}
"""By the `model_type` in a model's config."""


def require_supported(model_type: str) -> None:
    """Raise `UnsupportedModelError` for an architecture without an adapter."""
    if model_type not in FAMILIES:
        raise UnsupportedModelError(
            f"the architecture {model_type!r} is not supported",
            hint=f"use a base LM of one of these: {', '.join(FAMILIES)}",
        )


def architecture_of(model: PreTrainedModel | LlamaLM) -> Architecture:
    """Return the adapter for a model; see `require_supported` for what is raised."""
    config: Any = model.config
    kind: str = config.model_type
    require_supported(kind)
    return FAMILIES[kind](model)
