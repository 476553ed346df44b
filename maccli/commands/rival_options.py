"""The options of `mac train` and `mac eval` that are about the rivals of `mac`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from maccli.training.rivals import Rival

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

train_options = (
    click.option(
        "--qa-tune",
        type=click.Choice(["closed-book", "text"]),
        help="Train a LoRA adapter of the base model on the questions instead of a checkpoint: "
        "with nothing else in the prompt, or with the documents' text.",
    ),
    click.option(
        "--adapter-rank",
        type=click.IntRange(min=1),
        help="Of --qa-tune.  [default: as many trained parameters as a checkpoint of --rank has]",
    ),
    click.option(
        "--camels",
        is_flag=True,
        help="Train the weighting network of CaMeLS (arXiv 2305.15076) instead of a checkpoint.",
    ),
    click.option(
        "--qa-base",
        type=_FOLDER,
        metavar="ADAPTER",
        help="Of --camels: the adapter (--qa-tune closed-book) of the model that is to learn.",
    ),
)

eval_options = (
    click.option(
        "--rag-lora",
        type=_FOLDER,
        metavar="ADAPTER",
        help="Made by `mac train --qa-tune text`, which the rag-lora methods need.",
    ),
    click.option(
        "--qa-base",
        type=_FOLDER,
        metavar="ADAPTER",
        help="Made by `mac train --qa-tune closed-book`: what tuning on the documents starts from.",
    ),
    click.option(
        "--camels",
        type=click.Path(exists=True, path_type=Path),
        metavar="FILE",
        help="Made by `mac train --camels`, which the method camels needs.",
    ),
    click.option(
        "--lr",
        "rates",
        multiple=True,
        type=click.FloatRange(min=0, min_open=True),
        help="Learning rate of uniform, salient-spans and camels; repeat it to sweep.  "
        "[default: 1e-5; with --tune-on 1e-4, 2.5e-5, 6.25e-6, 1.6e-6]",
    ),
    click.option(
        "--tune-on",
        metavar="FILE[:SPLIT]",
        help="Choose the learning rate on these questions and documents.  [split: dev]",
    ),
    click.option(
        "--tune-documents",
        type=click.IntRange(min=1),
        metavar="N",
        help="Of --tune-on, drawn at random.  [default: as many as are evaluated on]",
    ),
)

SWEEP = (1e-4, 2.5e-5, 6.25e-6, 1.6e-6)
"""Learning rates that --tune-on tries where none are named."""


def rival(given: dict[str, Any]) -> Rival | None:
    """Return what the options of `mac train` ask for instead of a checkpoint.

    Raises:
        UsageError: they do not go together.
    """
    from maccli.training.rivals import Rival

    chosen = "--qa-tune" if given["qa_tune"] else "--camels" if given["camels"] else None
    if given["qa_tune"] and given["camels"]:
        raise click.UsageError("--qa-tune and --camels are two things to train: name one.")
    if given["adapter_rank"] is not None and not given["qa_tune"]:
        raise click.UsageError("--adapter-rank is an option of --qa-tune.")
    if given["qa_base"] is not None and not given["camels"]:
        raise click.UsageError("--qa-base is an option of --camels.")
    if chosen is None:
        return None
    for name, set_to in (("from", given["start"]), ("stack", given["stack"])):
        if set_to is not None:
            raise click.UsageError(f"{chosen} trains no checkpoint: it does not go with --{name}.")
    return Rival(given["qa_tune"], given["adapter_rank"], given["qa_base"])


def check(given: dict[str, Any]) -> None:
    """Refuse options of `mac eval` that do not go together.

    Raises:
        UsageError: they do not.
    """
    methods = given["methods"]
    if not given["rag_lora"] and any(m.startswith("rag-lora") for m in methods):
        raise click.UsageError("The rag-lora methods need --rag-lora ADAPTER.")
    if "qa-base" in methods and not given["qa_base"]:
        raise click.UsageError("The method qa-base needs --qa-base ADAPTER.")
    if "camels" in methods and not given["camels"]:
        raise click.UsageError("The method camels needs --camels FILE.")
    if given["tune_documents"] and not given["tune_on"]:
        raise click.UsageError("--tune-documents is an option of --tune-on.")
    if given["prune_curve"] and given["tune_on"]:
        raise click.UsageError("--tune-on does not go with --prune-curve.")


def plan(given: dict[str, Any]) -> dict[str, Any]:
    """Return the values of `maccli.evaluation.plan.Plan` that are the rivals'."""
    names = ("rag_lora", "qa_base", "camels", "tune_on", "tune_documents")
    rates = tuple(dict.fromkeys(given["rates"])) or (SWEEP if given["tune_on"] else (1e-5,))
    return {**{name: given[name] for name in names}, "rates": rates}
