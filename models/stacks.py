"""The two stacks, `latent` and `paper`: the only module that knows both.

torch is imported only when networks are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import CheckpointError
from models.latent.config import LatentConfig
from models.memory import checkpoint
from models.paper.config import PaperConfig

if TYPE_CHECKING:
    from models.latent.memory import LatentMemory
    from models.latent.networks import LatentStack
    from models.paper.memory import PaperMemory
    from models.paper.stack import PaperStack
    from models.weights.carriers import Transfer

    AnyMemory = LatentMemory | PaperMemory
    """A loaded checkpoint of either stack."""

CONFIGS: dict[str, type[LatentConfig] | type[PaperConfig]] = {
    "latent": LatentConfig,
    "paper": PaperConfig,
}
"""The config of each stack by the stack's name."""


def name_of(config: Mapping[str, Any]) -> str:
    """Return the name of the stack in a config.json."""
    return str(config.get("stack", "latent"))


def reads_whole_store(config: Mapping[str, Any]) -> bool:
    """Tell whether checkpoints with this config.json can answer from all documents at once."""
    return name_of(config) == "paper"


def as_latent(model: object) -> LatentMemory | None:
    """Return a loaded checkpoint if it is of the `latent` stack, else None."""
    from models.latent.memory import LatentMemory

    return model if isinstance(model, LatentMemory) else None


def config_of(path: Path) -> LatentConfig | PaperConfig:
    """Return the checked config of a checkpoint.

    Raises:
        CheckpointError: a value is missing, unknown or out of range.
    """
    name = name_of(checkpoint.read_config(path))
    if name not in CONFIGS:
        known = " and ".join(map(repr, CONFIGS))
        raise CheckpointError(f"unknown stack {name!r}; known: {known}")
    return checkpoint.checked_config(path, CONFIGS[name])


def load_stack(path: Path) -> LatentStack | PaperStack:
    """Return the networks of a checkpoint, float32, on the CPU.

    Raises:
        CheckpointError: a file is missing or damaged, or a tensor has another shape than
            config.json says.
    """
    config = config_of(path)
    stack: LatentStack | PaperStack
    if isinstance(config, LatentConfig):
        from models.latent.networks import LatentStack

        stack = LatentStack(config)
    else:
        from models.paper.stack import PaperStack

        stack = PaperStack(config)
    stack.restore(path)
    return stack


def load_model(
    path: Path,
    *,
    device: str = "auto",
    progress: Transfer | None = None,
    tell: Callable[[str], None] | None = None,
) -> AnyMemory:
    """Return a checkpoint at work (a `LoadedModel`).

    The base LM and the sentence encoder are loaded at their first use.

    Args:
        path: the checkpoint's folder.
        device: "auto", "cpu", "cuda" or "mps".
        progress: told about downloads.
        tell: told in a few words which weights are being loaded.

    Raises:
        CheckpointError: see `load_stack`.
        ModelError: there is no such device.
    """
    from models.latent.networks import LatentStack
    from models.memory.base_models import BaseModels

    stack = load_stack(path)
    base = BaseModels(stack.config, device=device, progress=progress, tell=tell)
    fingerprint = checkpoint.fingerprint(path)
    if isinstance(stack, LatentStack):
        from models.latent.memory import LatentMemory

        return LatentMemory(stack, base, fingerprint)
    from models.paper.memory import PaperMemory

    return PaperMemory(stack, base, fingerprint)
