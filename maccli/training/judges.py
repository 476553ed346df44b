"""What `mac train-judge` trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maccli.training.train import Callbacks, Run, fit, load_base, read_data

if TYPE_CHECKING:
    from models.training.settings import TrainConfig


def learning_rate() -> float:
    """Return the learning rate that is taken where none is named."""
    from models.judge import method

    return method.LEARNING_RATE


def train_judge(run: Run, config: TrainConfig, callbacks: Callbacks) -> Path:
    """Train a judge and return its folder.

    Raises:
        MacError: there is something in the folder already.
        DataError: the data cannot be used.
        CheckpointError: the run to go on with has other settings.
        WeightsError: the base weights cannot be downloaded or read.
        ModelError: the settings cannot be used.
    """
    examples, dev = read_data(run, unanswerable=True)
    from models.judge.config import JudgeConfig
    from models.judge.method import JudgeMethod

    base = load_base(run, config, callbacks.transfer)
    judge = JudgeConfig(
        run.encoder,
        base.identities()["encoder_sha256"],
        chunk_tokens=run.chunk_tokens,
        training={"command": run.command},
    )
    method = JudgeMethod(config, judge, base.lm, base.encoder)
    return fit(run, method, base.encoder, examples, dev, callbacks)
