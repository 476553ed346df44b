"""Meta-training from files: read the data, load the frozen models, run the trainer, keep a log."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from maccli.errors import USAGE, MacError
from maccli.service.session import silence_libraries
from models.data import files as data
from models.memory import checkpoint

if TYPE_CHECKING:
    from models.base.encoder import SentenceEncoder
    from models.data.files import Example
    from models.memory.base_models import BaseModels
    from models.stacks import PaperOptions
    from models.training.method import TrainingMethod
    from models.training.settings import TrainConfig
    from models.training.trainer import StepReport
    from models.weights.carriers import Transfer

_OF_BASE = (
    *("base_lm", "base_sha256", "base_quantization"),
    *("encoder", "encoder_sha256", "encoder_rules"),
)
"""What a run and a config say alike of the models they stand on."""
LOG = "log.jsonl"
"""The file beside a checkpoint with a JSON line a step."""


@dataclass(frozen=True, slots=True)
class Run:
    """What to train and from what.

    Attributes:
        sources: data files, each with how often it is drawn from.
        dev: data files to measure on and never to train on.
        out: the folder of what is trained.
        base_lm: the base LM: a pinned name, a Hub id or a folder.
        encoder: the sentence encoder, likewise.
        chunk_tokens: the longest document of one modulation.
        device: "auto", "cpu", "cuda" or "mps".
        resume: whether to go on with the run in `out`.
        command: as the user typed it, for the model card.
        cache: where documents' features are kept between runs.
        start: a checkpoint whose networks are trained further; models, rank, chunk_tokens and
            quantization are then those of the checkpoint.
        rank: latent size of `latent`, numbers kept of each token.
        compact: whether they are rounded to coarser steps; also if the start was not.
        base_quantization: how the base LM is loaded, see `models.base.quantize`.
        paper: what a new checkpoint of the `paper` stack is to be; None makes a `latent` one.
        base_sha256: the hash that the base LM must have; None takes any.
        encoder_sha256: the hash that the sentence encoder must have, likewise.
        encoder_rules: how it is run, see `models.base.encoder_rules`; None for as its folder says.
        notes: what else the model card is to say of the training, beside the command.
    """

    sources: Sequence[data.DataSource]
    dev: Sequence[Path]
    out: Path
    base_lm: str
    encoder: str
    chunk_tokens: int
    device: str
    resume: bool
    command: str
    cache: Path | None = None
    start: str | None = None
    rank: int = 384
    compact: bool = False
    base_quantization: str | None = None
    paper: PaperOptions | None = None
    base_sha256: str | None = None
    encoder_sha256: str | None = None
    encoder_rules: Mapping[str, str] | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Who is told what happens.

    Attributes:
        report: told after every step.
        note: tells the user something.
        transfer: told about downloads.
    """

    report: Callable[[StepReport], None]
    note: Callable[[str], None]
    transfer: Transfer | None = None


