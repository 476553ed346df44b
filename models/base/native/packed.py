"""The linear maps of a language model in the few bits of the GGUF file that they came from.

Such a file holds 32 weights as numbers from 0 to at most 255, a step and a least value (kinds Q4_0,
Q4_1, Q5_0, Q5_1, Q8_0, Q4_K and Q5_K); the cache of base models keeps what that makes. Here the
three are found again in the weights, without loss, and written beside them for torch's 4-bit matrix
product on CPUs: once, or twice where there are more than 16 numbers, for their upper and their
lower four bits. It reads a sixth or a third of the bytes for each token that is generated. For many
tokens at once the weights as they are are faster, where the processor multiplies bfloat16.

Letters: N outputs, K inputs, P products.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from models.base.native.folder import derived

if TYPE_CHECKING:
    from models.base.lm import BaseLM

FILE = "packed.safetensors"
GROUP = 32
PROCESSORS = ("AVX2", "AVX512")  # that torch has a fast product for
ROWS = 16
"""The matrix product wants a multiple of this many outputs."""
FEW_TOKENS = 128
"""The most tokens that are multiplied with the few bits where there are bfloat16 weights, too.

Those are faster from 30 tokens on, and with 128 by 40 ms; but they take three times the memory.
"""
MOST_STEPS = 255
_AT_ONCE = 4096  # outputs that are packed at once; torch lays out 64 together
_APART = 12  # steps that the two nearest of 32 weights may lie apart
_PRODUCT = "_weight_int4pack_mm_for_cpu"  # not every version of torch has it
_PARTS = ("weights", "scales")
_HEAD, _EMBEDDING = "lm_head", "model.embed_tokens.weight"  # the head may be the embedding


class PackedLinear(nn.Module):
    """A linear map whose weights have few bits; it computes in bfloat16.

    Args:
        linear: the map as it is.
        weights: [P, N, K / 2] bytes, as torch's matrix product lays out numbers of 4 bits.
        scales: [P, K / 32, N, 2] bfloat16, what n - 8 is multiplied with and what is added.

    Raises:
        ValueError: they are not of the map's sizes, or of another type.
    """

    def __init__(self, linear: Any, weights: Tensor, scales: Tensor) -> None:
        super().__init__()
        (n, k), products = linear.weight.shape, len(weights)
        if weights.shape != (products, n, k // 2) or weights.dtype != torch.uint8:
            raise ValueError("these weights are another map's")
        if scales.shape != (products, k // GROUP, n, 2) or scales.dtype != torch.bfloat16:
            raise ValueError("these scales are another map's")
        self.parts = list(zip(weights, scales, strict=True))
        self.full: Tensor = linear.weight
        self.bias: Tensor | None = linear.bias
        both = self.full.dtype == torch.bfloat16
        self.most_tokens = FEW_TOKENS // len(self.parts) if both else None

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., N] of x [..., K], of its type."""
        rows = x.reshape(-1, x.shape[-1])
        if self.most_tokens is not None and len(rows) > self.most_tokens:
            return F.linear(x, self.full, self.bias)
        rows = rows.bfloat16()
        first, *rest = [
            torch.ops.aten._weight_int4pack_mm_for_cpu(rows, weights, GROUP, scales)
            for weights, scales in self.parts
        ]
        y: Any = sum(rest, first)
        y = y if self.bias is None else y + self.bias
        out: Tensor = y.view(*x.shape[:-1], -1).to(x.dtype)
        return out


