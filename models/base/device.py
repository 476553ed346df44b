"""The device and the type of tensors are chosen here and nowhere else."""

from __future__ import annotations

import os

import torch

from models.errors import ModelError, UnsupportedModelError

# torch and oneDNN keep what they compiled for the last 1,024 shapes, up to a megabyte for each.
# Every question has new ones: after 60 of them that was 700 MB, and nothing was faster for it.
for _name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "64")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" is CUDA if available, else Apple's GPU, else the CPU.

    Of several GPUs a process takes the one that its launcher gave it (`LOCAL_RANK`).

    Raises:
        ModelError: the device is unknown or not available.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    if name not in ("cpu", "cuda", "mps"):
        raise ModelError(f"unknown device {name!r}", hint="use auto, cpu, cuda or mps")
    if (name == "cuda" and not cuda) or (name == "mps" and not mps):
        raise UnsupportedModelError(
            f"the device {name!r} is not available", hint="use --device cpu"
        )
    if name == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device(name)


def choose_dtype(device: torch.device, precision: str | None = None) -> torch.dtype:
    """Return the type of the base LM's weights.

    Args:
        device: where they will be.
        precision: "bf16" or "fp32"; None: bfloat16 where the hardware multiplies it, else float32
            (emulated is four times slower).
    """
    if precision is not None:
        return torch.bfloat16 if precision == "bf16" else torch.float32
    if device.type == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    if device.type == "cpu" and multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


def prefer_onednn(device: torch.device, precision: str | None = None) -> None:
    """Let oneDNN multiply what stays float32 on CPUs of AMD that multiply bfloat16.

    Torch's own choice there, MKL, takes up to three times as long. The results are float32's to the
    last digits. torch calls it "bf16", which oneDNN may use, and on Intel's processors would.

    Args:
        device: where the models are.
        precision: see `choose_dtype`; if one was asked for, nothing changes.
    """
    amx = _supports("_is_amx_tile_supported")
    if device.type == "cpu" and precision is None and multiplies_bfloat16() and not amx:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]


def onednn_preferred() -> bool:
    """Return whether oneDNN multiplies float32, see `prefer_onednn`."""
    return bool(torch.backends.mkldnn.matmul.fp32_precision == "bf16")  # type: ignore[attr-defined]


def multiplies_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 numbers (torch has no public function for it)."""
    return any(map(_supports, ("_is_avx512_bf16_supported", "_is_amx_tile_supported")))


def _supports(name: str) -> bool:
    return bool(getattr(torch.cpu, name, bool)())
