"""Low-rank adapters (LoRA, arXiv 2106.09685) on the linear layers of the frozen base LM.

The rivals of `mac` are made of them: the QA-tuned base that online fine-tuning starts from
(arXiv 2403.04317, section 4), and text in the prompt read with as many trained parameters as `mac`
has. A folder holds them in the layout of the `peft` library, which loads it as it is.

Letters: r rank, I numbers a linear layer takes in, O those it gives out.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.base.lm import BaseLM
from models.base.lora import LowRank, Worn, linear_layers, sizes, transposed
from models.errors import CheckpointError, ModelError
from models.export import peft_format
from models.export.peft_format import CONFIG, MATRICES, ROOT, WEIGHTS
from models.memory import checkpoint
from models.memory.stack import Stack

NOTES = "mac.json"
Task = Literal["closed-book", "text"]


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What an adapter is and how it came to be.

    Attributes:
        base_lm: the base LM it was trained on: a pinned name, a Hub id or a folder.
        base_sha256: of its weights; None where it is not known, as in an adapter made elsewhere.
        rank: r.
        alpha: the product of both matrices is scaled by alpha / r.
        task: what stood in front of the question when it was trained; None: not known.
        chunk_tokens: the longest piece of a document that it was trained on.
        training: the run.
    """

    base_lm: str
    base_sha256: str | None
    rank: int
    alpha: float
    task: Task | None = None
    chunk_tokens: int = 192
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise CheckpointError(f"an adapter's rank must be at least 1, not {self.rank}")


