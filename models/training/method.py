"""What a stack brings to the training loop.

The loop (`models.training.trainer`) knows of steps, batches, logs and resuming; a method knows what
learns, how it starts, and what its loss is.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

import torch

from models.base.lm import BaseLM
from models.memory.protocol import TrainedConfig
from models.memory.stack import Stack
from models.training.batches import Batch
from models.training.corpus import Corpus
from models.training.loss import Loss
from models.training.settings import TrainConfig


class Method(Protocol):
    """How one stack is meta-trained."""

    @property
    def config(self) -> TrainConfig:
        """The run."""

    @property
    def model(self) -> TrainedConfig:
        """Sizes and identities of the checkpoint to make."""

    @property
    def lm(self) -> BaseLM:
        """The frozen base LM."""

    @property
    def stack(self) -> Stack[Any]:
        """The networks, on the base LM's device."""

    def initialise(self, corpus: Corpus, note: Callable[[str], None]) -> None:
        """Bring the networks to where training starts; not called when a run is resumed."""

    def optimiser(self) -> torch.optim.Optimizer:
        """An optimiser whose groups of parameters say their `peak` learning rate."""

    def rate(self, step: int) -> float:
        """Share of the peak learning rate at a step."""

    def loss(self, corpus: Corpus, batch: Batch, rng: random.Random | None) -> Loss:
        """The loss of a batch; without `rng` nothing is drawn, to measure on dev examples."""
