"""What the trained networks of every stack have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

from models.errors import CheckpointError

if TYPE_CHECKING:
    from models.base.lm import Shape
    from models.latent.networks import LatentConfig
    from models.paper.config import PaperConfig
    from models.rivals.adapter import AdapterConfig
    from models.rivals.camels import CamelsConfig


Config = TypeVar("Config", bound="LatentConfig | PaperConfig | AdapterConfig | CamelsConfig")


class Stack(nn.Module, Generic[Config]):
    """The networks of one checkpoint, with their config; the base LM stands outside."""

    config: Config

    def check(self, shape: Shape) -> None:
        """Make sure that the base LM is one whose keys and values this checkpoint was made for.

        Raises:
            CheckpointError: with the sizes that differ.
        """
        for name in ("layers", "kv_heads", "head_size"):
            ours, theirs = getattr(self.config, name), getattr(shape, name)
            if ours != theirs:
                raise CheckpointError(
                    f"the checkpoint is for a base LM with {ours} {name}, this one has {theirs}"
                )

    def save(self, folder: Path) -> None:
        """Write the checkpoint; each file is replaced whole."""
        from models.memory import checkpoint
        from models.memory.card import card

        checkpoint.save(self, folder, card(self.config))  # type: ignore[arg-type]
