"""The frozen base language model, run layer by layer so that a prefix can be put in and read out.

One code path serves every family of `models.base.architectures`: the model's own submodules do the
arithmetic, and this module owns what lies between them: where keys are taken *before* the rotary
embedding (where there is one), where a prefix of keys and values is attended to, and with which
bias.

It knows no architecture by name, and nothing of latents, of relevance or of documents.

Letters: B sequences, G groups that share one prefix (B = G * N), T tokens, S prefix tokens, L
layers, H key/value heads, A attention heads, C head size, X = L * 2 * H * C the numbers one token
leaves behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.base.architectures import Parts, Shape, architecture_of, require_supported
from models.base.attention import Prefix, attend, causal_mask, rotate
from models.base.batching import Packing, in_turn
from models.base.characters import Characters
from models.base.quantize import loading
from models.errors import ModelError, UnsupportedModelError, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["BaseLM", "Prefix", "Shape"]


class BaseLM:
    """A frozen causal language model with its tokenizer.

    Args:
        model: a transformers causal LM of one of the `FAMILIES` of `models.base.architectures`; frozen
            here.
        tokenizer: its tokenizer; needs an end-of-sequence token.

    Attributes:
        architecture: how tokens come in and what the layers consist of.
        layers: as the model has them.
        parts: the modules of each, by what they do.
        characters: which tokens are parts of characters.
        shape: what decides the shape of its modulations.
        heads: A.

    Raises:
        UnsupportedModelError: the architecture is not one of them.
    """

    gradient_checkpointing = False  # whether layers are run again: `models.base.batching.in_turn`

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.architecture = architecture_of(model)
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.layers, self.parts = self.architecture.layers, self.architecture.parts
        self.shape = self.architecture.shape
        self.heads = self.architecture.heads
        self.characters = Characters(tokenizer)
        self.bos_id: int = _first(tokenizer.bos_token_id, tokenizer.eos_token_id)
        self.eos_id: int = _first(tokenizer.eos_token_id, tokenizer.bos_token_id)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        quantization: str | None = None,
    ) -> BaseLM:
        """Load a folder of safetensors weights and a tokenizer.

        Raises:
            WeightsError: the folder does not hold a readable model.
            UnsupportedModelError: see the class.
            ModelError: see `models.base.quantize.loading`, if a quantization is given.
        """
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        try:
            require_supported(AutoConfig.from_pretrained(path).model_type)
            more = {} if quantization is None else loading(quantization, device, dtype)
            model: Any = AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, use_safetensors=True, **more
            )
            tokenizer = AutoTokenizer.from_pretrained(path)
        except ModelError:
            raise
        except (OSError, ValueError, ImportError) as error:
            raise WeightsError(f"no readable base language model in {path}: {error}") from error
        return cls(model if quantization else model.to(device), tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where every tensor that is handed in must be."""
        return self.architecture.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights and of what the layers hand on."""
        return self.architecture.embedding.weight.dtype

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
        """Keys (before the rotary embedding, if any) and values of every layer and token.

        Args:
            ids: [B, T] token ids, padded on the right.

        Returns:
            [B, T, L, 2, H * C]: index 0 of the fourth axis is the key, 1 the value.
        """
        places = torch.arange(ids.shape[1], device=self.device)[None]
        x = self.architecture.embed(ids, places)
        rotary = self.architecture.rotary(x, places)
        out = x.new_empty(
            *ids.shape, self.shape.layers, 2, self.shape.kv_heads * self.shape.head_size
        )
        for i, parts in enumerate(self.parts):
            q, k, v = self.project(parts, x)
            out[:, :, i, 0] = k.transpose(1, 2).flatten(2)
            out[:, :, i, 1] = v.transpose(1, 2).flatten(2)
            if i == self.shape.layers - 1:  # nobody reads the last layer's output
                break
            angles = rotary[parts.kind]
            mask = causal_mask(ids.shape[1], parts.window, x)
            y = F.scaled_dot_product_attention(
                rotate(q, angles),
                rotate(k, angles),
                v,
                attn_mask=mask,
                scale=parts.scaling,
                enable_gqa=True,
            )
            x = self.feed_forward(parts, x, y)
        return out

    def rotate_keys(self, keys: Tensor, positions: Tensor) -> Tensor:
        """Apply the rotary embedding to keys taken by `features`, if the base LM has one.

        Args:
            keys: [L, G, H, S, C] keys before the rotary embedding.
            positions: [G, S], the place of each token.

        Returns:
            The same shape, rotated; the keys as they are where positions are learned: those that
            the tokens were read at are in them for good.
        """
        rotary = self.architecture.rotary(keys, positions)
        if len(rotary) == 1:
            (angles,) = rotary.values()
            return rotate(keys, angles)
        return torch.stack(
            [rotate(k, rotary[parts.kind]) for k, parts in zip(keys, self.parts, strict=True)]
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

        Raises:
            ModelError: prefix and tokens take more positions than the base LM has learned.
        """
        places = torch.arange(ids.shape[1], device=self.device)[None]
        if prefix is not None:
            places = places + prefix.starts(len(ids))[:, None]
        x = self.architecture.embed(ids, places)
        rotary = self.architecture.rotary(x, places)
        packing = None if real is None else Packing(real)
        if packing is not None:
            x = packing.pack(x)

        def run(i: int, x: Tensor) -> Tensor:
            parts = self.parts[i]
            q, k, v = self.project(parts, x)
            if packing is not None:
                q, k, v = (packing.unpack(x.transpose(1, 2)).transpose(1, 2) for x in (q, k, v))
            q, k = (rotate(x, rotary[parts.kind]) for x in (q, k))
            if cache is not None:
                cache.append((k, v))
            y = attend(
                q * parts.scaling,
                k,
                v,
                causal_mask(ids.shape[1], parts.window, x),
                (prefix.keys[i], prefix.values[i], prefix.bias) if prefix is not None else None,
                watch,
            )
            if packing is not None:
                y = packing.pack(y.transpose(1, 2)).transpose(1, 2)
            return self.feed_forward(parts, x, y)

        x = in_turn(run, len(self.layers), x, forget=self.gradient_checkpointing)
        return self.architecture.norm(x if packing is None else packing.unpack(x))

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [..., vocabulary] of hidden states [..., hidden size]."""
        return self.model.get_output_embeddings()(hidden)  # type: ignore[no-any-return]

    def project(self, parts: Parts, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, A, T, C], keys and values [B, H, T, C], before the rotary embedding."""
        c = self.shape.head_size
        shape = (*x.shape[:-1], -1, c)
        x = parts.before_attention(x)
        rows = [linear(x) for linear in parts.qkv]
        if len(rows) == 1:
            sizes = (self.heads * c, self.shape.kv_heads * c, self.shape.kv_heads * c)
            rows = rows[0].split(sizes, -1)
        q, k, v = (row.view(shape) for row in rows)
        if parts.query is not None and parts.key is not None:
            q, k = parts.query(q), parts.key(k)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def feed_forward(self, parts: Parts, x: Tensor, y: Tensor) -> Tensor:
        """A layer after attention: [B, T, hidden size] of x and the heads' y [B, A, T, C]."""
        y = parts.output(y.transpose(1, 2).flatten(2))
        x = x + (y if parts.after_attention is None else parts.after_attention(y))
        z = parts.before_mlp(x)
        first, *rest = [linear(z) for linear in parts.up]
        y = parts.activation(first)
        y = parts.down(y * rest[0] if rest else y)
        return x + (y if parts.after_mlp is None else parts.after_mlp(y))

    def room(self, taken: int, wanted: int) -> int:
        """How many of the wanted tokens may follow on those that take up so many positions.

        Raises:
            ModelError: these alone are more than the positions that the base LM has learned.
        """
        self.architecture.check(taken)
        most = self.architecture.positions
        # The last token is only chosen, and never read at a position of its own.
        return wanted if most is None else min(wanted, most - taken + 1)


def _first(one: int | None, other: int | None) -> int:
    if (found := one if one is not None else other) is not None:
        return found
    raise UnsupportedModelError("the tokenizer has neither a begin- nor an end-of-sequence token")
