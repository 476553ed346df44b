"""The settings of a training run, its learning rates, and how several processes share it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

PRECISIONS = ("fp32", "bf16")
"""No fp16: T5's activations leave its range, and the gradients would have to be scaled."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What a run is made of; saved in the checkpoint's config.json under `training`.

    Attributes:
        steps: optimiser steps.
        groups: G, groups of confusable documents a step.
        documents: D, documents of a group, with a question each.
        learning_rate: of amortizer and prefix head (AdamW, linear decay after `warmup`).
        constant_learning_rate: of the constant prefix tokens.
        relevance_learning_rate: of the bilinear form.
        backprop_dropout: p, the share of a batch's documents amortized under stop-gradient (paper,
            3.3).
        accumulate: batches of G groups that a process goes through, one after the other, before
            each optimiser step; their gradients are averaged.
        clip: the largest norm of the gradient; a larger one is scaled down to it.
        precision: what the forward pass computes in, one of `PRECISIONS`; weights of the trained
            networks, gradients and optimiser are float32 in any case. None: the base LM in the
            type it was loaded in, the trained networks in float32.
        gradient_checkpointing: whether the base LM's layers are run again in the backward pass
            instead of being remembered.
        alone: how often a question sees its own document only.
        limit: at most so many documents of a source; by default as many as the steps can use.
        save_minutes: how often the state is saved.
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
    """A context in which a forward pass computes in the run's precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


def decaying(config: TrainConfig, step: int) -> float:
    """Share of the peak learning rate: linear warm-up, then linear decay to a hundredth."""
    warmup = min(config.warmup, max(1, config.steps // 10))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.01, (config.steps - step) / (config.steps - warmup))


def average_gradients(stack: nn.Module, processes: int) -> None:
    """Give every process the mean of all processes' gradients."""
    if processes == 1:
        return
    for parameter in stack.parameters():
        # Where one process dropped all of its documents, the others wait for its part all the same.
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= processes
