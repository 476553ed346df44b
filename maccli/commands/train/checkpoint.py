"""`mac train`: meta-train a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maccli.commands import options
from maccli.commands.train.options import (
    FILES,
    MODELS,
    STEPS,
    TAKEN,
    base_model_option,
    data_option,
    take,
    watched,
)
from maccli.output import Output
from maccli.training import presets, recipe

if TYPE_CHECKING:
    from maccli.training.phases import Planned


def _from_preset(ctx: click.Context, _param: click.Parameter, name: str | None) -> None:
    if name is not None:
        take(ctx, "preset", presets.PRESETS[name])


def _read_recipe(_: click.Context, __: click.Parameter, name: str | None) -> recipe.Recipe | None:
    try:
        return None if name is None else recipe.read(name)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@options.apply(data_option(required=False), *FILES)
@click.option(
    "--recipe",
    "chosen",
    metavar="NAME|FILE",
    callback=_read_recipe,
    help="Train as a bundled checkpoint was trained, with its data, phases and settings: "
    f"{', '.join(recipe.known())}, or a TOML file like it. What you set yourself goes first.",
)
@click.option(
    "--data-folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the recipe's data lies, in files named like its sources; the others are "
    "downloaded where they are public.",
)
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
    "--compact",
    is_flag=True,
    help="Round these numbers to coarser steps: a modulation takes 60 % of the bytes.",
)
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
def train(
    ctx: click.Context,
    /,
    chosen: recipe.Recipe | None,
    data_folder: Path | None,
    quiet: bool,
    **given: Any,
) -> None:
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
      mac train --recipe smollm2-135m --base Qwen/Qwen3-0.6B --out qwen3-mac
    """
    from maccli.training.train import is_main_process

    taken = ctx.meta.get(TAKEN, {"preset": (), "file": ()})
    preset = set(taken["preset"]) - set(taken["file"])
    if chosen is not None:
        if preset:
            raise click.UsageError("--preset goes without --recipe.")
        folder = _train_recipe(ctx, chosen, data_folder, quiet, given)
    else:
        if data_folder is not None:
            raise click.UsageError("--data-folder belongs to --recipe.")
        folder = _train_data(ctx, preset, quiet, given)
    Output(quiet=quiet or not is_main_process()).note(
        f"Make it yours: mac model default {folder}. "
        f"Then give it your store: mac store rebuild -m {folder}"
    )


def _train_recipe(
    ctx: click.Context,
    chosen: recipe.Recipe,
    data_folder: Path | None,
    quiet: bool,
    given: dict[str, Any],
) -> Path:
    """Train as a recipe says, and return the checkpoint's folder."""
    from maccli.training import phases

    planned = _planned(ctx, chosen, data_folder, quiet, given)
    steps = sum(config.steps for _, config in planned)
    return watched(
        ctx, quiet, steps, given["out"], lambda callbacks: phases.train(planned, callbacks)
    )


def _train_data(ctx: click.Context, preset: set[str], quiet: bool, given: dict[str, Any]) -> Path:
    """Train on --data with the options, some of them a preset's; return the checkpoint's folder."""
    from maccli.training import settings
    from maccli.training import train as training

    if not given["sources"]:
        raise click.UsageError("Missing option '--data' (or --recipe).")
    default = click.core.ParameterSource.DEFAULT_MAP
    settings.settle(given, {n for n in preset if ctx.get_parameter_source(n) is default})
    run, config = settings.understand(given)
    return watched(
        ctx,
        quiet,
        config.steps,
        run.out,
        lambda callbacks: training.train(run, config, callbacks),
    )


def _planned(
    ctx: click.Context,
    chosen: recipe.Recipe,
    folder: Path | None,
    quiet: bool,
    given: dict[str, Any],
) -> list[Planned]:
    """Return the phases of a recipe with their data, which is downloaded where it is missing."""
    from maccli.training import phases, settings
    from maccli.training.train import is_main_process, refuse_trained

    default = click.core.ParameterSource.DEFAULT
    own = {name for name in given if ctx.get_parameter_source(name) is not default}
    understood = settings.understand_phases(given, chosen, own)
    if not given["resume"]:  # said before anything is downloaded
        for out in phases.folders(given["out"], len(understood)):
            refuse_trained(out)
    shown = Output(quiet=quiet or not is_main_process())
    with shown.transfers() as transfer:
        warn = shown.warn if is_main_process() else shown.note  # the others are quiet
        paths = phases.gather(chosen, folder, phases.Tell(shown.note, warn, transfer))
    return phases.plan(chosen, understood, paths)
