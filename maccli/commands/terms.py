"""Base models whose weights come under terms of their own, which are accepted once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from maccli.errors import USAGE, MacError
from maccli.output import Output

accept_option = click.option(
    "--accept-terms",
    "accept",
    is_flag=True,
    help="Do not ask about terms that the weights come under.",
)


def pull(out: Output, name: str, accept: bool, folder: Path | None = None) -> Path:
    """Return the folder of a base model, downloaded after its terms, if any, are accepted.

    Raises:
        MacError: nobody can be asked.
        Abort: they are not accepted.
        WeightsError: it cannot be downloaded.
    """
    from models.weights.cache import installed
    from models.weights.pinned import PINNED
    from models.weights.resolve import resolve

    terms = PINNED[name].terms if name in PINNED else ""
    if terms and not accept and name not in {model.name for model in installed()}:
        out.warn(f"the weights of {name} come under terms of their own: {terms}")
        if not sys.stdin.isatty():
            raise MacError(
                "There is no terminal to ask on whether you accept them.",
                "Read them, and add --accept-terms.",
                USAGE,
            )
        click.confirm("Do you accept them?", abort=True, err=True)
    with out.transfers() as transfer:
        return resolve(name, progress=transfer, local=folder, accepted=True)
