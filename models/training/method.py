"""The interface between the training loop and what it trains.

The loop (`models.training.trainer`) knows steps, batches, logs and resuming; a method knows what
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


class TrainingMethod(Protocol):
    """A way to train networks, a stack or a rival."""

    @property
    def config(self) -> TrainConfig:
        """The settings of the run."""

    @property
    def model(self) -> TrainedConfig:
        """The config of what is trained, as it will be saved."""

    @property
    def lm(self) -> BaseLM:
        """The frozen base LM."""

    @property
    def stack(self) -> Stack[Any]:
        """The networks that learn, on the base LM's device."""

    def initialise(self, corpus: Corpus, note: Callable[[str], None]) -> None:
        """Set the networks' first weights; not called when a run is resumed.

        Args:
            corpus: the training data.
            note: told what happens.
        """

    def optimiser(self) -> torch.optim.Optimizer:
        """Return an optimiser; each group of parameters has its learning rate under `peak`."""

    def rate(self, step: int) -> float:
        """Return the share of the peak learning rate at a step."""

    def loss(self, corpus: Corpus, batch: Batch, rng: random.Random | None) -> Loss:
        """Return the loss of a batch; without `rng`, for dev examples, nothing is random."""
