"""What the options of `mac train` mean: the run, and the trainer's settings."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from maccli import config
from maccli.commands import rival_options, train_options

if TYPE_CHECKING:
    from maccli.training.train import Run
    from models.training.settings import TrainConfig


def understood(given: dict[str, Any]) -> tuple[Run, TrainConfig]:
    """Return the run and the trainer's settings that the options mean.

    Raises:
        UsageError: they do not go together.
        CheckpointError: the checkpoint to start from cannot be read.
        DataError: the data cannot be read.
    """
    from maccli.training.train import Run, steps_of
    from models.data import files as data
    from models.weights import pinned

    batch, documents = given["batch"], given["documents"]
    if batch % documents:
        raise click.UsageError(f"--batch {batch} is no multiple of --documents {documents}.")
    options = ("base", "quantize", "encoder", "rank", "chunk_tokens", "stack")
    for name in (*options, *train_options.OF_PAPER):
        if given["start"] is not None and given[name] is not None:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} is that of the checkpoint to start --from.")
    paper = given["stack"] == "paper" or (given["start"] is not None and _is_paper(given["start"]))
    _check_stack(given, paper)
    rival = rival_options.rival(given)
    sources = [data.parse_source(source) for source in given["sources"]]
    from models.paper.setup import Choice
    from models.training.settings import TrainConfig

    choice = Choice(
        given["amortizer"] or "t5",
        given["amortizer_model"],
        given["t5_config"] is not None,
        given["tokens"],
        given["question_model"],
        given["modulation"] or "prefix",
        given["lora_rank"] or 8,
    )
    if given["steps"] and given["epochs"]:
        raise click.UsageError("--steps and --epochs exclude each other.")
    asked = batch * given["accumulate"]
    steps = steps_of(sources, given["epochs"], asked) if given["epochs"] else given["steps"]
    settings = TrainConfig(
        steps=steps or 2000,
        groups=batch // documents,
        documents=documents,
        learning_rate=given["lr"] or (rival.learning_rate if rival else 1e-5 if paper else 1e-4),
        backprop_dropout=given["backprop_dropout"],
        accumulate=given["accumulate"],
        clip=given["clip"],
        precision=given["precision"],
        gradient_checkpointing=given["gradient_checkpointing"],
        limit=given["limit"],
        seed=given["seed"],
    )
    run = Run(
        sources=sources,
        dev=given["dev"],
        out=given["out"],
        base=given["base"] or pinned.DEFAULT_LM,
        encoder=given["encoder"] or pinned.DEFAULT_ENCODER,
        start=given["start"],
        rank=given["rank"] or 384,
        chunk_tokens=given["chunk_tokens"] or 192,
        device=config.text("device", given["device"]),
        resume=given["resume"],
        command=shlex.join(["mac", *sys.argv[1:]]),
        log=given["log"] or given["out"] / "log.jsonl",
        cache=given["cache"],
        paper=choice if paper and given["start"] is None else None,
        quantization=given["quantize"] if given["quantize"] != "none" else None,
        rival=rival,
    )
    return run, settings


def _is_paper(start: str) -> bool:
    """Tell whether a checkpoint is one of the `paper` stack."""
    from models.memory import checkpoint

    return checkpoint.read_config(checkpoint.find(start)).get("stack") == "paper"


def _check_stack(given: dict[str, Any], paper: bool) -> None:
    """Refuse options that the stack to be trained has no use for."""
    for name in ("rank",) if paper else train_options.OF_PAPER:
        if given[name] is not None:
            wanted = "latent" if paper else "paper"
            raise click.UsageError(
                f"--{name.replace('_', '-')} is of the {wanted} stack (--stack {wanted})."
            )
    train_options.check_models(given)
    if given["lora_rank"] is not None and given["modulation"] != "lora":
        raise click.UsageError("--lora-rank is of --modulation lora.")
