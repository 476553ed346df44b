"""The frozen base language model, run layer by layer so that a prefix can be put in and read out.

One code path serves every family of `models.base.architectures`: the model's own submodules do the
arithmetic, and this module does what lies between them: it takes keys *before* the rotary embedding
(if there is one), and lets every layer attend to a prefix of keys and values, with a bias.

Letters: B sequences, G groups that share one prefix (B = G * N), T tokens, S prefix tokens, L
layers, H key/value heads, A attention heads, C head size, X = L * 2 * H * C features of a
token.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models.base.architectures import LayerModules, Norm, Shape, architecture_of, require_supported
from models.base.attention import (
    Cache,
    Prefix,
    attend,
    attend_cached,
    causal_mask,
    rotate,
    rotate_fused,
)
from models.base.batching import Packing, run_layers
from models.base.characters import Characters
from models.base.native.llama import LlamaLM
from models.base.native.prepared import prepare
from models.base.quantize import loading
from models.base.tokens import TextTokenizer, load_tokenizer
from models.errors import ModelError, UnsupportedModelError, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from models.base.tokens import AnyTokenizer

__all__ = ["BaseLM", "Prefix", "Shape"]


class BaseLM:
    """A frozen causal language model with its tokenizer.

    Args:
        model: a causal LM of one of the `FAMILIES` of `models.base.architectures`, of transformers
            or `models.base.native`; it is frozen here, and its linear maps prepared.
        tokenizer: its tokenizer; needs an end-of-sequence token.

    Attributes:
        architecture: how tokens come in and what the layers consist of.
        layers: as the model has them.
        modules: the modules of each, by what they do.
        head: the linear map to the vocabulary.
        text: reads texts with the tokenizer.
        characters: which tokens are parts of characters.
        shape: what decides the shape of its modulations.
        heads: A.

    Raises:
        UnsupportedModelError: the architecture is not one of them.
    """

    gradient_checkpointing = False  # see `recompute` of `models.base.batching.run_layers`

    def __init__(self, model: PreTrainedModel | LlamaLM, tokenizer: AnyTokenizer) -> None:
        self.model = prepare(model.eval().requires_grad_(False))
        self.architecture = architecture_of(model)
        self.tokenizer = tokenizer
        self.text = TextTokenizer(tokenizer)
        self.layers, self.modules = self.architecture.layers, self.architecture.modules
        self.head: nn.Module = self.model.get_output_embeddings()
        self.shape, self.heads = self.architecture.shape, self.architecture.heads
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
        tokenizer: AnyTokenizer | None = None,
        keep: bool = False,
    ) -> BaseLM:
        """Load a folder of safetensors weights and, unless it is given, its tokenizer.

        For `keep` see `models.base.native.folder.read_network`.

        Raises:
            WeightsError: the folder does not hold a readable model.
            UnsupportedModelError: see the class.
            ModelError: see `models.base.quantize.loading`, if a quantization is given.
        """
        try:
            if quantization is None and (native := LlamaLM.load(path, dtype, device, keep=keep)):
                return cls(native, tokenizer or load_tokenizer(path))
            from transformers import AutoConfig, AutoModelForCausalLM

            require_supported(AutoConfig.from_pretrained(path).model_type)
            more = {} if quantization is None else loading(quantization, device, dtype)
            model: Any = AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, use_safetensors=True, **more
            )
            tokenizer = tokenizer or load_tokenizer(path)
        except ModelError:
            raise
        except (OSError, ValueError, ImportError) as error:
            raise WeightsError(f"no readable base language model in {path}: {error}") from error
        return cls(model if quantization else model.to(device), tokenizer)

    def replaced(self, maps: Mapping[nn.Module, nn.Module]) -> BaseLM:
        """Return the same model with other linear maps in place of some; all else is shared."""
        other = copy.copy(self)
        other.head = maps.get(self.head, self.head)
        other.modules = [modules.replaced(maps) for modules in self.modules]
        return other

    @cached_property
    def full_model(self) -> PreTrainedModel:
        """The model as transformers has it, for what the layers alone cannot do; shares weights."""
        return self.model.as_transformers() if isinstance(self.model, LlamaLM) else self.model

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where every tensor that is handed in must be."""
        return self.architecture.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights and of what the layers hand on."""
        return self.architecture.embedding.weight.dtype

    def tokenize(self, texts: Sequence[str], max_tokens: int | None = None) -> list[list[int]]:
        """Return the token ids of each text, without special tokens, cut to `max_tokens`.

        What looks like a special token in a text is text.
        """
        return [row[:max_tokens] for row in self.text.ids(texts)]

    def pad(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return token ids [B, T], padded on the right (where causal attention never looks)."""
        out = torch.full((len(rows), max(map(len, rows))), self.eos_id)
        for i, row in enumerate(rows):
            out[i, : len(row)] = torch.tensor(row)
        return out.to(self.device)

    @torch.no_grad()
    def features(self, ids: Tensor) -> Tensor:
        """Return keys (before the rotary embedding, if any) and values of every layer and token.

        Args:
            ids: [B, T] token ids, padded on the right.

        Returns:
            [B, T, L, 2, H * C]: index 0 of the fourth axis is the key, 1 the value.
        """
        size = (self.shape.layers, 2, self.shape.kv_heads * self.shape.head_size)
        out = torch.empty(*ids.shape, *size, dtype=self.dtype, device=self.device)
        self.forward(ids, features=out)
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
            [rotate(k, rotary[modules.kind]) for k, modules in zip(keys, self.modules, strict=True)]
        )

    def forward(
        self,
        ids: Tensor,
        prefix: Prefix | None = None,
        *,
        real: Tensor | None = None,
        cache: Cache | None = None,
        watch: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """Return hidden states after the last norm; every layer attends to the prefix.

        This is the only loop over the layers: reading, training and generating all go through it.

        Args:
            ids: [B, T] token ids, padded on the right.
            prefix: what the sequences attend to besides themselves; none is the base LM itself.
            real: bool [B, T], which tokens are not padding; the others go through no layer.
            cache: holds the prefix and the tokens read so far, and takes in these; `prefix` must be
                None then.
            watch: when given, [B, S], grows by the attention that each sequence's last token pays
                to each prefix token, summed over layers and heads.
            features: when given, [B, T, L, 2, H * C], is filled as `features` says.

        Returns:
            [B, T, hidden size]; those with `features` lack the last layer.

        Raises:
            ModelError: prefix and tokens take more positions than the base LM has learned.
        """
        t = ids.shape[1]
        if cache is not None:
            places = cache.reserve(t)
        else:
            places = torch.arange(t, device=self.device)[None]
            if prefix is not None:
                places = places + prefix.starts(len(ids))[:, None]
        x = self.architecture.embed(ids, places)
        rotary = self.architecture.rotary(x, places)
        masks = {
            window: causal_mask(t, window, x)
            if cache is None
            else cache.mask(t, window, self.heads)
            for window in {modules.window for modules in self.modules}
        }
        # Generating takes fewer operations and roundings than the modules do. Amortizing must not:
        # in bfloat16 other roundings make other modulations.
        norm: Norm = nn.Module.__call__ if cache is None else self.architecture.fused_norm
        turn = rotate if cache is None else rotate_fused
        packing = None if real is None else Packing(real)
        if packing is not None:
            x = packing.pack(x)

        def run(i: int, x: Tensor) -> Tensor:
            modules = self.modules[i]
            q, k, v = self.project(modules, x, norm)
            if features is not None:
                features[:, :, i, 0] = k.transpose(1, 2).flatten(2)
                features[:, :, i, 1] = v.transpose(1, 2).flatten(2)
                if i == len(self.layers) - 1:  # what comes after them changes no keys and values
                    return x
            if packing is not None:
                q, k, v = (packing.unpack(x.transpose(1, 2)).transpose(1, 2) for x in (q, k, v))
            angles, mask = rotary[modules.kind], masks[modules.window]
            q, k = turn(torch.cat((q, k), 1), angles).split((self.heads, k.shape[1]), 1)
            if cache is not None:
                y = attend_cached(q, *cache.store(i, k, v), mask, modules.scaling, watch)
            else:
                shared = None if prefix is None else (prefix.keys[i], prefix.values[i], prefix.bias)
                y = attend(q * modules.scaling, k, v, mask, shared, watch)
            if packing is not None:
                y = packing.pack(y.transpose(1, 2)).transpose(1, 2)
            return self.feed_forward(modules, x, y, norm)

        x = run_layers(run, len(self.layers), x, recompute=self.gradient_checkpointing)
        return norm(self.architecture.last_norm, x if packing is None else packing.unpack(x))

    def new_cache(self, prefix: Prefix | None, sequences: int, tokens: int) -> Cache:
        """Return a cache for B sequences for a prefix and so many tokens."""
        shape, like = self.shape, self.architecture.embedding.weight
        return Cache(shape.layers, shape.kv_heads, shape.head_size, prefix, sequences, tokens, like)

    @torch.no_grad()
    def read(self, ids: Sequence[int]) -> Prefix:
        """Return a text's keys and values as a prefix, for prompts that all begin with it."""
        cache = self.new_cache(None, 1, len(ids))
        self.forward(self.pad([ids]), cache=cache)
        return Prefix(
            cache.keys.unbind(0),
            cache.values.unbind(0),
            torch.zeros(1, len(ids), device=self.device),
            torch.tensor([len(ids)], device=self.device),
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Return next-token logits [..., vocabulary] of hidden states [..., hidden size]."""
        return self.head(hidden)  # type: ignore[no-any-return]

    def project(
        self, modules: LayerModules, x: Tensor, norm: Norm
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries [B, A, T, C], keys and values [B, H, T, C], none of them rotated."""
        c = self.shape.head_size
        shape = (*x.shape[:-1], -1, c)
        x = norm(modules.before_attention, x)
        rows = [linear(x) for linear in modules.qkv]
        if len(rows) == 1:
            sizes = (self.heads * c, self.shape.kv_heads * c, self.shape.kv_heads * c)
            rows = rows[0].split(sizes, -1)
        q, k, v = (row.view(shape) for row in rows)
        if modules.query is not None and modules.key is not None:
            q, k = norm(modules.query, q), norm(modules.key, k)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def feed_forward(self, modules: LayerModules, x: Tensor, y: Tensor, norm: Norm) -> Tensor:
        """Return a layer's output [B, T, hidden size]; the heads gave y [B, A, T, C]."""
        y = modules.output(y.transpose(1, 2).flatten(2))
        x = x + (y if modules.after_attention is None else norm(modules.after_attention, y))
        z = norm(modules.before_mlp, x)
        first, *rest = [linear(z) for linear in modules.up]
        y = modules.activation(first)
        y = modules.down(y * rest[0] if rest else y)
        return x + (y if modules.after_mlp is None else norm(modules.after_mlp, y))


def _first(*ids: int | None) -> int:
    if known := [token for token in ids if token is not None]:
        return known[0]
    raise UnsupportedModelError("the tokenizer has neither a begin- nor an end-of-sequence token")
