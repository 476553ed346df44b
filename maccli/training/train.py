"""Meta-training from files: read the data, load the frozen models, run the trainer, keep a log."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli.errors import USAGE, MacError
from maccli.service.session import silence_libraries
from models.data import files as data
from models.memory import checkpoint
from models.weights.identity import check_identity, identity
from models.weights.resolve import resolve

if TYPE_CHECKING:
    from models.base.encoder import SentenceEncoder
    from models.base.lm import BaseLM
    from models.data.files import Example
    from models.latent.config import LatentConfig
    from models.latent.networks import LatentStack
    from models.paper.config import PaperConfig
    from models.paper.setup import PaperOptions
    from models.paper.stack import PaperStack
    from models.training.method import TrainingMethod
    from models.training.settings import TrainConfig
    from models.training.trainer import StepReport
    from models.weights.carriers import Transfer

LOG = "log.jsonl"
"""The file beside a checkpoint with a JSON line a step."""


@dataclass(frozen=True, slots=True)
class Run:
    """What to train and from what.

    Attributes:
        sources: data files, each with how often it is drawn from.
        dev: data files to measure on and never to train on.
        out: the folder of what is trained.
        base: the base LM: a pinned name, a Hub id or a folder.
        encoder: the sentence encoder, likewise.
        chunk_tokens: the longest document of one modulation.
        device: "auto", "cpu", "cuda" or "mps".
        resume: whether to go on with the run in `out`.
        command: as the user typed it, for the model card.
        cache: where documents' features are kept between runs.
        start: a checkpoint whose networks are trained further; base, encoder, rank, chunk_tokens
            and quantization are then those of the checkpoint.
        rank: latent size of `latent`, numbers kept of each token.
        quantization: how the base LM is narrowed while it is loaded, see `models.base.quantize`.
        paper: what a new checkpoint of the `paper` stack is to be; None makes a `latent` one.
    """

    sources: Sequence[data.DataSource]
    dev: Sequence[Path]
    out: Path
    base: str
    encoder: str
    chunk_tokens: int
    device: str
    resume: bool
    command: str
    cache: Path | None = None
    start: str | None = None
    rank: int = 384
    quantization: str | None = None
    paper: PaperOptions | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told what happens.

    Attributes:
        report: told after every step.
        note: tells the user something.
        transfer: told about downloads.
    """

    report: Callable[[StepReport], None]
    note: Callable[[str], None]
    transfer: Transfer | None = None


@dataclass(frozen=True, slots=True)
class Frozen:
    """The models that stay as they are, and their names, hashes and the chunk size in a config."""

    lm: BaseLM
    encoder: SentenceEncoder
    identities: dict[str, Any]


