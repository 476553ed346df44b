"""The linear maps of a language model in the 4 bits of the GGUF file that they came from.

A file of kind Q4_1 holds a weight as scale * n + minimum: n from 0 to 15, scale and minimum in
float16 for each group of 32. The cache of base models keeps the weights as float32. Here the three
numbers are found again in them, without loss, and written beside them for torch's 4-bit matrix
product on CPUs, which reads a sixth of the bytes for each token that is generated.

Letters: N outputs, K inputs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from models.base.native.folder import WEIGHTS
from models.files import replace_file

FILE = "four-bits.safetensors"
GROUP = 32
PROCESSORS = ("AVX2", "AVX512")  # that torch has a fast product for
ROWS = 16
"""The matrix product wants a multiple of this many outputs."""


class FourBitLinear(nn.Module):
    """A linear map whose weights have 4 bits; it computes in bfloat16.

    Args:
        weights: as torch's matrix product lays them out.
        scales: [K / 32, N, 2] bfloat16, what n - 8 is multiplied with and what is added.
    """

    def __init__(self, weights: Tensor, scales: Tensor) -> None:
        super().__init__()
        self.weights, self.scales = weights, scales

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., N] of x [..., K], of its type."""
        rows = x.reshape(-1, x.shape[-1]).bfloat16()
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.weights, GROUP, self.scales)
        out: Tensor = y.view(*x.shape[:-1], -1).to(x.dtype)
        return out


def quants(weight: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return n [N, K], scales and minima [N, K / 32]; None if the weights are no such numbers.

    Args:
        weight: float32 [N, K].
    """
    if weight.shape[0] % ROWS or weight.shape[1] % GROUP:
        return None
    groups = weight.unflatten(1, (-1, GROUP))
    # Each group was cut into 15 steps from its least to its largest weight, so both are in it.
    minimum = groups.amin(-1, keepdim=True)
    scale = ((groups.amax(-1, keepdim=True) - minimum) / 15).half().float()
    n = ((groups - minimum) / torch.where(scale == 0, 1, scale)).round()
    if not torch.equal(n * scale + minimum, groups):
        return None
    return n.flatten(1).int(), scale.squeeze(-1), minimum.squeeze(-1)


def pack(weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return what a `FourBitLinear` is made of, for a weight [N, K]; None as `quants`."""
    found = quants(weight)
    if found is None:
        return None
    n, scale, minimum = found
    scales = torch.stack((scale, minimum + 8 * scale), -1).transpose(0, 1).bfloat16().contiguous()
    return torch.ops.aten._convert_weight_to_int4pack_for_cpu(n, 1), scales


def read(folder: Path, names: list[str]) -> dict[str, FourBitLinear] | None:
    """Return the linear maps of a folder with 4 bits a weight; the first time they are written.

    Args:
        folder: of the language model, as transformers writes one.
        names: of the maps.

    Returns:
        a map for each name; None if this CPU has no fast matrix product for them, if the folder's
        weights never had 4 bits, or if nothing can be written beside them.
    """
    processor = torch.backends.cpu.get_cpu_capability()
    if processor not in PROCESSORS or not hasattr(torch.ops.aten, _PRODUCT):
        return None
    try:
        status = (folder / WEIGHTS).stat()
        # How torch lays weights out is its own affair, and depends on the processor.
        made_for = json.dumps([torch.__version__, processor, status.st_size, status.st_mtime_ns])
        if _made_for(folder / FILE) != made_for:
            _write(folder, names, made_for)
        stored: Any = safe_open(folder / FILE, "pt")
        if set(stored.keys()) != {f"{name}.{part}" for name in names for part in _PARTS}:
            return None
        return {
            name: FourBitLinear(*(stored.get_tensor(f"{name}.{part}") for part in _PARTS))
            for name in names
        }
    except (OSError, SafetensorError):
        return None


_PARTS = ("weights", "scales")
_PRODUCT = "_weight_int4pack_mm_for_cpu"  # not every version of torch has it


def _made_for(file: Path) -> str | None:
    try:
        with safe_open(file, "pt") as stored:
            return (stored.metadata() or {}).get("made_for")
    except (OSError, SafetensorError):
        return None


def _write(folder: Path, names: list[str], made_for: str) -> None:
    """Write the maps; of a model that never had 4 bits a file without any, to know it next time."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    with safe_open(folder / WEIGHTS, "pt") as stored:
        for name in names:
            packed = pack(stored.get_tensor(f"{name}.weight").float())
            if packed is None:
                tensors.clear()
                break
            tensors |= {f"{name}.{part}": x for part, x in zip(_PARTS, packed, strict=True)}
    replace_file(folder / FILE, save(tensors, {"made_for": made_for}))
