"""How the `peft` library keeps a LoRA: its files, its settings, the names of its tensors.

Letters: r rank, I numbers a linear layer takes in, O those it gives out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from models.memory.card import repository

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ROOT = "base_model.model."
"""In front of a layer's name in the base LM."""
MATRICES = (".lora_A.weight", ".lora_B.weight")
"""Behind it, for A [r, I] and for B [O, r]."""
PLAIN = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "use_rslora": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
}
"""The settings of a LoRA as in its paper (arXiv 2106.09685), with no later addition."""


def common(base_name: str) -> dict[str, Any]:
    """The settings of an adapter of any kind.

    Args:
        base_name: a pinned name, a Hub id or a folder, for whoever loads the adapter.
    """
    return {
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": repository(base_name),
        "inference_mode": True,
    }


def low_rank(
    base_name: str, layers: Iterable[str], r: int, lora_alpha: float, *, transposed: bool
) -> dict[str, Any]:
    """The settings of a LoRA.

    Args:
        base_name: as for `common`.
        layers: the names of the linear layers that it changes.
        r: rank.
        lora_alpha: the products of A and B are multiplied by alpha / r.
        transposed: whether these layers keep their weights as [I, O].
    """
    return {
        **PLAIN,
        **common(base_name),
        "r": r,
        "lora_alpha": lora_alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(layers),
        "fan_in_fan_out": transposed,
    }


def tensors(layers: Iterable[tuple[str, Tensor, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a LoRA, from a layer's name, A and B each."""
    return {
        f"{ROOT}{name}{end}": matrix
        for name, *pair in layers
        for end, matrix in zip(MATRICES, pair, strict=True)
    }


def to_bytes(made: dict[str, Tensor]) -> bytes:
    """The file of tensors."""
    from safetensors.torch import save

    return save({n: t.detach().cpu().contiguous() for n, t in made.items()}, {"format": "pt"})
