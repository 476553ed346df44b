"""What the options of `mac train` and `mac train-rival` mean: a run, and the trainer's settings."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli import config
from maccli.errors import USAGE, MacError
from maccli.training.train import Run, steps_of
from models.data import files as data
from models.memory import checkpoint
from models.weights import pinned

if TYPE_CHECKING:
    from maccli.training.recipe import Recipe
    from models.training.settings import TrainConfig

OF_PAPER = (
    *("amortizer", "amortizer_model", "question_model", "tokens"),
    *("modulation", "lora_rank"),
)
"""Options that only the `paper` stack has."""
_OF_START = ("base", "quantize", "encoder", "rank", "chunk_tokens", "stack", *OF_PAPER)
"""Options that a checkpoint to start from has decided."""
_OF_RECIPE = {"sources": "data", "start": "from", "stack": "stack", "epochs": "epochs"}
"""Options that a recipe has decided: their names here, and on the command line."""


def understand(given: Mapping[str, Any]) -> tuple[Run, TrainConfig]:
    """Return the run and the trainer's settings that the options of `mac train` mean.

    Raises:
        MacError: they do not go together.
        CheckpointError: the checkpoint to start from cannot be read.
        DataError: the data cannot be read.
    """
    start = given["start"]
    for name in _OF_START:
        if start is not None and given[name] is not None:
            option = _option(name)
            raise _wrong(f"--{option} comes from the checkpoint named with --from; leave it out.")
    paper = given["stack"] == "paper" or (start is not None and _is_paper(start))
    _check_stack(given, paper)
    from models import stacks

    choice = stacks.paper_options(
        amortizer=given["amortizer"] or "t5",
        model=given["amortizer_model"],
        tokens=given["tokens"],
        question=given["question_model"],
        modulation=given["modulation"] or "prefix",
        lora_rank=given["lora_rank"] or 8,
    )
    run = run_of(
        given,
        start=start,
        rank=given["rank"] or 384,
        compact=given["compact"],
        paper=choice if paper and start is None else None,
        base_quantization=given["quantize"] if given["quantize"] != "none" else None,
    )
    return run, settings_of(given, run, 1e-5 if paper else 1e-4)


def understand_phases(
    given: Mapping[str, Any], recipe: Recipe, own: Collection[str]
) -> list[tuple[Run, TrainConfig]]:
    """Return the run and the trainer's settings of each phase of a recipe.

    All runs are as if they were the first, into the user's folder, and without data;
    `maccli.training.phases` chains them and gives them their sources.

    Args:
        given: every option's value.
        recipe: the phases.
        own: the options that the user has set; they go before those of the recipe in all phases.

    Raises:
        MacError: the options do not go together.
    """
    for name, option in _OF_RECIPE.items():
        if name in own and given[name]:
            raise _wrong(f"--{option} comes from the recipe; leave it out.")
    planned = []
    for phase in recipe.phases:
        settings = {
            **{"steps": phase.steps, "batch": phase.batch, "lr": phase.lr},
            **{"limit": phase.limit, "base": recipe.base, "rank": recipe.rank},
        }
        run, config = understand({**given, **{n: v for n, v in settings.items() if n not in own}})
        if phase.continuation is not None:
            config = replace(config, continuation=phase.continuation)
        planned.append((run, config))
    return planned


def run_of(given: Mapping[str, Any], **more: Any) -> Run:
    """Return the run that the options of both commands mean; `more` are other fields of it.

    Raises:
        DataError: a source cannot be understood.
    """
    return Run(
        sources=[data.parse_source(source) for source in given["sources"]],
        dev=given["dev"],
        out=given["out"],
        base_lm=given["base"] or pinned.DEFAULT_LM,
        encoder=given["encoder"] or pinned.DEFAULT_ENCODER,
        chunk_tokens=given["chunk_tokens"] or 192,
        device=config.text("device", given["device"]),
        resume=given["resume"],
        command=shlex.join(["mac", *sys.argv[1:]]),
        cache=given["cache"],
        **more,
    )


def settings_of(
    given: Mapping[str, Any], run: Run, learning_rate: float, *, unanswerable: bool = False
) -> TrainConfig:
    """Return the trainer's settings that the options of all commands mean.

    Args:
        given: every option's value.
        run: names the data.
        learning_rate: where none is named.
        unanswerable: whether questions without an answer are trained on.

    Raises:
        MacError: they do not go together.
        DataError: the data cannot be read.
    """
    from models.training.settings import TrainConfig

    batch, documents = given["batch"], given["documents"]
    if batch % documents:
        raise _wrong(f"--batch {batch} is not a multiple of --documents {documents}.")
    if given["steps"] and given["epochs"]:
        raise _wrong("--steps and --epochs exclude each other.")
    steps = given["steps"] or 2000
    if given["epochs"]:
        if given["limit"]:
            raise _wrong("--epochs goes through all questions, so it goes without --limit.")
        questions = batch * given["accumulate"]
        steps = steps_of(run.sources, given["epochs"], questions, unanswerable=unanswerable)
    return TrainConfig(
        steps=steps,
        groups=batch // documents,
        documents=documents,
        learning_rate=given["lr"] or learning_rate,
        backprop_dropout=given.get("backprop_dropout", 0.0),
        accumulate=given["accumulate"],
        clip=given["clip"],
        precision=given["precision"],
        gradient_checkpointing=given["gradient_checkpointing"],
        limit=given["limit"],
        seed=given["seed"],
    )


def settle(given: dict[str, Any], of_preset: set[str]) -> None:
    """Take back what a preset says where the user's own options leave no room for it.

    A network without a pretrained model needs none of the preset's, a number of steps no epochs,
    and a checkpoint to start from has decided its stack, models and sizes.

    Args:
        given: every option's value; changed.
        of_preset: the options whose value is the preset's.

    Raises:
        MacError: another stack than the preset's was chosen.
    """
    if not of_preset:
        return
    if given["stack"] == "latent":
        raise _wrong("--preset is for the paper stack (--stack paper).")
    taken_back: set[str] = set()
    if "amortizer" not in of_preset:
        taken_back |= {"amortizer_model", "question_model"}
    if given["steps"] is not None:
        taken_back.add("epochs")
    if given["start"] is not None:
        taken_back |= {"base", "quantize", "stack", *OF_PAPER}
    for name in taken_back & of_preset:
        given[name] = None


def _is_paper(start: str) -> bool:
    from models.stacks import name_of

    return name_of(checkpoint.read_config(checkpoint.find(start))) == "paper"


def _check_stack(given: Mapping[str, Any], paper: bool) -> None:
    """Refuse options that the stack to be trained does not have."""
    for name in ("rank", "compact") if paper else OF_PAPER:
        if given[name]:
            wanted = "latent" if paper else "paper"
            raise _wrong(f"--{_option(name)} belongs to the {wanted} stack (--stack {wanted}).")
    for name in ("amortizer_model", "question_model"):
        if given[name] is not None and given["amortizer"] == "encoder":
            raise _wrong(f"--amortizer encoder starts from no --{_option(name)}.")
    if given["lora_rank"] is not None and given["modulation"] != "lora":
        raise _wrong("--lora-rank belongs to --modulation lora.")


def _option(name: str) -> str:
    return name.replace("_", "-")


def _wrong(message: str) -> MacError:
    return MacError(message, exit_code=USAGE)


def whole_path(value: str | None) -> str | None:
    """Make a base model's path whole, since checkpoints keep it; a pinned name stays as it is."""
    path = Path(value).expanduser() if value and value not in pinned.PINNED else None
    return str(path.absolute()) if path is not None and path.exists() else value
