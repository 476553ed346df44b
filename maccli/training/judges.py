"""What `mac train-judge` trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maccli.training.train import Callbacks, Run, fit, load_base, read_data, with_own_cache

if TYPE_CHECKING:
    from models.training.settings import TrainConfig


def learning_rate() -> float:
    """Return the learning rate that is taken where none is named."""
    from models.judge import method

    return method.LEARNING_RATE


def train_judge(run: Run, config: TrainConfig, callbacks: Callbacks) -> Path:
    """Train a judge and return its folder.

    One that is trained further ends as the mean of its weights before and after, which keeps more
    of what it knew (arXiv 2109.01903).

    Raises:
        MacError: there is something in the folder already.
        DataError: the data cannot be used.
        CheckpointError: the run to go on with has other settings, or the judge to start from
            cannot be read.
        WeightsError: the base weights cannot be downloaded or read.
        ModelError: the settings cannot be used.
    """
    examples, dev = read_data(run, unanswerable=True)
    from models.judge.config import JudgeConfig
    from models.judge.judge import find
    from models.judge.method import JudgeMethod
    from models.memory.checkpoint import checked_config

    start = find(run.start) if run.start is not None else None
    judge = checked_config(start, JudgeConfig) if start is not None else JudgeConfig(run.encoder)
    run = replace(run, encoder=judge.encoder, encoder_sha256=judge.encoder_sha256)
    base = load_base(run, config, callbacks.transfer)
    run = with_own_cache(run, base)
    before = {"from": judge.training} if start is not None else {}
    judge = replace(
        judge,
        encoder_sha256=base.identities()["encoder_sha256"],
        chunk_tokens=run.chunk_tokens,
        training={"command": run.command, **before},
    )
    method = JudgeMethod(config, judge, base.lm, base.encoder)
    if start is None:
        return fit(run, method, base.encoder, examples, dev, callbacks)
    method.stack.restore(start)
    began = method.stack.own_weights()
    folder = fit(run, method, base.encoder, examples, dev, callbacks)
    method.stack.average(began)
    method.stack.save(folder)
    return folder
