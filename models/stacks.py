"""The two stacks, `latent` and `paper`: the only module that knows both.

torch is imported only when networks are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import CheckpointError
from models.latent.config import LatentConfig
from models.memory import checkpoint
from models.paper.config import PaperConfig

if TYPE_CHECKING:
    from models.latent.memory import LatentMemory
    from models.latent.networks import LatentStack
    from models.memory.base_models import BaseModels
    from models.memory.chosen_encoder import ChosenEncoder
    from models.paper.memory import PaperMemory
    from models.paper.setup import PaperOptions as PaperOptions
    from models.paper.stack import PaperStack
    from models.training.method import TrainingMethod
    from models.training.settings import TrainConfig
    from models.weights.carriers import Transfer

    AnyConfig = LatentConfig | PaperConfig
    AnyStack = LatentStack | PaperStack
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


def config_of(path: Path) -> AnyConfig:
    """Return the checked config of a checkpoint.

    Raises:
        CheckpointError: a value is missing, unknown or out of range.
    """
    name = name_of(checkpoint.read_config(path))
    if name not in CONFIGS:
        known = " and ".join(map(repr, CONFIGS))
        raise CheckpointError(f"unknown stack {name!r}; known: {known}")
    return checkpoint.checked_config(path, CONFIGS[name])


def paper_options(**settings: Any) -> PaperOptions:
    """Return the choices of a new checkpoint of the `paper` stack, see `models.paper.setup`."""
    from models.paper.setup import PaperOptions

    return PaperOptions(**settings)


def latent_config(base: BaseModels, **settings: Any) -> LatentConfig:
    """Return the config of a new checkpoint of the `latent` stack; as `new_config`."""
    shape = base.lm.shape
    return LatentConfig(
        layers=shape.layers,
        kv_heads=shape.kv_heads,
        head_size=shape.head_size,
        key_size=base.encoder.size,
        **base.identities(),
        **settings,
    )


def new_config(
    base: BaseModels,
    options: PaperOptions | None,
    *,
    latent_size: int,
    training: dict[str, Any],
    **settings: Any,
) -> AnyConfig:
    """Return the config of a new checkpoint.

    Args:
        base: the models that it is to stand on.
        options: what a checkpoint of the `paper` stack is to be; None makes a `latent` one.
        latent_size: R of a `latent` one.
        training: what the config says of the run.
        settings: other fields that both stacks have.

    Raises:
        WeightsError: a pretrained model cannot be downloaded or read.
        CheckpointError: a model does not suit the options, or a size does not fit.
    """
    if options is None:
        return latent_config(base, latent_size=latent_size, training=training, **settings)
    from models.paper import setup

    identities = base.identities()
    config = setup.describe(
        options, base.lm, base.encoder, progress=base.progress, **identities, **settings
    )
    return replace(config, training=training)


def method(
    run: TrainConfig,
    config: AnyConfig,
    base: BaseModels,
    *,
    start: AnyStack | None = None,
    options: PaperOptions | None = None,
    cache: Path | None = None,
) -> TrainingMethod:
    """Return the method that trains a checkpoint of this config.

    Args:
        run: the trainer's settings.
        config: of the checkpoint.
        base: the models that it stands on.
        start: networks to go on from, of the same config.
        options: as for `new_config`.
        cache: a folder for documents' features, which the `latent` stack keeps.

    Raises:
        WeightsError: a pretrained model cannot be downloaded or read.
        CheckpointError: the base LM is not the config's.
    """
    from models.latent.networks import LatentStack

    if isinstance(config, LatentConfig):
        from models.latent.method import LatentMethod

        assert start is None or isinstance(start, LatentStack)
        return LatentMethod(run, config, base.lm, cache, start)
    from models.paper import setup

    assert not isinstance(start, LatentStack)
    question = options.question if options is not None else None
    return setup.method(run, config, base.lm, base.encoder, start, base.progress, question=question)


def load_stack(path: Path) -> AnyStack:
    """Return the networks of a checkpoint, float32, on the CPU.

    Raises:
        CheckpointError: a file is missing or damaged, or a tensor has another shape than
            config.json says.
    """
    config = config_of(path)
    stack: AnyStack
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
    encoder: ChosenEncoder | None = None,
    precision: str | None = None,
) -> AnyMemory:
    """Return a checkpoint at work (a `LoadedModel`).

    The base LM and the checkpoint's sentence encoder are loaded at their first use.

    Args:
        path: the checkpoint's folder.
        device: "auto", "cpu", "cuda" or "mps".
        progress: told about downloads.
        tell: told in a few words which weights are being loaded.
        encoder: makes keys and queries in place of the checkpoint's own.
        precision: of the base LM, "bf16" or "fp32"; None for what is fastest.

    Raises:
        CheckpointError: see `load_stack`.
        WeightsError: `encoder` cannot be read.
        ModelError: there is no such device.
    """
    from models.latent.networks import LatentStack
    from models.memory.base_models import BaseModels

    stack = load_stack(path)
    base = BaseModels(
        stack.config,
        device=device,
        progress=progress,
        tell=tell,
        precision=precision,
        chosen=encoder,
    )
    fingerprint = checkpoint.fingerprint(path)
    if encoder is not None:
        fingerprint = encoder.fingerprint(fingerprint)
    if isinstance(stack, LatentStack):
        from models.latent.memory import LatentMemory

        return LatentMemory(stack, base, fingerprint)
    from models.paper.memory import PaperMemory

    return PaperMemory(stack, base, fingerprint)
