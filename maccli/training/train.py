"""Meta-training from files: read the data, load the frozen models, run the trainer, keep a log."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli.errors import USAGE, MacError
from maccli.service.session import Transfer, silence_libraries
from maccli.training import rivals as train_rivals
from maccli.training.rivals import Rival
from models.data import files as data
from models.memory import checkpoint
from models.weights import resolve as weights
from models.weights.identity import check_identity, identity

if TYPE_CHECKING:
    from models.paper.setup import Choice
    from models.training.method import Method
    from models.training.settings import TrainConfig
    from models.training.trainer import Progress


@dataclass(frozen=True, slots=True)
class Run:
    """What to train and from what.

    Attributes:
        sources: data files, each with how often it is drawn from.
        dev: data files to measure on and never to train on.
        out: the new checkpoint's folder.
        base: the base LM: a pinned name, a Hub id or a folder.
        encoder: the sentence encoder, likewise.
        start: a checkpoint whose networks are trained further; base, encoder, rank and chunk_tokens
            are then its own.
        rank: latent size of `latent`, numbers kept of each token.
        chunk_tokens: the longest document of one modulation.
        device: "auto", "cpu", "cuda" or "mps".
        resume: go on with the run in `out`.
        command: as the user typed it, for the model card.
        log: where a JSON line a step is written.
        cache: where documents' features are kept between runs.
        quantization: how the base LM is narrowed while it is loaded, see `models.base.quantize`; of a
            checkpoint to start from, its own.
        paper: what a new checkpoint of the `paper` stack is to be; None makes a `latent` one.
        rival: what to train instead of a checkpoint.
    """

    sources: Sequence[data.Source]
    dev: Sequence[Path]
    out: Path
    base: str
    encoder: str
    start: str | None
    rank: int
    chunk_tokens: int
    device: str
    resume: bool
    command: str
    log: Path
    cache: Path | None = None
    paper: Choice | None = None
    quantization: str | None = None
    rival: Rival | None = None


def is_main_process() -> bool:
    """Tell whether this process is the one that talks, of those `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


def steps_of(sources: Sequence[data.Source], epochs: int, questions: int) -> int:
    """Optimiser steps that make so many epochs, where each process asks so many questions a step.

    Raises:
        DataError: the data cannot be used.
    """
    total = sum(len(data.read(source.path, "train")) for source in sources)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return max(1, epochs * total // (questions * processes))


def train(
    run: Run,
    config: TrainConfig,
    *,
    report: Callable[[Progress], None],
    note: Callable[[str], None],
    transfer: Transfer | None = None,
) -> Path:
    """Train a checkpoint and return its folder.

    Raises:
        MacError: there is a checkpoint in the folder already.
        CheckpointError: the checkpoint to start from cannot be used.
        DataError: the data cannot be used.
        WeightsError: the base weights cannot be had.
        ModelError: the base model or the settings cannot be used.
    """
    made = (run.out / checkpoint.CONFIG).exists() or train_rivals.is_made(run.out)
    if not run.resume and made:
        raise MacError(
            f"There is a checkpoint in {run.out} already.",
            "Go on with it (--resume), or train into another folder (--out).",
            USAGE,
        )
    examples = [data.read(source.path, "train") for source in run.sources]
    dev = [data.read(path, "dev") for path in run.dev]
    from models.base.device import choose_device, choose_dtype
    from models.base.encoder import SentenceEncoder
    from models.base.lm import BaseLM
    from models.latent.config import LatentConfig
    from models.latent.method import LatentMethod
    from models.latent.networks import LatentStack
    from models.paper import setup
    from models.paper.config import PaperConfig
    from models.paper.stack import PaperStack
    from models.stacks import load_stack
    from models.training.trainer import Trainer

    silence_libraries()
    device = choose_device(run.device)
    start = load_stack(checkpoint.find(run.start)) if run.start is not None else None
    base_name, encoder_name, quantization = run.base, run.encoder, run.quantization
    if start is not None:
        base_name, encoder_name = start.config.base_lm, start.config.encoder
        quantization = start.config.base_quantization
    base = weights.resolve(base_name, progress=transfer)
    encoder_folder = weights.resolve(encoder_name, progress=transfer)
    dtype = choose_dtype(device, config.precision)
    lm = BaseLM.load(base, device=device, dtype=dtype, quantization=quantization)
    encoder = SentenceEncoder.load(encoder_folder, device=device)
    model: LatentConfig | PaperConfig
    if start is not None:
        model = start.config
        check_identity(base_name, base, model.base_sha256)
        check_identity(encoder_name, encoder_folder, model.encoder_sha256)
        start.check(lm)
        training = {"command": run.command, "from": model.training}
    else:
        training = {"command": run.command}
        named: dict[str, Any] = {
            "base_lm": base_name,
            "base_sha256": identity(base_name, base),
            "encoder": encoder_name,
            "encoder_sha256": identity(encoder_name, encoder_folder),
            "chunk_tokens": run.chunk_tokens,
            "base_quantization": quantization,
        }
        if run.paper is not None:
            model = setup.describe(run.paper, lm, encoder, progress=transfer, **named)
        else:
            model = LatentConfig(
                layers=lm.shape.layers,
                kv_heads=lm.shape.kv_heads,
                head_size=lm.shape.head_size,
                latent_size=run.rank,
                key_size=encoder.size,
                **named,
            )
    model = replace(model, training=training)
    method: Method
    if run.rival is not None:
        assert isinstance(model, LatentConfig)
        resumed = run.out if run.resume else None
        method = train_rivals.method(run.rival, config, model, lm, resumed)
    elif isinstance(model, PaperConfig):
        begun = start if isinstance(start, PaperStack) else None
        question = run.paper.question if run.paper is not None else None
        method = setup.method(config, model, lm, encoder, begun, transfer, question=question)
    else:
        method = LatentMethod(
            config, model, lm, run.cache, start if isinstance(start, LatentStack) else None
        )
    run.log.parent.mkdir(parents=True, exist_ok=True)
    with run.log.open("a" if run.resume else "w", encoding="utf-8") as log:

        def keep(progress: Progress) -> None:
            if is_main_process():
                print(json.dumps(asdict(progress)), file=log, flush=True)
            report(progress)

        weighed = [source.weight for source in run.sources]
        trainer = Trainer(method, encoder, examples, weighed, run.out, run.cache, dev, note)
        trainer.run(keep, resume=run.resume)
    return run.out
