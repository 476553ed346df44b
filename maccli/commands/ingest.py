"""`mac ingest`: files into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from maccli.commands import options
from maccli.commands.follow import check_folders, follow, keep_following
from maccli.commands.outcomes import Teller
from maccli.output import Output

if TYPE_CHECKING:
    from maccli.service.report import Report


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option("--sync", is_flag=True, help="Follow folders: remove what is gone from them, too.")
@click.option("--watch", is_flag=True, help="Sync again after every change, until Ctrl-C.")
# A folder is always taken whole; people type this all the same.
@click.option("--recursive", is_flag=True, hidden=True, expose_value=False)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before removing documents.")
@options.apply(options.tag_option, options.untag_option, options.date_option)
@click.option(
    "--name", metavar="NAME", help="The document's name in the store (for one file, or -)."
)
@click.option("--encoding", metavar="NAME", help="The files' encoding.  [default: detected]")
@options.apply(options.where_options, options.json_option)
@options.quiet_option
@click.option("-v", "--verbose", is_flag=True, help="Show the result for each file.")
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
    out = Output(json=as_json, nl=as_json and watch, quiet=quiet)
    teller = Teller(out, verbose=verbose, dry_run=dry_run)
    if sync or watch:
        check_folders(paths, name, watch=watch, dry_run=dry_run)
    with options.open_mac(out, store, model, device) as mac:

        def ingest_once() -> Report:
            with out.progress(None, "B", "ingest") as progress:
                return mac.ingest(
                    paths,
                    tags=tags,
                    untag=untag,
                    date=day,
                    encoding=encoding,
                    name=name,
                    sync=sync or watch,
                    certain=yes,
                    dry_run=dry_run,
                    progress=progress,
                    on_size=progress.expect,
                    on_outcome=teller.tell,
                )

        if watch:
            code = keep_following(teller, mac.folder, paths, ingest_once)
        elif sync:
            code = follow(mac, teller, ingest_once)
        else:
            code = teller.finish(ingest_once())
    ctx.exit(code)
