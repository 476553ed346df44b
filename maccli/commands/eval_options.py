"""What the options of `mac eval` may be, and which go together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from maccli.commands import rival_options

METHODS = (
    "closed-book",
    "rag-bm25",
    "rag-dense",
    "rag-hybrid",
    "rag-prefix-bm25",
    "rag-prefix-dense",
    "rag-prefix-hybrid",
    "rag-lora-bm25",
    "rag-lora-dense",
    "rag-lora-hybrid",
    "mac",
    "mac-dense",
    "mac-bm25",
    "mac+text",
    "oracle",
    "rag-prefix-oracle",
    "rag-lora-oracle",
    "mac-oracle",
    "qa-base",
    "uniform",
    "salient-spans",
    "camels",
)
"""As in `maccli.evaluation.methods`, which takes a second to import."""
DEFAULT_METHODS = ("closed-book", "rag-hybrid", "mac", "oracle", "mac-oracle")


def number_or_all(least: int) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a callback that reads numbers from `least` on, or the word `all`, once or often."""

    def read(text: str) -> int | str:
        if text == "all":
            return text
        if not (text.isascii() and text.isdecimal() and int(text) >= least):
            raise click.BadParameter(f"{text!r} is neither a number from {least} on nor all.")
        return int(text)

    def convert(_: click.Context, __: click.Parameter, given: Any) -> Any:
        if isinstance(given, tuple):
            return tuple(map(read, given))
        return None if given is None else read(given)

    return convert


def picture(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a picture of a kind that cannot be drawn, before anything is measured."""
    from maccli.evaluation.report import plots

    if path is not None and path.suffix.lower() not in plots.FORMATS:
        raise click.BadParameter(f"{path}: a picture's name ends in {', '.join(plots.FORMATS)}.")
    return path


def sizes(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Read numbers with commas between them."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is no list of numbers, such as 100,1000.")
    return tuple(map(int, parts))


def check(given: dict[str, Any], plot: Path | None) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: they do not.
    """
    if given["resume"] and given["out"] is None:
        raise click.UsageError("--resume needs the file to go on with: --out FILE.")
    if not given["rag_prefix"] and any(m.startswith("rag-prefix") for m in given["methods"]):
        raise click.UsageError("The rag-prefix methods need --rag-prefix FILE.")
    rival_options.check(given)
    if given["prune_curve"]:
        for name in ("methods", "retention", "abstention", "bank_sizes", "rates", "retrievers"):
            if given[name]:
                option = {
                    **{"methods": "method", "bank_sizes": "bank-sizes", "rates": "lr"},
                    "retrievers": "retriever",
                }
                raise click.UsageError(
                    f"--{option.get(name, name)} does not go with --prune-curve."
                )
        if len(given["ks"]) > 1:
            raise click.UsageError("--prune-curve takes one -k.")
    elif given["strategies"] or given["sizes"]:
        raise click.UsageError("--strategy and --size are options of --prune-curve.")
    drawn = given["methods"] or given["bank_sizes"] or given["retention"]
    if plot and not drawn and given["abstention"]:
        raise click.UsageError(
            "--plot draws methods, bank sizes, retention or a prune curve: name some."
        )


def check_folders(*paths: Path | None) -> None:
    """Refuse to write into a folder that is not there, before anything is measured.

    Raises:
        UsageError: it is not.
    """
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise click.UsageError(f"There is no folder {path.parent} to write {path.name} into.")
