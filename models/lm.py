"""The frozen base language model, run layer by layer so that a prefix can be put in and read out.

One code path serves every decoder of the Llama shape (Llama, SmolLM2, Mistral, Qwen2, Qwen3, Gemma
3): the model's own submodules do the arithmetic, and this module owns what lies between them: where
keys are taken *before* the rotary embedding, where a prefix of keys and values is attended to, and
with which bias. It knows nothing of latents, of relevance or of documents.

Letters: B sequences, G groups that share one prefix (B = G * N), T tokens, S prefix tokens, L
layers, H key/value heads, A attention heads, C head size, X = L * 2 * H * C the numbers one token
leaves behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.attention import attend, causal_mask, rotate
from models.batching import Packing, in_turn
from models.errors import UnsupportedModelError, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUPPORTED = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")
"""`model_type` of the architectures whose layers have the shape this module runs."""


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


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a base LM decides the shape of its modulations."""

    layers: int
    kv_heads: int
    head_size: int
    hidden_size: int

    @property
    def features(self) -> int:
        """X, the numbers in one token's keys and values over all layers."""
        return self.layers * 2 * self.kv_heads * self.head_size


class BaseLM:
    """A frozen causal language model with its tokenizer.

    Args:
        model: a transformers causal LM of one of the `SUPPORTED` types; frozen here.
        tokenizer: its tokenizer; needs an end-of-sequence token.

    Raises:
        UnsupportedModelError: the architecture is not one whose layers this module can run.
    """

    gradient_checkpointing = False  # whether layers are run again: `models.batching.in_turn`

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        config: Any = model.config
        _require_supported(config.model_type)
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self._body: Any = model.model
        self.layers: list[Any] = list(self._body.layers[: config.num_hidden_layers])
        attention = self.layers[0].self_attn
        self.shape = Shape(
            len(self.layers), config.num_key_value_heads, attention.head_dim, config.hidden_size
        )
        self.heads: int = config.num_attention_heads
        gemma = config.model_type == "gemma3_text"
        self.layer_types: list[str | None] = [
            layer.self_attn.layer_type if gemma else None for layer in self.layers
        ]
        self.bos_id: int = _first(tokenizer.bos_token_id, tokenizer.eos_token_id)
        self.eos_id: int = _first(tokenizer.eos_token_id, tokenizer.bos_token_id)

    @classmethod
    def load(cls, path: Path, *, device: torch.device, dtype: torch.dtype) -> BaseLM:
        """Load a folder of safetensors weights and a tokenizer.

        Raises:
            WeightsError: the folder does not hold a readable model.
            UnsupportedModelError: see the class.
        """
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        try:
            _require_supported(AutoConfig.from_pretrained(path).model_type)
            model: Any = AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, use_safetensors=True
            )
            tokenizer = AutoTokenizer.from_pretrained(path)
        except UnsupportedModelError:
            raise
        except (OSError, ValueError) as error:
            raise WeightsError(f"no readable base language model in {path}: {error}") from error
        return cls(model.to(device), tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where every tensor that is handed in must be."""
        return self._body.embed_tokens.weight.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights and of what the layers hand on."""
        return self._body.embed_tokens.weight.dtype  # type: ignore[no-any-return]

    def tokenize(self, texts: Sequence[str], max_tokens: int | None = None) -> list[list[int]]:
        """Token ids of each text, without special tokens, cut to `max_tokens`."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return [row[:max_tokens] for row in ids] if max_tokens is not None else ids

    def pad(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """[B, T] token ids, padded on the right (where causal attention never looks)."""
        out = torch.full((len(rows), max(map(len, rows))), self.eos_id)
        for i, row in enumerate(rows):
            out[i, : len(row)] = torch.tensor(row)
        return out.to(self.device)

    @torch.no_grad()
    def features(self, ids: Tensor) -> Tensor:
        """Keys before the rotary embedding and values of every layer and token.

        Args:
            ids: [B, T] token ids, padded on the right.

        Returns:
            [B, T, L, 2, H * C]: index 0 of the fourth axis is the key, 1 the value.
        """
        x = self.embed(ids)
        rotary = self.rotary(x, torch.arange(ids.shape[1], device=self.device)[None])
        out = x.new_empty(
            *ids.shape, self.shape.layers, 2, self.shape.kv_heads * self.shape.head_size
        )
        for i, layer in enumerate(self.layers):
            q, k, v = self.project(layer, x)
            out[:, :, i, 0] = k.transpose(1, 2).flatten(2)
            out[:, :, i, 1] = v.transpose(1, 2).flatten(2)
            if i == self.shape.layers - 1:  # nobody reads the last layer's output
                break
            cos, sin = rotary[self.layer_types[i]]
            mask = causal_mask(ids.shape[1], _window(layer), x)
            y = F.scaled_dot_product_attention(
                rotate(q, cos, sin),
                rotate(k, cos, sin),
                v,
                attn_mask=mask,
                scale=layer.self_attn.scaling,
                enable_gqa=True,
            )
            x = self.feed_forward(layer, x, y)
        return out

    def rotate_keys(self, keys: Tensor, positions: Tensor) -> Tensor:
        """Apply the rotary embedding to keys taken by `features`.

        Args:
            keys: [L, G, H, S, C] keys before the rotary embedding.
            positions: [G, S], the place of each token.

        Returns:
            The same shape, rotated.
        """
        rotary = {
            kind: (cos[:, None], sin[:, None])
            for kind, (cos, sin) in self.rotary(keys, positions).items()
        }
        if len(rotary) == 1:
            ((cos, sin),) = rotary.values()
            return rotate(keys, cos, sin)
        return torch.stack(
            [rotate(k, *rotary[kind]) for k, kind in zip(keys, self.layer_types, strict=True)]
        )

    def forward(
        self,
        ids: Tensor,
        prefix: Prefix | None = None,
        *,
        real: Tensor | None = None,
        cache: list[tuple[Tensor, Tensor]] | None = None,
        watch: Tensor | None = None,
    ) -> Tensor:
        """Hidden states after the last norm, with the prefix attended to in every layer.

        Args:
            ids: [B, T] token ids, padded on the right.
            prefix: what the sequences attend to besides themselves; none is the base LM itself.
            real: bool [B, T], which tokens are no padding; the others go through no layer.
            cache: when given, receives each layer's (keys [B, H, T, C] rotated, values) of `ids`.
            watch: when given, [B, S], grows by the attention that each sequence's last token pays
                to each prefix token, summed over layers and heads.

        Returns:
            [B, T, hidden size].
        """
        x = self.embed(ids)
        places = torch.arange(ids.shape[1], device=self.device)[None]
        if prefix is not None:
            places = places + prefix.starts(len(ids))[:, None]
        rotary = self.rotary(x, places)
        packing = None if real is None else Packing(real)
        if packing is not None:
            x = packing.pack(x)

        def run(i: int, x: Tensor) -> Tensor:
            layer = self.layers[i]
            q, k, v = self.project(layer, x)
            if packing is not None:
                q, k, v = (packing.unpack(x.transpose(1, 2)).transpose(1, 2) for x in (q, k, v))
            cos, sin = rotary[self.layer_types[i]]
            q, k = (rotate(x, cos[:, None], sin[:, None]) for x in (q, k))
            if cache is not None:
                cache.append((k, v))
            y = attend(
                q * layer.self_attn.scaling,
                k,
                v,
                causal_mask(ids.shape[1], _window(layer), x),
                (prefix.keys[i], prefix.values[i], prefix.bias) if prefix is not None else None,
                watch,
            )
            if packing is not None:
                y = packing.pack(y.transpose(1, 2)).transpose(1, 2)
            return self.feed_forward(layer, x, y)

        x = in_turn(run, len(self.layers), x, forget=self.gradient_checkpointing)
        return self.norm(x if packing is None else packing.unpack(x))

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings [..., hidden size] of token ids [...]."""
        return self._body.embed_tokens(ids)  # type: ignore[no-any-return]

    def norm(self, x: Tensor) -> Tensor:
        """The norm after the last layer."""
        return self._body.norm(x)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [..., vocabulary] of hidden states [..., hidden size]."""
        return self.model.get_output_embeddings()(hidden)  # type: ignore[no-any-return]

    def project(self, layer: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, A, T, C], keys and values [B, H, T, C], before the rotary embedding."""
        attention = layer.self_attn
        shape = (*x.shape[:-1], -1, self.shape.head_size)
        x = layer.input_layernorm(x)
        q, k = attention.q_proj(x).view(shape), attention.k_proj(x).view(shape)
        if hasattr(attention, "q_norm"):
            q, k = attention.q_norm(q), attention.k_norm(k)
        v = attention.v_proj(x).view(shape)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def feed_forward(self, layer: Any, x: Tensor, y: Tensor) -> Tensor:
        """A layer after attention: [B, T, hidden size] of x and the heads' y [B, A, T, C]."""
        y = layer.self_attn.o_proj(y.transpose(1, 2).flatten(2))
        if hasattr(layer, "pre_feedforward_layernorm"):  # Gemma: norms on both sides of each block
            x = x + layer.post_attention_layernorm(y)
            y = layer.mlp(layer.pre_feedforward_layernorm(x))
            return x + layer.post_feedforward_layernorm(y)  # type: ignore[no-any-return]
        x = x + y
        return x + layer.mlp(layer.post_attention_layernorm(x))  # type: ignore[no-any-return]

    def rotary(self, like: Tensor, positions: Tensor) -> dict[str | None, tuple[Tensor, Tensor]]:
        """Cosines and sines [B, T, C] of positions [B, T], for each kind of layer."""
        return {
            kind: self._body.rotary_emb(like, positions, *((kind,) if kind is not None else ()))
            for kind in set(self.layer_types)
        }


def _window(layer: Any) -> int | None:
    """How far back a sliding-window layer looks; the prefix is in sight of every layer."""
    return getattr(layer.self_attn, "sliding_window", None)


def _first(one: int | None, other: int | None) -> int:
    if (found := one if one is not None else other) is not None:
        return found
    raise UnsupportedModelError("the tokenizer has neither a begin- nor an end-of-sequence token")


def _require_supported(kind: str) -> None:
    if kind not in SUPPORTED:
        raise UnsupportedModelError(
            f"the architecture {kind!r} is not supported: its keys cannot be read before a rotary "
            "embedding",
            hint=f"use a base LM of one of these: {', '.join(SUPPORTED)}",
        )
