"""`mac store export`, `import`, `copy`, `rebuild`: a store elsewhere, or of another model."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maccli import config, errors
from maccli.commands import options
from maccli.commands.store_care import open_or_refuse
from maccli.output import Output, count, size

if TYPE_CHECKING:
    from store.importing import Policy


@click.command("export")
@click.argument("file")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@options.apply(options.store_option, options.quiet_option)
def export(file: str, force: bool, store_folder: str | None, quiet: bool) -> None:
    """Write the whole store into one FILE, or to standard output with -.

    FILE holds texts, modulations and all that is known of the documents, for `mac store import` on
    any machine. It appears when it is whole.

    \b
    Examples:
      mac store export notes.mac
      mac store export - | ssh other-machine mac store import -
    """
    from maccli.service import moving

    out = Output(quiet=quiet)
    with open_or_refuse(store_folder) as bank:
        numbers = bank.stats()
        with out.progress(numbers.chunks, "chunk", "export") as progress:
            written = moving.export(bank, file, force=force, advance=progress.advance)
    amount = "" if written is None else f", {size(written)}"
    out.note(
        f"Exported {count(numbers.documents, 'document')}, "
        f"{count(numbers.chunks, 'chunk')}{amount}."
    )


@click.command("import")
@click.argument("file")
@click.option(
    "--existing",
    type=click.Choice(["replace", "skip"]),
    default="replace",
    show_default=True,
    help="What to do with a document that is in the store in another state.",
)
@options.apply(options.store_option, options.json_option, options.quiet_option)
def import_(
    file: str, existing: Policy, store_folder: str | None, as_json: bool, quiet: bool
) -> None:
    """Take the documents of an exported FILE (- is standard input) into the store.

    The store is made if there is none. Each document is taken in whole or not at all, and those
    that are there in the same state are left alone: after an interruption run the same again.

    \b
    Examples:
      mac store import notes.mac
      mac store import notes.mac --store ./work --existing skip
    """
    from maccli.service import moving

    out = Output(json=as_json, quiet=quiet)
    total = None if file == "-" else os.stat(file).st_size
    folder = config.folder("store", store_folder)
    with out.progress(total, "B", "import") as progress:
        done = moving.load(folder, file, existing, progress.advance)
    numbers = {name: getattr(done, name) for name in ("added", "updated", "unchanged", "skipped")}
    if out.json:
        out.record(numbers)
    else:
        parts = [f"{number:,} {name}" for name, number in numbers.items() if number]
        documents = count(sum(numbers.values()), "document")
        out.text(f"{documents}{': ' if parts else ''}{', '.join(parts)}.")


@click.command("copy")
@click.argument("folder", metavar="DIR")
@options.apply(options.store_option, options.quiet_option)
def copy(folder: str, store_folder: str | None, quiet: bool) -> None:
    """Copy the store into DIR, which must not exist yet, while others may use the store.

    \b
    Examples:
      mac store copy /backup/notes
    """
    out = Output(quiet=quiet)
    with open_or_refuse(store_folder) as bank:
        bank.copy(Path(folder).expanduser())
        numbers = bank.stats()
    out.note(f"Copied {count(numbers.documents, 'document')} to {folder}.")


@click.command("rebuild")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@options.apply(options.store_option, options.model_option, options.device_option)
@options.quiet_option
def rebuild(
    dry_run: bool, store_folder: str | None, model: str | None, device: str | None, quiet: bool
) -> None:
    """Amortize every document again with another model, from the texts in the store.

    For a store that another model wrote. It takes as long as ingesting the documents did, and can
    be interrupted and run again; until it is done the store stays as it was.

    \b
    Examples:
      mac store rebuild --dry-run
      mac store rebuild -m ./checkpoint
    """
    from maccli.service import rebuild as service
    from maccli.service.session import Session

    out = Output(quiet=quiet)
    place = options.place(store_folder, model, device)
    with out.transfers() as transfer, Session(place, transfer=transfer) as session:
        plan = service.plan(session)
        if plan.stored == session.fingerprint:
            out.text(f"Nothing to do: the store is of {place.model} ({session.fingerprint}).")
            service.clean(session)
            return
        if dry_run:
            out.text(
                f"Would amortize {count(plan.left, 'document')} of {plan.documents:,} again with "
                f"{place.model} ({session.fingerprint})."
            )
            return
        with out.progress(plan.left, "doc", "rebuild") as progress:
            try:
                done = service.rebuild(session, progress)
            except KeyboardInterrupt:
                out.warn("interrupted; what is done is kept. Run the same command again to go on.")
                raise click.exceptions.Exit(errors.INTERRUPTED) from None
    out.text(
        f"{count(plan.documents, 'document')}, {done:,} amortized now with {place.model} "
        f"({session.fingerprint})."
    )
