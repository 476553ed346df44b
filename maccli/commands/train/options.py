"""The options that all training commands share, and how a training is shown."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maccli import errors
from maccli.commands import options
from maccli.output import Output

if TYPE_CHECKING:
    from maccli.training.train import Callbacks
    from models.training.trainer import StepReport

TAKEN = "mac.train.taken"
"""Where the context remembers which options a preset and a file have set."""


def base_model_option(name: str, **more: Any) -> options.Decorator:
    """Return an option that takes a base model, as `click.option` would."""
    return click.option(name, metavar="MODEL", callback=_whole_path, **more)


def _whole_path(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from maccli.training.settings import whole_path

    return whole_path(value)


def take(ctx: click.Context, source: str, values: Mapping[str, Any]) -> None:
    """Make values the options' defaults; those of a file go before those of a preset."""
    names = {o.lstrip("-"): p.name or "" for p in ctx.command.params for o in p.opts}
    taken = ctx.meta.setdefault(TAKEN, {"preset": {}, "file": {}})
    for key, value in values.items():
        option = key.replace("_", "-")
        if option not in names:
            raise click.BadParameter(f"There is no option --{option}.")
        taken[source][names[option]] = value
    ctx.default_map = {**(ctx.default_map or {}), **taken["preset"], **taken["file"]}


def _from_file(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    if path is not None:
        try:
            take(ctx, "file", tomllib.loads(path.read_text("utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{path}: {error}") from error


config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_from_file,
    metavar="FILE",
    help="Take options from a TOML file: steps = 500, data = [...].",
)


def data_option(*, required: bool = True) -> options.Decorator:
    """Return the option that names data files; `mac train` may get a recipe instead."""
    return click.option(
        "--data",
        "sources",
        multiple=True,
        required=required,
        metavar="FILE[:WEIGHT]",
        help="Questions with documents: JSON lines, SQuAD JSON or CSV, also .gz or .zst; of a "
        "file with splits, the train split. Repeat it to mix.",
    )


FILES = (
    click.option(
        "--dev",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Measure the loss on these questions at every save; of a file with splits, the dev "
        "split.",
    ),
    options.number(
        "--limit", help="Use at most N documents a file.  [default: what the steps can use]"
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        required=True,
        metavar="DIR",
        help="The new folder; log.jsonl in it gets a line a step.",
    ),
    click.option("--resume", is_flag=True, help="Go on with the run in --out."),
    click.option(
        "--cache",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Keep documents' features here between runs.",
    ),
    config_option,
)
DATA = (data_option(), *FILES)
MODELS = (
    base_model_option(
        "--base",
        help="The base model: a name, a folder, a .gguf file or a Hub id.  "
        "[default: the pinned one]",
    ),
    base_model_option("--encoder", help="The sentence encoder, likewise."),
    options.number(
        "--chunk-tokens",
        least=8,
        help="The longest piece of a document, in tokens.  [default: 192]",
    ),
)
STEPS = (
    options.number("--steps", help="Number of optimiser steps.  [default: 2000]"),
    options.number("--epochs", help="Go through the questions N times, instead of --steps."),
    options.number(
        "--batch",
        least=2,
        default=8,
        show_default=True,
        help="Questions a batch, for each process; a multiple of --documents.",
    ),
    options.number(
        "--documents", least=2, default=4, show_default=True, help="Candidate documents a question."
    ),
    options.number(
        "--accumulate",
        default=1,
        show_default=True,
        help="Batches a step, one after the other; their gradients are averaged.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        help="What to compute in; trained weights stay fp32.  [default: bf16 for the base model "
        "where the hardware supports it, fp32 for the rest]",
    ),
    click.option(
        "--gradient-checkpointing",
        is_flag=True,
        help="Run the base model's layers again in the backward pass instead of keeping their "
        "results: less memory, more time.",
    ),
    click.option(
        "--clip",
        type=click.FloatRange(min=0, min_open=True),
        default=1.0,
        show_default=True,
        metavar="X",
        help="Clip gradients to this norm.",
    ),
    options.seed_option,
    options.device_option,
    options.quiet_option,
)


def watched(
    ctx: click.Context,
    quiet: bool,
    steps: int,
    out: Path,
    run: Callable[[Callbacks], Path],
) -> Path:
    """Show how a training goes, write its folder at the end and return it.

    `run` trains and returns the folder; the others are the command's context, its -q, the number
    of steps and the folder.
    """
    from maccli.training.train import Callbacks, is_main_process

    shown = Output(quiet=quiet or not is_main_process())
    try:
        with (
            shown.transfers() as transfer,
            shown.progress(steps, "step", "train") as progress,
        ):
            seen = 0

            def report(now: StepReport) -> None:
                nonlocal seen
                progress.advance(now.step - seen)  # after --resume the first step is not the first
                seen = now.step
                progress.tell(
                    f"loss {now.answer_loss:.3f} + {now.relevance_loss:.3f}, "
                    f"{now.examples_per_second:.1f} examples/s"
                )

            folder = run(Callbacks(report, shown.note, transfer))
    except KeyboardInterrupt:
        shown.warn(f"interrupted. What was saved is in {out}: add --resume to go on.")
        ctx.exit(errors.INTERRUPTED)
    if is_main_process():
        shown.text(str(folder))
    return folder
