"""Llama's network (arXiv 2307.09288), as `models.base.lm` runs it: its modules, layer by layer.

The modules are named, and compute to the last bit, as those of transformers do. Letters: B
sequences, T tokens, C head size.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from models.base.native.folder import embedding, read_config, read_network

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RMSNorm(nn.Module):
    """Root mean square norm (arXiv 1910.07467), its sums in float32."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.variance_epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., size], normed."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * wide.to(x.dtype)


class Rotary(nn.Module):
    """The angles of the rotary embedding (arXiv 2104.09864)."""

    def __init__(self, theta: float, size: int) -> None:
        super().__init__()
        # No buffer: in whatever type the weights are, the frequencies stay exact.
        powers = torch.arange(0, size, 2, dtype=torch.float, device="cpu") / size
        self.frequencies = 1.0 / (theta**powers)

    def forward(self, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines [B, T, C] for positions [B, T], of the type of `like`."""
        angles = positions[..., None].float() * self.frequencies.to(like.device)
        angles = torch.cat((angles, angles), -1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


class Attention(nn.Module):
    """The linear maps of attention."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        self.head_dim = config.head_dim
        self.scaling = self.head_dim**-0.5
        shared = config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(size, heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(size, shared, bias=False)
        self.v_proj = nn.Linear(size, shared, bias=False)
        self.o_proj = nn.Linear(heads * self.head_dim, size, bias=False)


class MLP(nn.Module):
    """The linear maps of the gated MLP (arXiv 2002.05202), and its activation."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(size, inner, bias=False)
        self.up_proj = nn.Linear(size, inner, bias=False)
        self.down_proj = nn.Linear(inner, size, bias=False)
        self.act_fn = nn.SiLU()


class Layer(nn.Module):
    """The modules of a layer."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(config), MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Body(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.embed_tokens = embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = Rotary(config.rope_parameters["rope_theta"], config.head_dim)


class LlamaLM(nn.Module):
    """A causal language model of Llama's family; the embedding is its head, too.

    Args:
        config: what its `config.json` says.
    """

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = config
        self.model = Body(config)

    @classmethod
    def load(
        cls, folder: Path, dtype: torch.dtype, device: torch.device, *, keep: bool = False
    ) -> LlamaLM | None:
        """Read a folder; None if it holds anything but this network, then transformers may know it.

        Args:
            folder: as transformers writes one.
            dtype: of the weights.
            device: where they go.
            keep: see `models.base.native.folder.read_network`.
        """
        config = read_config(folder)
        plain = {
            "model_type": "llama",
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
        }
        try:
            if any(getattr(config, name) != value for name, value in plain.items()):
                return None
            if config.rope_parameters["rope_type"] != "default":
                return None
            if hasattr(config, "quantization_config") or config.head_dim is None:
                return None
            return read_network(lambda: cls(config), folder, dtype, device, keep=keep)
        except (AttributeError, KeyError, TypeError):
            return None

    def get_output_embeddings(self) -> nn.Linear:
        """Return the head's linear map, as models of transformers do."""
        weight = self.model.embed_tokens.weight
        with torch.device("meta"):
            head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        head.weight = weight
        return head

    def as_transformers(self) -> PreTrainedModel:
        """Return the same model as transformers has it; the weights are shared."""
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(**vars(self.config))
        with torch.device("meta"):
            model: Any = LlamaForCausalLM(config)
        weights = self.state_dict()
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        model.load_state_dict(weights, assign=True)
        model.tie_weights()
        # Its frequencies are no weights.
        model.model.rotary_emb = type(model.model.rotary_emb)(config)
        model = model.eval().requires_grad_(False).to(self.model.embed_tokens.weight.device)
        return cast("PreTrainedModel", model)
