"""Which documents a name on the command line means, and how documents are shown."""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from maccli import errors
from maccli.reading.files import displayed

if TYPE_CHECKING:
    from maccli.api import Mac
    from store.records import Document


def matching(mac: Mac, name: str) -> list[Document]:
    """Return the documents that `name` means.

    Args:
        mac: the store.
        name: a source, a path, the end of one, or a glob.

    Raises:
        MacError: it is the end of several paths.
    """
    if (exact := mac.document(name)) is not None:
        return [exact]
    name = os.fsencode(name).decode("utf-8", "backslashreplace")  # as names are stored
    if any(character in name for character in "*?["):
        return [
            document
            for document in mac.documents()
            if fnmatchcase(document.source, name) or fnmatchcase(displayed(document.source), name)
        ]
    ending = "/" + name.removeprefix("./")
    matches = [d for d in mac.documents(match=name) if d.source.endswith(ending)]
    if len(matches) > 1:
        names = ", ".join(displayed(document.source) for document in matches[:5])
        raise errors.MacError(
            f"{name} could be several documents: {names}", "Write more of its path, or use a glob."
        )
    return matches


def no_such(name: str) -> errors.MacError:
    """Return the error for a name that means no document."""
    return errors.MacError(f"{name}: no such document in the store.", "mac store ls lists them.")


def pruned(document: Document) -> str:
    """Return how many of a document's chunks were pruned, to stand after their number."""
    return f" ({document.pruned:,} pruned)" if document.pruned else ""


def unfinished(document: Document) -> str:
    """Return how much of a partly amortized document is done, and how to finish it; else ""."""
    if not document.partial:
        return ""
    done = 100 * document.chunks // document.expected
    return f"{done} % amortized; run mac ingest {displayed(document.source)} to finish"


def confirm(question: str, refusal: str, yes: bool) -> None:
    """Ask whether to remove something.

    Args:
        question: for a terminal.
        refusal: what to say if there is no terminal to ask on.
        yes: --yes was given.

    Raises:
        MacError: stdin is no terminal.
        Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise errors.MacError(refusal, "Add --yes to remove without asking.", errors.USAGE)
    click.confirm(question, abort=True, err=True)
