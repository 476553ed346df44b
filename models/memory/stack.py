"""What the trained networks of every method have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from torch import nn

from models.base.lm import BaseLM
from models.errors import CheckpointError
from models.memory import checkpoint
from models.memory.card import card
from models.memory.protocol import ModelConfig, TrainedConfig

Config = TypeVar("Config", bound=TrainedConfig)
MemoryConfig = TypeVar("MemoryConfig", bound=ModelConfig)


class Stack(nn.Module, ABC, Generic[Config]):
    """Networks that are trained together, with their config; the base LM is not among them."""

    config: Config

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write config and weights into a folder; each file is replaced as a whole."""


class MemoryStack(Stack[MemoryConfig]):
    """The networks of a checkpoint: amortizer, aggregator and head.

    Attributes:
        int8: the large matrices that a checkpoint holds as int8, each with the axis along which one
            scale is shared.
    """

    int8: ClassVar[Mapping[str, int]] = {}

    def check(self, lm: BaseLM) -> None:
        """Make sure that the base LM is one that this checkpoint was made for.

        Raises:
            CheckpointError: its keys and values have other sizes.
        """
        for name in ("layers", "kv_heads", "head_size"):
            ours, theirs = getattr(self.config, name), getattr(lm.shape, name)
            if ours != theirs:
                raise CheckpointError(
                    f"the checkpoint is for a base LM with {ours} {name}, this one has {theirs}"
                )

    def save(self, folder: Path) -> None:
        """Write the checkpoint; each file is replaced as a whole."""
        config = self.config
        checkpoint.save(folder, config.as_dict(), self.state_dict(), card(config), self.int8)

    def restore(self, folder: Path) -> None:
        """Read the weights of a checkpoint.

        Raises:
            CheckpointError: see `models.memory.checkpoint.load`.
        """
        self.load_state_dict(checkpoint.load(folder, self.state_dict(), self.int8))
