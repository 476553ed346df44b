"""BERT's network (arXiv 1810.04805), which sentence encoders and the judge are.

The modules are named, and compute, as those of transformers do. Letters: B texts, T tokens, H
hidden size.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.base.attention import attend_alone
from models.base.native.folder import embedding, read_config, read_network


class States(NamedTuple):
    """What comes out of the last layer, [B, T, H]."""

    last_hidden_state: Tensor


class Embeddings(nn.Module):
    """The sum of the embeddings of words, places and texts."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = embedding(config.vocab_size, size)
        self.position_embeddings = embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = embedding(config.type_vocab_size, size)
        self.LayerNorm = nn.LayerNorm(size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, ids: Tensor, types: Tensor | None) -> Tensor:
        """Return [B, T, H] for token ids and types [B, T]."""
        types = torch.zeros_like(ids) if types is None else types
        x: Tensor = self.word_embeddings(ids) + self.token_type_embeddings(types)
        x = x + self.position_embeddings.weight[: ids.shape[1]]
        x = self.dropout(self.LayerNorm(x))
        return x


class SelfAttention(nn.Module):
    """Attention of every token to every other."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.num_attention_heads
        self.query, self.key = nn.Linear(size, size), nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.fused = True

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return [B, T, H]; `mask`, bool [B, 1, 1, T], says what is seen."""
        maps = (self.query, self.key, self.value)
        q, k, v = (each(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in maps)
        if self.fused and not torch.is_grad_enabled():
            y = attend_alone(q, k, v, mask, q.shape[-1] ** -0.5)
        elif self.fused:
            mask = mask if mask is None else mask.expand(-1, -1, x.shape[1], -1)
            dropout = self.dropout.p if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        else:
            scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
            y = self.dropout(scores.softmax(-1)) @ v
        return y.transpose(1, 2).flatten(2)


class AddAndNorm(nn.Module):
    """A linear map whose result is added to what was there before, then normed."""

    def __init__(self, size: int, config: SimpleNamespace) -> None:
        super().__init__()
        self.dense = nn.Linear(size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, y: Tensor, before: Tensor) -> Tensor:
        """Return [B, T, H]."""
        x: Tensor = self.LayerNorm(self.dropout(self.dense(y)) + before)
        return x


class Attention(nn.Module):
    """Attention, and what is added of it."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = AddAndNorm(config.hidden_size, config)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return [B, T, H]."""
        y: Tensor = self.output(self.self(x, mask), x)
        return y


class Intermediate(nn.Module):
    """The way into the MLP."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, the MLP's size]."""
        return F.gelu(self.dense(x))


class Layer(nn.Module):
    """Attention, then an MLP."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.attention, self.intermediate = Attention(config), Intermediate(config)
        self.output = AddAndNorm(config.intermediate_size, config)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return [B, T, H]."""
        x = self.attention(x, mask)
        y: Tensor = self.output(self.intermediate(x), x)
        return y


class Layers(nn.Module):
    """One layer after the other."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))


class Bert(nn.Module):
    """An encoder of BERT's family, without its pooler.

    Args:
        config: what its `config.json` says.
    """

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = config
        self.embeddings, self.encoder = Embeddings(config), Layers(config)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Bert | None:
        """Read a folder; None if it holds anything but this network, then transformers may know it.

        Args:
            folder: as transformers writes one.
            device: where the weights, float32, go.
        """
        config = read_config(folder)
        plain = {"model_type": "bert", "hidden_act": "gelu"}
        usual = {"is_decoder": False, "position_embedding_type": "absolute"}
        try:
            if any(getattr(config, name) != value for name, value in plain.items()):
                return None
            if any(getattr(config, name, value) != value for name, value in usual.items()):
                return None
            config.is_encoder_decoder = False
            return read_network(lambda: cls(config), folder, torch.float32, device)
        except (AttributeError, KeyError, TypeError):
            return None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embeddings.word_embeddings.weight.device

    def set_attn_implementation(self, name: str) -> None:
        """Compute attention in one operation, or ("eager") in several, as in transformers."""
        for module in self.modules():
            if isinstance(module, SelfAttention):
                module.fused = name != "eager"

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> States:
        """Return the states of B texts.

        Args:
            input_ids: int64 [B, T].
            attention_mask: [B, T], 0 for padding.
            token_type_ids: int64 [B, T]; None for all 0.
        """
        real = attention_mask.bool()
        mask = None if real.all() else real[:, None, None]
        x = self.embeddings(input_ids, token_type_ids)
        for layer in self.encoder.layer:
            x = layer(x, mask)
        return States(x)
