"""`mac ingest`: files into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from maccli.bank import clean_tags
from maccli.commands import options
from maccli.commands.follow import check_folders, follow, keep_following
from maccli.commands.outcomes import Teller
from maccli.commands.shards import ingest_shards, shard_options
from maccli.output import Output
from maccli.reading.kinds import FORMATS
from store.labels import Labels

if TYPE_CHECKING:
    from maccli.service.report import Report
    from maccli.sharding.run import Engine, Share


@click.command(epilog=f"What is read: {FORMATS}.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option("--sync", is_flag=True, help="Follow folders: remove what is gone from them, too.")
@click.option("--watch", is_flag=True, help="Sync again after every change, until Ctrl-C.")
@click.option(
    "-r",
    "--recursive",
    is_flag=True,
    expose_value=False,
    help="For habit: folders are always taken whole.",
)
@click.option(
    "--exclude",
    metavar="GLOB",
    multiple=True,
    help="Leave this out of folders, besides exclude in config.toml; written as in .gitignore.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before removing documents.")
@options.apply(options.tag_option, options.untag_option, options.date_option)
@click.option(
    "--name", metavar="NAME", help="The document's name in the store (for one file, or -)."
)
@click.option("--encoding", metavar="NAME", help="The files' encoding.  [default: detected]")
@shard_options
@options.apply(options.where_options, options.json_option)
@options.quiet_option
@click.option(
    "-v", "--verbose", is_flag=True, help="Show the result for each file, and tracebacks of bugs."
)
@click.pass_context
def ingest(
    ctx: click.Context,
    paths: tuple[str, ...],
    exclude: tuple[str, ...],
    sync: bool,
    watch: bool,
    dry_run: bool,
    yes: bool,
    tags: tuple[str, ...],
    untag: tuple[str, ...],
    day: str | None,
    name: str | None,
    encoding: str | None,
    out_url: str | None,
    engine: Engine | None,
    address: str | None,
    shard_size: float | None,
    share: Share | None,
    store: Path | None,
    model: str | None,
    device: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Read files into the store.

    New files are added, changed ones updated, and the others left alone. PATH is a file, a glob, a
    folder, which is taken with everything in it, the URL of a page, or - for standard input. Files
    that cannot be read are reported and do not stop the others. It is safe to run the same command
    again at any time. After an interruption it goes on where it stopped, also within a long
    document.

    Left out of folders and globs are hidden files, what editors leave behind, and what --exclude,
    .macignore or .gitignore name; a file that is named itself is always taken. A link is the file
    that it leads to; hard links are documents of their own.

    With --sync every PATH is a folder, and documents whose files are gone from it, or are excluded
    now, are removed; a renamed file keeps its modulations. If a folder is missing or has lost most
    of its files at once, nothing is removed from it without a question or --yes. If a file changed
    and cannot be read any more, its document stays, marked as stale.

    With --out, more text than one machine amortizes becomes shards, files that `mac store import`
    takes: on one machine, on a Ray cluster, or a part of them on each of several. PATH may then be
    a URL such as s3://bucket/folder, and so may --out.

    \b
    Examples:
      mac ingest notes report.html "letters/*.md"
      mac ingest docs --tag work --date 2026-03-01
      mac ingest --sync ~/notes --exclude "*.log" --exclude drafts/
      mac ingest https://example.com/page.html
      pandoc -t markdown race.tex | mac ingest - --name race.md
      mac ingest s3://archive/2025 --out s3://archive/memory --engine ray
    """
    out = Output(json=as_json, nl=as_json and watch, quiet=quiet)
    if out_url is None and (engine or address or share or shard_size):
        raise click.UsageError("--engine, --address, --shard and --shard-size go with --out.")
    if out_url is not None:
        if sync or watch or dry_run or name or store:
            raise click.UsageError("--out takes no --sync, --watch, --dry-run, --name or --store.")
        code = ingest_shards(
            out,
            paths,
            out_url,
            exclude=exclude,
            model=model,
            device=device,
            encoding=encoding,
            labels=Labels(clean_tags(tags), clean_tags(untag), day),
            engine=engine or "local",
            address=address,
            share=share,
            shard_size=shard_size,
        )
        ctx.exit(code)
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
                    exclude=exclude,
                    sync=sync or watch,
                    certain=yes,
                    dry_run=dry_run,
                    progress=progress,
                    on_size=progress.expect,
                    on_outcome=teller.tell,
                )

        if watch:
            code = keep_following(mac, teller, paths, ingest_once)
        elif sync:
            code = follow(mac, teller, ingest_once)
        else:
            code = teller.finish(ingest_once())
    ctx.exit(code)
