"""What `mac train-rival` trains: LoRA adapters, and the weighting network of CaMeLS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from maccli.errors import USAGE, MacError
from maccli.training.train import Callbacks, Run, fit, load_base, read_data, with_own_cache

if TYPE_CHECKING:
    from models.base.lm import BaseLM
    from models.memory.base_models import BaseModels
    from models.rivals.adapter import Adapter, Task
    from models.training.method import TrainingMethod
    from models.training.settings import TrainConfig

Name = Literal["rag-lora", "qa", "camels"]
_TASKS: dict[str, Task] = {"rag-lora": "text", "qa": "closed-book"}


@dataclass(frozen=True, slots=True)
class Rival:
    """What to train.

    Attributes:
        name: "rag-lora", an adapter that reads documents' text; "qa", one that answers from the
            question alone; "camels", the weighting network.
        rank: of the adapter; None: the rank with as many trained parameters as a checkpoint has.
        start: the adapter of the LM that CaMeLS is to tune.
    """

    name: Name
    rank: int | None = None
    start: Path | None = None

    @property
    def learning_rate(self) -> float:
        """The learning rate that is taken where none is named."""
        from models.rivals import camels, qa_tune

        return camels.LEARNING_RATE if self.name == "camels" else qa_tune.LEARNING_RATE


def train_rival(run: Run, config: TrainConfig, rival: Rival, callbacks: Callbacks) -> Path:
    """Train a rival and return its folder.

    Raises:
        MacError: there is something in the folder already, or the run to go on with is of another.
        CheckpointError: the adapter to start from cannot be used.
        DataError: the data cannot be used.
        WeightsError: the base weights cannot be downloaded or read.
        ModelError: the base model or the settings cannot be used.
    """
    examples, dev = read_data(run)
    if rival.name != "camels" and run.resume:
        _check_task(rival, run.out)
    base = load_base(run, config, callbacks.transfer)
    run = with_own_cache(run, base)
    method = _method(run, config, rival, base)
    return fit(run, method, base.encoder, examples, dev, callbacks)


def _check_task(rival: Rival, folder: Path) -> None:
    from models.rivals import adapter

    if (folder / adapter.CONFIG).exists():
        trained = adapter.read_config(folder).task
        if trained != _TASKS[rival.name]:
            other = next((name for name, task in _TASKS.items() if task == trained), "unknown")
            raise MacError(
                f"The run in {folder} is of {other}, not {rival.name}.",
                "Resume with the same options, or train into another folder (--out).",
                USAGE,
            )


def _method(run: Run, config: TrainConfig, rival: Rival, base: BaseModels) -> TrainingMethod:
    from models.rivals import adapter, qa_tune
    from models.rivals.adapter import AdapterConfig
    from models.rivals.camels import CamelsConfig, CamelsMethod
    from models.stacks import latent_config

    lm = base.lm
    model = latent_config(
        base,
        latent_size=run.rank,
        training={"command": run.command},
        chunk_tokens=run.chunk_tokens,
    )
    if rival.name == "camels":
        weighing = CamelsConfig(
            model.base_lm,
            model.base_sha256,
            lm.shape.hidden_size,
            chunk_tokens=model.chunk_tokens,
            training={
                **model.training,
                "qa_base": None if rival.start is None else str(rival.start),
            },
        )
        return CamelsMethod(config, weighing, lm, _start(rival.start, lm, model.base_sha256))
    rank = rival.rank or adapter.rank_for(qa_tune.latent_parameters(model), lm)
    tuned = AdapterConfig(
        model.base_lm,
        model.base_sha256,
        rank=rank,
        alpha=2.0 * rank,
        task=_TASKS[rival.name],
        chunk_tokens=model.chunk_tokens,
        training=model.training,
    )
    return qa_tune.QATuning(config, tuned, lm)


def _start(folder: Path | None, lm: BaseLM, sha256: str | None) -> Adapter | None:
    """Load the adapter that CaMeLS starts from."""
    if folder is None:
        return None
    from models.errors import CheckpointError
    from models.rivals import adapter

    theirs = adapter.read_config(folder).base_sha256
    if theirs not in (None, sha256):
        raise CheckpointError(
            f"the adapter in {folder} was trained on a base model with SHA-256 {theirs[:12]}..., "
            f"this one has {str(sha256)[:12]}...",
            "train one for this base model with `mac train-rival qa`",
        )
    return adapter.load(folder, lm)
