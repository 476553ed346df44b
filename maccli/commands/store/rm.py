"""`mac store rm`: taking documents out of the store."""

from __future__ import annotations

from pathlib import Path

import click

from maccli import errors
from maccli.commands import options
from maccli.commands.store.documents import confirm, matching
from maccli.output import Output, count
from maccli.reading.files import displayed


@click.command()
@click.argument(
    "documents",
    nargs=-1,
    required=True,
    type=click.Path(),
    shell_complete=options.complete_documents,
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before removing documents.")
@options.apply(options.store_option, options.quiet_option)
@click.pass_context
def rm(
    ctx: click.Context,
    documents: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    store: Path | None,
    quiet: bool,
) -> None:
    """Remove documents from the store.

    The files themselves stay where they are. DOCUMENTS are paths, ends of paths, or globs in
    quotes.

    \b
    Examples:
      mac store rm notes/race.md
      mac store rm "drafts/*" --dry-run
    """
    out = Output(quiet=quiet)
    with options.open_mac(out, store) as mac:
        mac.require_store()
        chosen: dict[str, None] = {}
        missing = False
        for name in documents:
            matches = matching(mac, name)
            if not matches:
                out.problem(f"{name}: no such document in the store")
                missing = True
            chosen.update(dict.fromkeys(document.source for document in matches))
        if dry_run or not yes:
            for source in chosen:
                out.text(f"{'Would remove' if dry_run else 'To remove:'} {displayed(source)}")
        if not dry_run and chosen:
            question = f"Remove {count(len(chosen), 'document')}?"
            confirm(question, "Nothing was removed: there is no terminal to ask on.", yes)
            removed = sum(mac.remove(source) for source in chosen)
            out.note(f"Removed {count(removed, 'document')}.")
    if missing:
        ctx.exit(errors.FAILED)