class Adapter(Stack[AdapterConfig]):
    """Two matrices [r, I] and [O, r] beside each linear layer, which stays as it is.

    The second starts at zero: an untrained adapter changes nothing.

    Args:
        config: rank and scale.
        shapes: (I, O) of each layer by its name in the LM.
        seed: of the first matrices.

    Attributes:
        transposed: whether the layers keep their weights as [I, O], as those of GPT-2 do; `peft`
            wants to be told.
    """

    def __init__(
        self, config: AdapterConfig, shapes: Mapping[str, tuple[int, int]], seed: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.transposed = False
        self.names = list(shapes)
        generator = torch.Generator().manual_seed(seed)
        bounds = [1 / math.sqrt(size) for size, _ in shapes.values()]
        self.down = nn.ParameterList(
            torch.empty(config.rank, size).uniform_(-bound, bound, generator=generator)
            for bound, (size, _) in zip(bounds, shapes.values(), strict=True)
        )
        self.up = nn.ParameterList(torch.zeros(size, config.rank) for _, size in shapes.values())

    @property
    def scale(self) -> float:
        """What the product of both matrices is multiplied by."""
        return self.config.alpha / self.config.rank

    def layers(self, lm: BaseLM) -> list[nn.Module]:
        """The layers of a base LM that the matrices belong to, in their order.

        Raises:
            CheckpointError: it has no such layer, or one of another size.
        """
        there = linear_layers(lm)
        found = []
        for name, down, up in zip(self.names, self.down, self.up, strict=True):
            layer = there.get(name)
            if layer is None:
                raise CheckpointError(f"the adapter is for a base LM with a layer {name}")
            ours, theirs = (down.shape[1], up.shape[0]), sizes(layer)
            if ours != theirs:
                raise CheckpointError(
                    f"the adapter's {name} takes in {ours[0]} and gives out {ours[1]} numbers, "
                    f"the base LM's {theirs[0]} and {theirs[1]}"
                )
            found.append(layer)
        return found

    def worn(self, lm: BaseLM) -> Worn:
        """A context in which a base LM runs with the adapter; gradients reach the adapter.

        Raises:
            CheckpointError: see `layers`.
        """
        changes = [
            LowRank(layer, down[None].to(lm.dtype), up[None].to(lm.dtype))
            for layer, down, up in zip(self.layers(lm), self.down, self.up, strict=True)
        ]
        return Worn(changes, self.config.rank, self.config.alpha)

    def save(self, folder: Path) -> None:
        """Write the folder that `load` and `peft` read; each file is replaced whole."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = peft_format.tensors(zip(self.names, self.down, self.up, strict=True))
        config = peft_format.low_rank(
            self.config.base_lm,
            self.names,
            self.config.rank,
            self.config.alpha,
            transposed=self.transposed,
        )
        checkpoint.replace(folder / WEIGHTS, peft_format.to_bytes(tensors))
        for name, content in ((NOTES, asdict(self.config)), (CONFIG, config)):
            checkpoint.replace(folder / name, (json.dumps(content, indent=2) + "\n").encode())


def new(config: AdapterConfig, lm: BaseLM, seed: int = 0) -> Adapter:
    """An adapter of all linear layers of a base LM, which changes nothing yet."""
    adapter = Adapter(config, layer_sizes(lm), seed)
    adapter.transposed = any(map(transposed, linear_layers(lm).values()))
    return adapter.to(lm.device)


def layer_sizes(lm: BaseLM) -> dict[str, tuple[int, int]]:
    """(I, O) of each linear layer."""
    return {name: sizes(layer) for name, layer in linear_layers(lm).items()}


def rank_for(parameters: int, lm: BaseLM) -> int:
    """The rank whose trained parameters come nearest to so many."""
    return max(1, round(parameters / sum(map(sum, layer_sizes(lm).values()))))


def load(folder: Path) -> Adapter:
    """An adapter of ours or of `peft`, float32, on the CPU.

    Raises:
        CheckpointError: a file is missing or damaged, or it is no plain LoRA.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    hint = "train one with `mac train --qa-tune`"
    raw, notes = _read(folder / CONFIG, hint), {}
    if (folder / NOTES).exists():
        notes = _read(folder / NOTES, hint)
    for name, value in peft_format.PLAIN.items():
        if raw.get(name, value) not in (value, None):
            raise CheckpointError(f"{folder / CONFIG}: {name} = {raw[name]!r} is not supported")
    try:
        config = AdapterConfig(
            **{
                "base_lm": str(raw.get("base_model_name_or_path")),
                "base_sha256": None,
                **notes,
                "rank": int(raw["r"]),
                "alpha": float(raw["lora_alpha"]),
            }
        )
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"no adapter can be read in {folder}: {error}", hint) from error
    first = MATRICES[0]
    names = sorted(k[len(ROOT) : -len(first)] for k in tensors if k.endswith(first))
    wanted = {f"{ROOT}{name}{end}" for name in names for end in MATRICES}
    if not names or set(tensors) != wanted:
        odd = min(set(tensors) ^ wanted, default="none")
        raise CheckpointError(f"{folder / WEIGHTS} is no LoRA adapter: tensor {odd}", hint)
    pairs = [[tensors[f"{ROOT}{name}{end}"].float() for end in MATRICES] for name in names]
    if any(a.shape[0] != config.rank or b.shape[1] != config.rank for a, b in pairs):
        raise CheckpointError(f"{folder / WEIGHTS} is not of rank {config.rank}, as {CONFIG} says")
    shapes = {n: (a.shape[1], b.shape[0]) for n, (a, b) in zip(names, pairs, strict=True)}
    adapter = Adapter(config, shapes)
    adapter.transposed = bool(raw.get("fan_in_fan_out"))
    for i, (down, up) in enumerate(pairs):
        adapter.down[i].data, adapter.up[i].data = down, up
    return adapter.requires_grad_(False)


def _read(path: Path, hint: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}", hint) from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} does not hold a JSON object", hint)
    return found


@torch.no_grad()
def merged(lm: BaseLM, adapter: Adapter | None, dtype: torch.dtype | None = None) -> BaseLM:
    """A copy of a base LM with the adapter added to its weights; the base LM stays as it is.

    Args:
        lm: the base LM.
        adapter: trained on it; None only copies.
        dtype: of the copy; by default the base LM's. The sums are made in float32.

    Raises:
        CheckpointError: the adapter is for another base LM.
        ModelError: the base LM's weights are kept in 4 bits.
    """
    if getattr(lm.model, "is_quantized", False):
        raise ModelError("the weights of a base model in 4 bits cannot be fine-tuned")
    out = BaseLM(copy.deepcopy(lm.model), lm.tokenizer)
    # Weights only: the rotary embedding's frequencies stay as exact as they are.
    for weight in out.model.parameters():
        weight.data = weight.data.to(dtype or lm.dtype)
    if adapter is not None:
        for layer, down, up in zip(adapter.layers(out), adapter.down, adapter.up, strict=True):
            _add(layer, adapter.scale * (up.float() @ down.float()))
    return out


def _add(layer: nn.Module, delta: Tensor) -> None:
    """Add [O, I] to the weights of a linear layer."""
    weight: Any = layer.weight
    delta = delta.T if transposed(layer) else delta
    weight.data = (weight.float() + delta.to(weight.device)).to(weight.dtype)
