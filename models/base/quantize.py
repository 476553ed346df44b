"""Loading a base LM with 4 bits a weight in its layers, by bitsandbytes on CUDA.

The numbers are NF4 with scales that are quantised themselves (QLoRA, arXiv 2305.14314): 4.13 bits a
weight. Embedding and head stay as they are. The file on disk does not change, and neither does the
base LM's identity. A checkpoint's config says whether it was trained with 4 bits, because the keys
and values of the quantized LM differ from those of the full one.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from models.errors import CheckpointError, ModelError, install_hint

if TYPE_CHECKING:
    import torch

FOUR_BITS = "4bit"
QUANTIZATIONS = (FOUR_BITS,)
"""What a checkpoint's `base_quantization` may be, besides None."""


def check_quantization(quantization: str | None) -> None:
    """Raise `CheckpointError` for a quantization that is not known; None, which means none, is."""
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise CheckpointError(
            f"unknown base_quantization {quantization!r}; known: {', '.join(QUANTIZATIONS)}",
            hint="update mac, or use the version that trained it",
        )


def loading(quantization: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Return the arguments that `from_pretrained` of transformers needs.

    Args:
        quantization: one of `QUANTIZATIONS`.
        device: a CUDA device, where the model will be.
        dtype: the type that the layers compute in.

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
            hint=install_hint("4bit"),
        )
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": settings, "device_map": {"": device}}