def is_main_process() -> bool:
    """Tell whether this process is the one that talks, of those `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


def steps_of(sources: Sequence[data.DataSource], epochs: int, questions: int) -> int:
    """Return the optimiser steps of so many epochs, at so many questions a step and process.

    Raises:
        DataError: the data cannot be used.
    """
    total = sum(len(data.read(source.path, "train")) for source in sources)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return max(1, epochs * total // (questions * processes))


def train(run: Run, config: TrainConfig, told: Told) -> Path:
    """Train a checkpoint and return its folder.

    Raises:
        MacError: there is a checkpoint in the folder already.
        CheckpointError: the checkpoint to start from cannot be used.
        DataError: the data cannot be used.
        WeightsError: the base weights cannot be had.
        ModelError: the base model or the settings cannot be used.
    """
    examples, dev = read_data(run)
    from models.stacks import load_stack

    start = load_stack(checkpoint.find(run.start)) if run.start is not None else None
    if start is not None:
        run = replace(
            run,
            base=start.config.base_lm,
            encoder=start.config.encoder,
            quantization=start.config.base_quantization,
        )
    frozen = load_frozen(run, config, told.transfer, start.config if start else None)
    if start is None:
        model = _new(run, frozen, told.transfer)
    else:
        start.check(frozen.lm)
        training = {"command": run.command, "from": start.config.training}
        model = replace(start.config, training=training)
    method = _method(run, config, model, frozen, start, told.transfer)
    return fit(run, method, frozen.encoder, examples, dev, told)


def read_data(run: Run) -> tuple[list[list[Example]], list[list[Example]]]:
    """Return the examples to train on and those to measure on, a list a file.

    Raises:
        MacError: there is something trained in the folder already.
        DataError: the data cannot be used.
    """
    if not run.resume and _is_trained(run.out):
        raise MacError(
            f"There is a checkpoint in {run.out} already.",
            "Go on with it (--resume), or train into another folder (--out).",
            USAGE,
        )
    examples = [list(data.read(source.path, "train")) for source in run.sources]
    return examples, [list(data.read(path, "dev")) for path in run.dev]


def _is_trained(folder: Path) -> bool:
    """Tell whether a folder holds something that was trained."""
    if not folder.exists():
        return False
    from models.rivals import adapter, camels

    names = (checkpoint.CONFIG, adapter.CONFIG, camels.FILE)
    return any((folder / name).exists() for name in names)


def load_frozen(
    run: Run,
    config: TrainConfig,
    transfer: Transfer | None,
    expected: LatentConfig | PaperConfig | None = None,
) -> Frozen:
    """Load the base LM and the sentence encoder of a run.

    Args:
        run: names them.
        config: says what to compute in.
        transfer: told about downloads.
        expected: of a checkpoint that was trained with them.

    Raises:
        CheckpointError: they are not those of the checkpoint.
        WeightsError: the weights cannot be had.
        ModelError: the base model or the device cannot be used.
    """
    from models.base.device import choose_device, choose_dtype
    from models.base.encoder import SentenceEncoder
    from models.base.lm import BaseLM

    silence_libraries()
    device = choose_device(run.device)
    base = resolve(run.base, progress=transfer)
    encoder = resolve(run.encoder, progress=transfer)
    if expected is not None:
        check_identity(run.base, base, expected.base_sha256)
        check_identity(run.encoder, encoder, expected.encoder_sha256)
    dtype = choose_dtype(device, config.precision)
    identities = {
        "base_lm": run.base,
        "base_sha256": identity(run.base, base),
        "encoder": run.encoder,
        "encoder_sha256": identity(run.encoder, encoder),
        "chunk_tokens": run.chunk_tokens,
    }
    return Frozen(
        BaseLM.load(base, device=device, dtype=dtype, quantization=run.quantization),
        SentenceEncoder.load(encoder, device=device),
        identities,
    )


def latent_config(run: Run, frozen: Frozen) -> LatentConfig:
    """Return the config of a new checkpoint of the `latent` stack."""
    from models.latent.config import LatentConfig

    shape = frozen.lm.shape
    return LatentConfig(
        layers=shape.layers,
        kv_heads=shape.kv_heads,
        head_size=shape.head_size,
        latent_size=run.rank,
        key_size=frozen.encoder.size,
        base_quantization=run.quantization,
        training={"command": run.command},
        **frozen.identities,
    )


def _new(run: Run, frozen: Frozen, transfer: Transfer | None) -> LatentConfig | PaperConfig:
    """Return the config of a new checkpoint."""
    from models.paper import setup

    if run.paper is None:
        return latent_config(run, frozen)
    described = setup.describe(
        run.paper,
        frozen.lm,
        frozen.encoder,
        progress=transfer,
        base_quantization=run.quantization,
        **frozen.identities,
    )
    return replace(described, training={"command": run.command})


def _method(
    run: Run,
    config: TrainConfig,
    model: LatentConfig | PaperConfig,
    frozen: Frozen,
    start: LatentStack | PaperStack | None,
    transfer: Transfer | None,
) -> TrainingMethod:
    """Return how a checkpoint of this config is trained."""
    from models.latent.config import LatentConfig
    from models.latent.method import LatentMethod
    from models.latent.networks import LatentStack
    from models.paper import setup

    if isinstance(model, LatentConfig):
        assert start is None or isinstance(start, LatentStack)
        return LatentMethod(config, model, frozen.lm, run.cache, start)
    assert not isinstance(start, LatentStack)
    question = run.paper.question if run.paper is not None else None
    return setup.method(
        config, model, frozen.lm, frozen.encoder, start, transfer, question=question
    )


def fit(
    run: Run,
    method: TrainingMethod,
    encoder: SentenceEncoder,
    examples: Sequence[Sequence[Example]],
    dev: Sequence[Sequence[Example]],
    told: Told,
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
            told.report(step)

        weighed = [source.weight for source in run.sources]
        trainer = Trainer(method, encoder, examples, weighed, run.out, run.cache, dev, told.note)
        trainer.run(keep, resume=run.resume)
    return run.out
