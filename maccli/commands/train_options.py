"""Where options of `mac train` come from besides the command line, and how much a step takes."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from maccli.commands.options import Decorator
from maccli.training import presets
from models.weights.pinned import PINNED

PRECISIONS = ("fp32", "bf16")
"""As in `models.training.settings`, which takes a second to import."""
_PRESET = "mac.train.preset"
"""Where the context remembers which options the preset has set."""


def base_model_option(name: str, **more: Any) -> Decorator:
    """Return an option that takes a base model, as `click.option` would."""
    return click.option(name, metavar="MODEL", callback=_whole_path, **more)


def _whole_path(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Make a base model's path whole, since checkpoints keep it; a pinned name stays one."""
    path = Path(value).expanduser() if value and value not in PINNED else None
    return str(path.absolute()) if path is not None and path.exists() else value


def _names(ctx: click.Context) -> dict[str, str]:
    """Options as they are written, with their parameters' names."""
    return {o.lstrip("-"): p.name or "" for p in ctx.command.params for o in p.opts}


def from_file(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    """Take the options' defaults from a TOML file; what stands on the command line goes first."""
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path}: {error}") from error
    names = _names(ctx)
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        name = names.get(key.replace("_", "-"))
        if name is None:
            raise click.BadParameter(f"{path}: there is no option --{key.replace('_', '-')}")
        defaults[name] = value
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    ctx.meta[_PRESET] = ctx.meta.get(_PRESET, frozenset()) - set(defaults)


def from_preset(ctx: click.Context, _param: click.Parameter, name: str | None) -> None:
    """Take defaults from a preset; the command line and a TOML file go first."""
    if name is None:
        return
    names = _names(ctx)
    given: Mapping[str, Any] = ctx.default_map or {}
    values = {names[option]: value for option, value in presets.PRESETS[name].items()}
    ctx.default_map = {**values, **given}
    ctx.meta[_PRESET] = frozenset(values) - set(given)


def settle(ctx: click.Context, given: dict[str, Any]) -> None:
    """Take back what a preset says where the user's own options leave no room for it.

    A network without a pretrained model needs none of the preset's, a number of steps no epochs,
    and a checkpoint to start from has decided its stack, models and sizes.

    Args:
        ctx: of the command.
        given: every option's value; changed.

    Raises:
        click.UsageError: another stack than the preset's was chosen.
    """
    source = click.core.ParameterSource.DEFAULT_MAP
    of_preset = {n for n in ctx.meta.get(_PRESET, ()) if ctx.get_parameter_source(n) is source}
    if not of_preset:
        return
    if given["stack"] == "latent":
        raise click.UsageError("--preset is of the paper stack (--stack paper).")
    taken_back: set[str] = set()
    if given["t5_config"] or "amortizer" not in of_preset:
        taken_back |= {"amortizer_model", "question_model"}
    if given["steps"] is not None:
        taken_back.add("epochs")
    if given["start"] is not None:
        taken_back |= {"base", "quantize", "stack", *OF_PAPER}
    for name in taken_back & of_preset:
        given[name] = None


OF_PAPER = (
    *("amortizer", "amortizer_model", "question_model", "t5_config", "tokens"),
    *("modulation", "lora_rank"),
)
"""Parameters that only the `paper` stack has."""


def check_models(given: dict[str, Any]) -> None:
    """Refuse a pretrained model for a network that starts from none.

    Raises:
        click.UsageError: with the option that excludes it.
    """
    for model in ("amortizer_model", "question_model"):
        for name, value in (("amortizer", "encoder"), ("t5_config", "tiny")):
            if given[model] is not None and given[name] == value:
                option, excluded = (n.replace("_", "-") for n in (name, model))
                raise click.UsageError(f"--{option} {value} starts from no --{excluded}.")


DEFAULTS: tuple[Decorator, ...] = (
    click.option(
        "--preset",
        type=click.Choice(list(presets.PRESETS)),
        is_eager=True,
        expose_value=False,
        callback=from_preset,
        help="The settings of arXiv 2403.04317 for a base model; other options and --config go "
        f"first: {presets.about()}. All learn at 1e-5 for 50 epochs; x is --accumulate, "
        "p --backprop-dropout; smollm2-135m has those of distilgpt2.",
    ),
    click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=from_file,
        help="A TOML file with these options: steps = 500, data = [...].",
    ),
)
"""Those that set other options' defaults."""

STEP: tuple[Decorator, ...] = (
    click.option(
        "--accumulate",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Batches a step, one after the other; their gradients are averaged.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        help="What is computed in; trained weights stay fp32.  [default: bf16 for the base model "
        "where the hardware multiplies it, fp32 for the rest]",
    ),
    click.option(
        "--gradient-checkpointing",
        is_flag=True,
        help="Run the base model's layers again in the backward pass instead of remembering "
        "them: less memory, more time.",
    ),
    click.option(
        "--clip",
        type=click.FloatRange(min=0, min_open=True),
        default=1.0,
        show_default=True,
        help="The largest norm of a gradient.",
    ),
)
"""What decides how much memory and time a step takes, and how far it goes."""