def packed(lm: BaseLM, folder: Path) -> BaseLM:
    """Return a language model with few bits a weight, where its maps have them; else the same.

    It is the same, too, if this CPU has no fast product for them, or nothing can be written.

    Args:
        lm: the language model; it is not changed, and shares its weights.
        folder: that it was read from.
    """
    processor = torch.backends.cpu.get_cpu_capability()
    if processor not in PROCESSORS or not hasattr(torch.ops.aten, _PRODUCT):
        return lm
    maps: dict[str, nn.Module] = {
        name: module for name, module in lm.model.named_modules() if isinstance(module, nn.Linear)
    }
    maps[_HEAD] = lm.head

    def make(stored: Any) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        names = set(stored.keys())
        for name in maps:
            key = f"{name}.weight"
            if name == _HEAD and key not in names:
                key = _EMBEDDING
            found = pack(stored.get_tensor(key).float()) if key in names else None
            if found is not None:
                tensors |= {f"{name}.{part}": x for part, x in zip(_PARTS, found, strict=True)}
        return tensors

    # How torch lays weights out is its own affair, and depends on the processor.
    file = derived(folder, FILE, f"{torch.__version__} {processor}", make)
    if file is None:
        return lm
    try:
        with safe_open(file, "pt") as stored:
            names = set(stored.keys())
            few: dict[nn.Module, nn.Module] = {
                module: PackedLinear(module, *(stored.get_tensor(f"{name}.{p}") for p in _PARTS))
                for name, module in maps.items()
                if f"{name}.{_PARTS[0]}" in names
            }
    except (OSError, SafetensorError, ValueError):
        return lm
    return lm.replaced(few) if few else lm


def grid(weight: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return n [N, K / 32, 32], step and least [N, K / 32, 1]: weights are n * step + least.

    Args:
        weight: float32 [N, K].

    Returns:
        Integers from 0 to at most 255, and float32; None if the weights are no such numbers.
    """
    if weight.shape[0] % ROWS or weight.shape[1] % GROUP:
        return None
    groups = weight.unflatten(1, (-1, GROUP))
    least, most = groups.aminmax(dim=-1, keepdim=True)
    span = torch.where(most == least, 1, most - least)
    step = torch.zeros_like(span)
    for guess in _guesses(groups, span):
        numbers = (groups - least) / guess
        fits = ((numbers - numbers.round()).abs() < 0.01).all(-1, keepdim=True)
        step = torch.where((step == 0) & fits & (span / guess < MOST_STEPS + 0.5), guess, step)
        if step.all():
            return ((groups - least) / step).round().int(), step, least
    return None


def _guesses(groups: Tensor, span: Tensor) -> Iterator[Tensor]:
    """Yield steps [N, K / 32, 1] that groups [N, K / 32, 32] may have, the most likely first."""
    yield span / 15  # as Q4_1 cuts them
    gaps = groups.sort(-1).values.diff(dim=-1)
    nearest = torch.where(gaps > span / 1000, gaps, span).amin(-1, keepdim=True)
    for apart in range(1, _APART + 1):
        yield span / (span / nearest * apart).round()


def pack(weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return what a `PackedLinear` is made of, for a weight [N, K]; None as `grid`."""
    grids = []
    for rows in weight.split(_AT_ONCE):
        found = grid(rows)
        if found is None:
            return None
        grids.append(found)
    products = 1 if max(int(n.max()) for n, _, _ in grids) < 16 else 2
    parts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(products)]
    for n, step, least in grids:
        if products == 1:
            halves = [(n, step, least + 8 * step)]
        else:
            # Moved to where the upper halves alone come closest to the weights.
            room = MOST_STEPS - n.amax(-1, keepdim=True)
            by = (least / step + 136).round().clamp(min=0).minimum(room)
            n, least = n + by.int(), least - by * step
            halves = [(n // 16, 16 * step, least + 136 * step), (n % 16, step, 0 * step)]
        for part, (numbers, scale, middle) in zip(parts, halves, strict=True):
            scales = torch.cat((scale, middle), -1).transpose(0, 1).bfloat16()
            layout = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers.flatten(1), 1)
            part.append((layout, scales))
    weights = torch.stack([torch.cat([layout for layout, _ in part]) for part in parts])
    scales = torch.stack([torch.cat([scales for _, scales in part], 1) for part in parts])
    return weights, scales.contiguous()
