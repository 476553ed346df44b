"""The settings of a training run, and how several processes share its steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


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
    alone: float = 0.3
    limit: int | None = None
    seed: int = 0
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        for name in ("steps", "groups", "documents"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.documents < 2:
            raise ValueError(
                f"documents must be at least 2 (one is the answer's), not {self.documents}"
            )
        if not 0 <= self.backprop_dropout < 1:
            raise ValueError(f"backprop_dropout must be in [0, 1), not {self.backprop_dropout}")


def average_gradients(stack: nn.Module, processes: int) -> None:
    """Give every process the mean of all processes' gradients."""
    if processes == 1:
        return
    for parameter in stack.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= processes
