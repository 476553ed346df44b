"""`mac train`: meta-train a checkpoint."""

from __future__ import annotations

from typing import Any

import click

from maccli.commands import options
from maccli.commands.train.options import (
    DATA,
    MODELS,
    STEPS,
    TAKEN,
    base_model_option,
    take,
    watched,
)
from maccli.output import Output
from maccli.training import presets


def _from_preset(ctx: click.Context, _param: click.Parameter, name: str | None) -> None:
    if name is not None:
        take(ctx, "preset", presets.PRESETS[name])


@click.command()
@options.apply(*DATA)
@click.option(
    "--preset",
    type=click.Choice(list(presets.PRESETS)),
    is_eager=True,
    expose_value=False,
    callback=_from_preset,
    help="Take the settings of arXiv 2403.04317 for a base model; other options and --config go "
    f"first: {presets.about()}. All learn at 1e-5 for 50 epochs; x is --accumulate, "
    "p --backprop-dropout; smollm2-135m has those of distilgpt2.",
)
@click.option(
    "--from",
    "start",
    metavar="CHECKPOINT",
    help="Train this checkpoint further; it decides the stack, the models and all sizes.",
)
@click.option(
    "--stack",
    type=click.Choice(["latent", "paper"]),
    help="Train this project's own networks, or those of arXiv 2403.04317.  [default: latent]",
)
@options.apply(*MODELS)
@click.option(
    "--quantize",
    type=click.Choice(["4bit", "none"]),
    help="Load the base model with 4 bits a weight, now and whenever the checkpoint is used; "
    "needs an NVIDIA GPU and pip install 'maccli[4bit]'.",
)
@options.number("--rank", help="Numbers kept of each token of a document.  [default: 384]")
@click.option(
    "--amortizer",
    type=click.Choice(["t5", "t5-encoder", "decoder-only", "encoder"]),
    help="What reads documents in the paper stack; `encoder` is a small decoder on the sentence "
    "encoder.  [default: t5]",
)
@base_model_option(
    "--amortizer-model",
    help="The pretrained model that the amortizer starts from.  [default: google-t5/t5-small; "
    "for decoder-only distilbert/distilgpt2]",
)
@base_model_option(
    "--question-model",
    help="The pretrained model that the input encoder starts from.  [default: the amortizer's]",
)
@options.number("--tokens", help="Latents of a document in the paper stack.  [default: 12]")
@click.option(
    "--modulation",
    type=click.Choice(["prefix", "lora"]),
    help="What the paper stack gives the base model: keys and values in front of every layer, or "
    "low-rank weights in every layer.  [default: prefix]",
)
@options.number("--lora-rank", help="Rank of --modulation lora.  [default: 8]")
@click.option(
    "--lr",
    type=float,
    metavar="X",
    help="Learning rate.  [default: 1e-4; 1e-5 for the paper stack]",
)
@click.option(
    "--backprop-dropout",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    metavar="X",
    help="Share of documents without gradient.",
)
@options.apply(*STEPS)
@click.pass_context
def train(ctx: click.Context, /, quiet: bool, **given: Any) -> None:
    """Train a checkpoint on questions about documents.

    The base model stays as it is. The state is saved every few minutes: after an interruption, run
    the same command with --resume.

    A store belongs to the checkpoint that wrote it. When the training is done, `mac model default
    DIR` makes the new checkpoint yours, and `mac store rebuild -m DIR` gives it the store.

    \b
    Examples:
      mac train --data questions.jsonl --out my-checkpoint --steps 200
      mac train --data squad.json:2 --data films.jsonl.zst --out my-checkpoint --resume
      mac train --data questions.jsonl --from smollm2-135m --out my-checkpoint
      mac train --data questions.jsonl --stack paper --amortizer encoder --lr 1e-4 --out mine
      mac train --data squad.json --preset gpt2-xl --gradient-checkpointing --out gpt2-xl-mac
    """
    from maccli.training import settings
    from maccli.training import train as training

    default = click.core.ParameterSource.DEFAULT_MAP
    taken = ctx.meta.get(TAKEN, {"preset": (), "file": ()})
    preset = set(taken["preset"]) - set(taken["file"])
    settings.settle(given, {n for n in preset if ctx.get_parameter_source(n) is default})
    run, config = settings.understand(given)
    folder = watched(
        ctx, quiet, config, run.out, lambda callbacks: training.train(run, config, callbacks)
    )
    Output(quiet=quiet or not training.is_main_process()).note(
        f"Make it yours: mac model default {folder}. "
        f"Then give it your store: mac store rebuild -m {folder}"
    )
