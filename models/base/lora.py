"""Low-rank changes of a base LM's projections, each sequence of a batch with its own (LoRA).

y = W x + (alpha / r) B A x (arXiv 2106.09685), through forward hooks: the frozen weights stay as
they are, and nothing remains once the context ends.

Letters: N modulations, B sequences (of N groups), T tokens, M tokens that are not padding, r rank,
I inputs and O outputs of a projection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from models.base.batching import APPLIED, Packing
from models.base.lm import BaseLM
from models.errors import CheckpointError, UnsupportedModelError

TARGETS = (("q_proj", "v_proj"), ("c_attn",))
"""Projections that are changed by default: queries and values, as in the LoRA paper. The first pair
that a base LM has is taken; GPT-2 computes queries, keys and values in one projection."""


class LowRank(NamedTuple):
    """How N modulations change one projection.

    Attributes:
        module: the projection.
        a: [N, r, I].
        b: [N, O, r].
    """

    module: nn.Module
    a: Tensor
    b: Tensor


class AppliedLora(AbstractContextManager[None]):
    """A context that changes projections of the base LM while it lasts; it can be entered again.

    Args:
        changes: of each projection, in the type and on the device of the base LM.
        r: rank.
        lora_alpha: the products are multiplied by alpha / r.
        real: bool [B, T], where the LM is run with the padding left out (`BaseLM.forward`).
    """

    def __init__(
        self, changes: Sequence[LowRank], r: int, lora_alpha: float, real: Tensor | None = None
    ) -> None:
        self.changes, self.r, self.lora_alpha = changes, r, lora_alpha
        self._packing = None if real is None else Packing(real)
        self._hooks: list[RemovableHandle] = []
        self._depth = 0

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            for change in self.changes:
                self._hooks.append(change.module.register_forward_hook(self._hook(change)))
            APPLIED.set((*APPLIED.get(), self))

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            APPLIED.set(tuple(context for context in APPLIED.get() if context is not self))
            while self._hooks:
                self._hooks.pop().remove()

    def _hook(self, change: LowRank) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        down, up = change.a.transpose(1, 2), change.b.transpose(1, 2)
        scale = self.lora_alpha / self.r

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x = inputs[0]
            if self._packing is not None:
                x = self._packing.unpack(x)
            y = _per_sequence(_per_sequence(x, down), up) * scale
            return output + (y if self._packing is None else self._packing.pack(y))

        return add


def _per_sequence(x: Tensor, weight: Tensor) -> Tensor:
    """Return the product of every sequence with its own matrix.

    Args:
        x: [B, T, I].
        weight: [N, I, O]; B is N, or a multiple of it: groups of neighbours share one.

    Returns:
        [B, T, O].

    Raises:
        ValueError: the sequences cannot be shared out among the modulations.
    """
    n = len(weight)
    if n == 1:
        return x @ weight[0]
    if len(x) % n:
        raise ValueError(f"{n} modulations for a batch of {len(x)} sequences")
    y: Tensor = x.unflatten(0, (n, -1)) @ weight[:, None]
    return y.flatten(0, 1)


def default_targets(lm: BaseLM) -> tuple[str, ...]:
    """Return the names of the projections of queries and values.

    Raises:
        UnsupportedModelError: the base LM has none that are known.
    """
    for names in TARGETS:
        if all(len(_named(lm, name)) == lm.shape.layers for name in names):
            return names
    known = " nor ".join(" and ".join(names) for names in TARGETS)
    raise UnsupportedModelError(
        f"the base LM's layers have neither {known} for a LoRA to change",
        "use another base LM, or the modulation `prefix`",
    )


def projections(lm: BaseLM, name: str) -> list[Any]:
    """Return the projection with this name in each layer: q_proj, or attn.c_proj.

    Raises:
        CheckpointError: a layer has none, or several.
    """
    modules = _named(lm, name)
    if len(modules) != lm.shape.layers:
        raise CheckpointError(
            f"the base LM has {len(modules) or 'no'} projections named {name!r} in its "
            f"{lm.shape.layers} layers"
        )
    return modules


def linear_layers(lm: BaseLM) -> dict[str, nn.Module]:
    """Return the linear layers inside the layers of a base LM, by their names in it."""
    from transformers.pytorch_utils import Conv1D

    inside = {id(module) for layer in lm.layers for module in layer.modules()}
    return {
        name: module
        for name, module in lm.model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and id(module) in inside
    }


def sizes(module: Any) -> tuple[int, int]:
    """Return inputs and outputs of a linear layer; a tensor of 4-bit weights does not tell them."""
    if transposed(module):
        return module.nx, module.nf
    return module.in_features, module.out_features


def transposed(module: nn.Module) -> bool:
    """Return whether a linear layer keeps its weight as [I, O], as GPT-2's `Conv1D` does."""
    return not isinstance(module, nn.Linear)


def _named(lm: BaseLM, name: str) -> list[nn.Module]:
    return [module for path, module in linear_layers(lm).items() if path.endswith(f".{name}")]
