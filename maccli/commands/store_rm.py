"""`mac store rm`: taking documents out of the store, and which documents a name means."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from maccli import errors
from maccli.commands import options
from maccli.output import Output, count
from maccli.reading.files import displayed

if TYPE_CHECKING:
    from store.bank import Store
    from store.records import Document


@click.command("rm")
@click.argument("documents", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Tell what would be removed, and remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@options.apply(options.store_option, options.quiet_option)
@click.pass_context
def rm(
    ctx: click.Context,
    documents: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    store_folder: str | None,
    quiet: bool,
) -> None:
    """Remove documents from the store; the files themselves are left alone.

    DOCUMENTS are paths, ends of paths, or globs in quotes.

    \b
    Examples:
      mac store rm notes/race.md
      mac store rm "drafts/*" --dry-run
    """
    out = Output(quiet=quiet)
    bank = options.open_store(store_folder)
    if bank is None:
        raise no_such(documents[0])
    with bank:
        chosen: dict[str, None] = {}
        missing = False
        for name in documents:
            found = matching(bank, name)
            if len(found) > 1 and not _is_glob(name):
                names = ", ".join(displayed(other.source) for other in found[:5])
                raise errors.MacError(
                    f"{name} could be several documents: {names}", "Name it in full, or use a glob."
                )
            if not found:
                out.problem(f"{name}: no such document in the store")
                missing = True
            chosen.update(dict.fromkeys(document.source for document in found))
        if dry_run or not yes:
            for source in chosen:
                out.text(f"{'Would remove' if dry_run else 'To remove:'} {displayed(source)}")
        if not dry_run and chosen:
            _confirm(len(chosen), yes)
            removed = sum(bank.remove(source) for source in chosen)
            out.note(f"Removed {count(removed, 'document')}.")
    if missing:
        ctx.exit(errors.FAILED)


def matching(bank: Store, name: str) -> list[Document]:
    """Return the documents that `name` means: itself, its absolute path, a glob, or an end."""
    import os.path

    for exact in (name, os.path.abspath(os.path.expanduser(name))):
        if (document := bank.document(exact)) is not None:
            return [document]
    if not _is_glob(name):
        ending = "/" + name.removeprefix("./")
        return [d for d in bank.documents(match=name) if d.source.endswith(ending)]
    from fnmatch import fnmatchcase

    return [
        document
        for document in bank.documents()
        if fnmatchcase(document.source, name) or fnmatchcase(displayed(document.source), name)
    ]


def _is_glob(name: str) -> bool:
    return any(character in name for character in "*?[")


def no_such(name: str) -> errors.MacError:
    """Return the error for a name that means no document."""
    return errors.MacError(f"{name}: no such document in the store.", "mac store ls lists them.")


def _confirm(number: int, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise errors.MacError(
            "Not removed: nobody to ask whether to.",
            "Add --yes to remove without asking.",
            errors.USAGE,
        )
    click.confirm(f"Remove {count(number, 'document')}?", abort=True, err=True)
