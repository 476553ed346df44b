"""The settings of a training run, its learning rate and precision, and its several processes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

PRECISIONS = ("fp32", "bf16")
"""fp16 is not among them: T5 overflows in it, and gradients would have to be scaled."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The settings of a run; saved in the checkpoint's config.json under `training`.

    Attributes:
        steps: optimiser steps.
        groups: G, groups of similar documents a step.
        documents: D, documents a group, with a question each.
        learning_rate: peak learning rate of amortizer and prefix head.
        constant_learning_rate: peak learning rate of the constant prefix tokens.
        relevance_learning_rate: peak learning rate of the bilinear form.
        warmup: the most steps in which the learning rates rise.
        backprop_dropout: p, the share of a batch's documents amortized under stop-gradient (paper,
            section 3.3).
        accumulate: batches of G groups that a process runs before each optimiser step; their
            gradients are averaged.
        clip: the largest norm of the gradient; a larger one is scaled down.
        precision: the type that the forward pass computes in, one of `PRECISIONS`; weights of the
            trained networks, gradients and optimiser are float32 in any case. None: the base LM
            computes in the type it was loaded in, the trained networks in float32.
        gradient_checkpointing: whether the backward pass runs the base LM's layers again instead
            of holding their activations.
        alone: how often a question sees its own document only.
        continuation: the weight of predicting how a document goes on behind the modulation of its
            first half, beside answering; 0 leaves it out. Only the `latent` stack does it.
        limit: the most documents of a source; None: as many as the steps can use.
        seed: random seed.
        save_minutes: minutes between two saves of the state.
    """

    steps: int = 2000
    groups: int = 4
    documents: int = 4
    learning_rate: float = 1e-4
    constant_learning_rate: float = 1e-3
    relevance_learning_rate: float = 1e-4
    warmup: int = 50
    backprop_dropout: float = 0.0
    accumulate: int = 1
    clip: float = 1.0
    precision: str | None = None
    gradient_checkpointing: bool = False
    alone: float = 0.3
    continuation: float = 0.1
    limit: int | None = None
    seed: int = 0
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        for name in ("steps", "groups", "documents", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.documents < 2:
            raise ValueError(
                f"documents must be at least 2 (one is the answer's), not {self.documents}"
            )
        if not 0 <= self.backprop_dropout < 1:
            raise ValueError(f"backprop_dropout must be in [0, 1), not {self.backprop_dropout}")
        if not self.clip > 0:
            raise ValueError(f"clip must be above 0, not {self.clip}")
        if self.precision is not None and self.precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
            )


def autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    """Return a context in which a forward pass computes in the run's precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


def decaying(config: TrainConfig, step: int) -> float:
    """Return the share of the peak learning rate: linear warm-up, then linear decay to 1 %."""
    warmup = min(config.warmup, max(1, config.steps // 10))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.01, (config.steps - step) / (config.steps - warmup))


def average_gradients(stack: nn.Module, processes: int) -> None:
    """Replace the gradients in every process by their mean over all processes."""
    if processes == 1:
        return
    for parameter in stack.parameters():
        # A process that dropped all of its documents has no gradient, but the others wait for it.
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= processes
