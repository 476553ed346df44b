"""`mac train`: meta-train a checkpoint."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maccli import errors
from maccli.commands import options, rival_options, train_options, train_run
from maccli.output import Output

if TYPE_CHECKING:
    from models.training.trainer import Progress


@click.command()
@click.option(
    "--data",
    "sources",
    multiple=True,
    required=True,
    metavar="FILE[:WEIGHT]",
    help="Questions with documents: JSON lines, SQuAD JSON or CSV, also .zst; of a file with "
    "splits, the train split. Repeat it to mix.",
)
@click.option(
    "--dev",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Measure the loss on these at every save; of a file with splits, on its dev split.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="At most so many documents a file.  [default: what the steps can use]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The folder of the new checkpoint.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--log", type=click.Path(dir_okay=False, path_type=Path), help="[default: log.jsonl in --out]"
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the losses into a file."
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep documents' features here between runs.",
)
@options.apply(*train_options.DEFAULTS)
@click.option(
    "--from",
    "start",
    metavar="CHECKPOINT",
    help="Train this checkpoint further; it decides the stack, the models and all sizes.",
)
@click.option(
    "--stack",
    type=click.Choice(["latent", "paper"]),
    help="What to train: this project's own networks or those of arXiv 2403.04317.  "
    "[default: latent]",
)
@train_options.base_model_option(
    "--base",
    help="The base model: a name, a folder, a .gguf file or a Hub id.  [default: the pinned one]",
)
@train_options.base_model_option(
    "--encoder",
    help="The sentence encoder, likewise.",
)
@click.option(
    "--quantize",
    type=click.Choice(["4bit", "none"]),
    help="Load the base model with 4 bits a weight, now and whenever the checkpoint is used; "
    "needs an NVIDIA GPU and pip install 'maccli[4bit]'.",
)
@click.option(
    "--rank",
    type=click.IntRange(min=1),
    help="Numbers kept of each token of a document.  [default: 384]",
)
@click.option(
    "--chunk-tokens",
    type=click.IntRange(min=8),
    help="Longest piece of a document, in tokens.  [default: 192]",
)
@click.option(
    "--amortizer",
    type=click.Choice(["t5", "t5-encoder", "decoder-only", "encoder"]),
    help="What reads documents in the paper stack; `encoder` is a small decoder on the sentence "
    "encoder.  [default: t5]",
)
@train_options.base_model_option(
    "--amortizer-model",
    help="The pretrained model that the amortizer starts from.  [default: google-t5/t5-small; "
    "for decoder-only distilbert/distilgpt2]",
)
@train_options.base_model_option(
    "--question-model",
    help="The pretrained model that the input encoder starts from.  [default: the amortizer's]",
)
@click.option(
    "--t5-config",
    type=click.Choice(["tiny"]),
    help="A small, randomly initialised network instead of a pretrained one.",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    help="Latents of a document in the paper stack.  [default: 12]",
)
@click.option(
    "--modulation",
    type=click.Choice(["prefix", "lora"]),
    help="What the paper stack gives the base model: keys and values in front of every layer, or "
    "low-rank weights in every layer.  [default: prefix]",
)
@click.option(
    "--lora-rank", type=click.IntRange(min=1), help="Rank of --modulation lora.  [default: 8]"
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps.  [default: 2000]")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Instead of --steps: as many as go so often through the files' questions.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    help="Questions a batch, for each process; a multiple of --documents.",
)
@click.option(
    "--documents",
    type=click.IntRange(min=2),
    default=4,
    show_default=True,
    help="Documents that a question has to be answered among.",
)
@click.option(
    "--lr",
    type=float,
    help="Learning rate.  [default: 1e-4; 1e-5 for the paper stack, 5e-4 for --qa-tune, "
    "1e-3 for --camels]",
)
@click.option(
    "--backprop-dropout",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of documents without gradient.",
)
@options.apply(*train_options.STEP)
@click.option("--seed", type=int, default=0, show_default=True)
@options.device_option
@options.apply(*rival_options.train_options, options.quiet_option)
@click.pass_context
def train(ctx: click.Context, /, plot: Path | None, quiet: bool, **given: Any) -> None:
    """Train a checkpoint on questions about documents.

    The base model stays as it is. The state is saved every few minutes: after an interruption, run
    the same command with --resume.

    \b
    Examples:
      mac train --data questions.jsonl --out my-checkpoint --steps 200
      mac train --data squad.json:2 --data films.jsonl.zst --out my-checkpoint --resume
      mac train --data questions.jsonl --from smollm2-135m --out my-checkpoint
      mac train --data questions.jsonl --stack paper --amortizer encoder --lr 1e-4 --out mine
      mac train --data squad.json --preset gpt2-xl --gradient-checkpointing --out gpt2-xl-mac
      mac train --data questions.jsonl --stack paper --modulation lora --lora-rank 8 --out mine
      mac train --data questions.jsonl --qa-tune text --out rag-lora
      mac ask -m ./my-checkpoint "Who won?"
    """
    from maccli.evaluation.report import plots
    from maccli.training import train as service

    if plot is not None:
        plots.require()
    train_options.settle(ctx, given)
    run, settings = train_run.understood(given)
    out = Output(quiet=quiet or not service.is_main_process())
    try:
        with (
            out.transfers() as transfer,
            out.progress(settings.steps, "step", "train") as progress,
        ):
            seen = 0

            def report(now: Progress) -> None:
                nonlocal seen
                progress.advance(now.step - seen)  # after --resume the first step is not the first
                seen = now.step
                progress.tell(
                    f"loss {now.answer_loss:.3f} + {now.relevance_loss:.3f}, "
                    f"{now.examples_per_second:.1f} examples/s"
                )

            folder = service.train(run, settings, report=report, note=out.note, transfer=transfer)
    except KeyboardInterrupt:
        out.warn(f"interrupted. What was saved is in {run.out}: add --resume to go on.")
        ctx.exit(errors.INTERRUPTED)
    if plot is not None and service.is_main_process():
        plots.losses(run.log, plot)
    if service.is_main_process():
        out.text(str(folder))
