"""`mac ingest`: files into the store."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

from pathlib import Path

import click

from maccli.commands import options
from maccli.commands.follow import check_folders, follow
from maccli.commands.outcomes import Teller
from maccli.output import Output


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option("--sync", is_flag=True, help="Follow folders: remove what is gone from them, too.")
@click.option("--watch", is_flag=True, help="Sync again after every change, until Ctrl-C.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Remove without asking, however much it is.")
@options.apply(options.tag_option, options.untag_option, options.date_option)
@click.option("--name", help="The document's name in the store (for one file, or -).")
@click.option("--encoding", help="The files' encoding.  [default: detected]")
@options.apply(
    options.store_option, options.model_option, options.device_option, options.json_option
)
@options.quiet_option
@click.option("-v", "--verbose", is_flag=True, help="Show what became of every file.")
@click.pass_context
def ingest(
    ctx: click.Context,
    paths: tuple[str, ...],
    sync: bool,
    watch: bool,
    dry_run: bool,
    yes: bool,
    tags: tuple[str, ...],
    untag: tuple[str, ...],
    day: str | None,
    name: str | None,
    encoding: str | None,
    store: Path | None,
    model: str | None,
    device: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Read files into the store.

    New files are added, changed ones updated, and the others left alone. PATH is a file, a glob, a
    folder, which is taken with everything in it, or - for standard input. Files that cannot be read
    are reported and do not stop the others. It is safe to run the same command again at any time.
    After an interruption it goes on where it stopped, also within a long document.

    With --sync every PATH is a folder, and documents whose files are gone from it are removed; a
    renamed file keeps its modulations. If a folder is missing or has lost most of its files at
    once, nothing is removed from it without a question or --yes.

    \b
    Examples:
      mac ingest notes report.html "letters/*.md"
      mac ingest docs --tag work --date 2026-03-01
      mac ingest --sync ~/notes
      curl -s https://example.com | mac ingest - --name example.html
    """
    from maccli.service import ingest as service
    from maccli.service.session import Session
    from store.labels import Labels

    out = Output(json=as_json, nl=as_json and watch, quiet=quiet)
    labels = Labels(tags, untag, day)
    teller = Teller(out, verbose=verbose, dry_run=dry_run)
    if sync or watch:
        check_folders(paths, name, watch=watch, dry_run=dry_run)
    place = options.place(store, model, device)
    with (
        out.transfers() as transfer,
        Session(place, transfer=transfer, tell=out.tell) as session,
    ):
        if sync or watch:
            code = follow(
                session,
                paths,
                teller,
                encoding=encoding,
                labels=labels,
                watch=watch,
                dry_run=dry_run,
                yes=yes,
            )
            ctx.exit(code)
        items = service.items_of(paths, name)
        if name is not None and len(items) != 1:
            raise click.UsageError(f"--name needs exactly one document, not {len(items)}.")
        total = sum(getattr(item, "size", 0) for item in items)
        with out.progress(total, "B", "ingest") as progress:
            report = service.ingest(
                session,
                items,
                encoding=encoding,
                name=name,
                labels=labels,
                dry_run=dry_run,
                progress=progress,
                tell=teller.tell,
            )
    ctx.exit(teller.finish(report))
