"""What `mac train` makes for the rivals: LoRA adapters, and the weighting network of CaMeLS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maccli.errors import USAGE, MacError

if TYPE_CHECKING:
    from models.base.lm import BaseLM
    from models.latent.config import LatentConfig
    from models.rivals.adapter import Adapter, Task
    from models.training.method import Method
    from models.training.settings import TrainConfig


@dataclass(frozen=True, slots=True)
class Rival:
    """What to train instead of a checkpoint.

    Attributes:
        task: of an adapter; None: the weighting network of CaMeLS.
        rank: of the adapter; None: the rank with as many trained parameters as the checkpoint.
        start: the adapter of the model that CaMeLS is to tune.
    """

    task: Task | None
    rank: int | None = None
    start: Path | None = None

    @property
    def learning_rate(self) -> float:
        """The one that is taken where none is named."""
        from models.rivals import camels, qa_tune

        return camels.LEARNING_RATE if self.task is None else qa_tune.LEARNING_RATE


def is_made(folder: Path) -> bool:
    """Tell whether a folder holds an adapter or a weighting network."""
    from models.export import peft_format
    from models.rivals import camels

    return any((folder / name).exists() for name in (peft_format.CONFIG, camels.FILE))


def method(
    rival: Rival, config: TrainConfig, model: LatentConfig, lm: BaseLM, resumed: Path | None
) -> Method:
    """Return how a rival is trained.

    Args:
        rival: what to train.
        config: the run.
        model: of the checkpoint that would be trained otherwise: it names the base LM, and says
            how many parameters that would be.
        lm: the frozen base LM.
        resumed: the folder of a run to go on with.

    Raises:
        CheckpointError: the adapter to start from cannot be used.
        MacError: the run to go on with trains for another task.
    """
    from models.rivals import adapter, qa_tune
    from models.rivals.adapter import AdapterConfig
    from models.rivals.camels import CamelsConfig, CamelsMethod

    if rival.task is None:
        start = None if rival.start is None else adapter.load(rival.start)
        if start is not None:
            check_base(start, model.base_lm, model.base_sha256, rival.start)
        named = {**model.training, "qa_base": None if rival.start is None else str(rival.start)}
        weighing = CamelsConfig(
            model.base_lm,
            model.base_sha256,
            lm.shape.hidden_size,
            chunk_tokens=model.chunk_tokens,
            training=named,
        )
        return CamelsMethod(config, weighing, lm, start)
    if resumed is not None and (resumed / adapter.NOTES).exists():
        task = adapter.load(resumed).config.task
        if task != rival.task:
            raise MacError(
                f"The run in {resumed} is of --qa-tune {task}, not {rival.task}.",
                "Resume with the same options, or train into another folder (--out).",
                USAGE,
            )
    rank = rival.rank or adapter.rank_for(qa_tune.latent_parameters(model), lm)
    tuned = AdapterConfig(
        model.base_lm,
        model.base_sha256,
        rank=rank,
        alpha=2.0 * rank,
        task=rival.task,
        chunk_tokens=model.chunk_tokens,
        training=model.training,
    )
    return qa_tune.QATuning(config, tuned, lm)


def check_base(made: Adapter, base: str, sha256: str | None, where: Path | None) -> None:
    """Refuse an adapter that was trained on another base LM.

    Raises:
        CheckpointError: it was.
    """
    from models.errors import CheckpointError

    theirs = made.config.base_sha256
    if theirs is not None and sha256 is not None and theirs != sha256:
        raise CheckpointError(
            f"the adapter in {where} was trained on {made.config.base_lm} "
            f"(SHA-256 {theirs[:12]}...), not on {base} ({sha256[:12]}...)",
            "train one for this base model with `mac train --qa-tune`",
        )