def is_main_process() -> bool:
    """Tell whether this process is the one that talks, of those `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


def steps_of(
    sources: Sequence[data.DataSource], epochs: int, questions: int, *, unanswerable: bool = False
) -> int:
    """Return the optimiser steps of so many epochs, at so many questions a step and process.

    Args:
        sources: the data files.
        epochs: how often all of their questions are gone through.
        questions: of a step, in each process.
        unanswerable: whether questions without an answer count.

    Raises:
        DataError: the data cannot be used.
    """
    read = [data.read(source.path, "train", unanswerable=unanswerable) for source in sources]
    total = sum(map(len, read))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return max(1, epochs * total // (questions * processes))


def train(run: Run, config: TrainConfig, callbacks: Callbacks) -> Path:
    """Train a checkpoint and return its folder.

    Raises:
        MacError: there is a checkpoint in the folder already.
        CheckpointError: the checkpoint to start from cannot be used.
        DataError: the data cannot be used.
        WeightsError: the base weights cannot be downloaded or read.
        ModelError: the base model or the settings cannot be used.
    """
    examples, dev = read_data(run)
    from models import stacks
    from models.latent.config import LatentConfig

    start = stacks.load_stack(checkpoint.find(run.start)) if run.start is not None else None
    training = {"command": run.command, **run.notes}
    if start is None:
        base = load_base(run, config, callbacks.transfer)
        model = stacks.new_config(
            base,
            run.paper,
            latent_size=run.rank,
            training=training,
            chunk_tokens=run.chunk_tokens,
            base_quantization=run.base_quantization,
        )
    else:
        model = replace(start.config, training={**training, "from": start.config.training})
        run = replace(run, **{name: getattr(model, name) for name in _OF_BASE})
        base = load_base(run, config, callbacks.transfer)
        start.check(base.lm)
    if run.compact and isinstance(model, LatentConfig):
        model = replace(model, compact=True)
    run = with_own_cache(run, base)
    method = stacks.method(config, model, base, start=start, options=run.paper, cache=run.cache)
    return fit(run, method, base.encoder, examples, dev, callbacks)


def read_data(
    run: Run, *, unanswerable: bool = False
) -> tuple[list[list[Example]], list[list[Example]]]:
    """Return the examples to train on and those to measure on, a list a file.

    Args:
        run: names the files.
        unanswerable: whether questions without an answer are among them.

    Raises:
        MacError: there is something trained in the folder already.
        DataError: the data cannot be used.
    """
    if not run.resume:
        refuse_trained(run.out)
    files = [(source.path, "train") for source in run.sources], [(p, "dev") for p in run.dev]
    examples, dev = (
        [data.read(path, split, unanswerable=unanswerable) for path, split in part]
        for part in files
    )
    return examples, dev


def refuse_trained(folder: Path) -> None:
    """Raise an error if there is something trained in a folder.

    Raises:
        MacError: there is.
    """
    if _is_trained(folder):
        raise MacError(
            f"There is a checkpoint in {folder} already.",
            "Go on with it (--resume), or train into another folder (--out).",
            USAGE,
        )


def _is_trained(folder: Path) -> bool:
    """Tell whether a folder holds something that was trained."""
    if not folder.exists():
        return False
    from models.rivals import adapter, camels

    names = (checkpoint.CONFIG, adapter.CONFIG, camels.FILE)
    return any((folder / name).exists() for name in names)


def load_base(run: Run, config: TrainConfig, transfer: Transfer | None) -> BaseModels:
    """Return the base LM and the sentence encoder of a run, each loaded at its first use.

    Raises:
        ModelError: there is no such device.
    """
    from models.memory.base_models import BaseModels

    silence_libraries()
    return BaseModels(run, device=run.device, progress=transfer, precision=config.precision)


def with_own_cache(run: Run, base: BaseModels) -> Run:
    """Return the run with the part of its cache that belongs to its base models, as loaded.

    What another base LM or encoder computed of the same text must not be taken for theirs.
    """
    if run.cache is None:
        return run
    names = base.identities()
    lm = [names["base_sha256"], run.base_quantization, str(base.lm.dtype)]
    encoder = [names["encoder_sha256"], names["encoder_rules"]]
    digest = hashlib.sha256(json.dumps([*lm, *encoder]).encode()).hexdigest()
    return replace(run, cache=run.cache / digest[:16])


def fit(
    run: Run,
    method: TrainingMethod,
    encoder: SentenceEncoder,
    examples: Sequence[Sequence[Example]],
    dev: Sequence[Sequence[Example]],
    callbacks: Callbacks,
) -> Path:
    """Run the trainer with a log beside what is trained, and return the folder.

    Raises:
        CheckpointError: the run to go on with has other settings.
        ModelError: the settings cannot be used.
    """
    from models.training.trainer import Trainer

    run.out.mkdir(parents=True, exist_ok=True)
    path = run.out / LOG if is_main_process() else Path(os.devnull)
    with path.open("a" if run.resume else "w", encoding="utf-8") as log:

        def keep(step: StepReport) -> None:
            print(json.dumps(asdict(step)), file=log, flush=True)
            callbacks.report(step)

        weighed = [source.weight for source in run.sources]
        trainer = Trainer(
            method, encoder, examples, weighed, run.out, run.cache, dev, callbacks.note
        )
        trainer.run(keep, resume=run.resume)
    return run.out
