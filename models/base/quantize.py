"""A base LM whose layers have 4 bits a weight, made while it is loaded: bitsandbytes on CUDA.

The numbers are NF4 with scales that are quantised themselves (QLoRA, arXiv 2305.14314): 4.13 bits a
weight. Embedding and head stay as they are. The file on disk stays the full one, and so does the
base LM's identity; what a checkpoint was trained with is in its config, because keys and values of
the narrow LM are not those of the full one.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from models.errors import CheckpointError, ModelError

if TYPE_CHECKING:
    import torch

FOUR_BITS = "4bit"
QUANTIZATIONS = (FOUR_BITS,)
"""What a checkpoint's `base_quantization` may be, besides None."""


def check_quantization(quantization: str | None) -> None:
    """Raise `CheckpointError` for a quantization that is not known; None is none at all."""
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise CheckpointError(
            f"unknown base_quantization {quantization!r}; known: {', '.join(QUANTIZATIONS)}",
            hint="update mac, or use the version that trained it",
        )


def loading(quantization: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` of transformers has to be told.

    Args:
        quantization: one of `QUANTIZATIONS`.
        device: where the model is to be; a CUDA device.
        dtype: of what the layers compute and hand on.

    Raises:
        ModelError: there is no such quantization, the device cannot do it, or bitsandbytes is not
            installed.
    """
    check_quantization(quantization)
    if device.type != "cuda":
        raise ModelError(
            f"a base model in 4 bits runs on an NVIDIA GPU only, not on {device.type!r}",
            hint="use a machine with one (--device cuda), or a checkpoint trained without "
            "--quantize",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "a base model in 4 bits needs bitsandbytes, which is not installed",
            hint="pip install 'maccli[4bit]'",
        )
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": settings, "device_map": {"": device}}
