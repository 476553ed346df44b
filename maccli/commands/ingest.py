"""`mac ingest`: files into the store."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from maccli import errors
from maccli.commands import options
from maccli.output import Output, count, size

if TYPE_CHECKING:
    from maccli.reading.files import Found, Unusable
    from maccli.service.ingest import Piped
    from maccli.service.report import Outcome, Report


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-r", "--recursive", is_flag=True, help="Take the files in folders, too.")
@click.option("--sync", is_flag=True, help="Follow folders: remove what is gone from them, too.")
@click.option("--watch", is_flag=True, help="Go on with --sync at every change, until Ctrl-C.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Remove without asking, however much it is.")
@options.apply(options.tag_option, options.untag_option, options.date_option)
@click.option("--name", help="The document's name in the store (one file, or -).")
@click.option("--encoding", help="The files' encoding.  [default: found out]")
@options.apply(
    options.store_option, options.model_option, options.device_option, options.json_option
)
@options.quiet_option
@click.option("-v", "--verbose", is_flag=True, help="Tell what became of every file.")
@click.pass_context
def ingest(
    ctx: click.Context,
    paths: tuple[str, ...],
    recursive: bool,
    sync: bool,
    watch: bool,
    dry_run: bool,
    yes: bool,
    tags: tuple[str, ...],
    untag: tuple[str, ...],
    day: str | None,
    name: str | None,
    encoding: str | None,
    store_folder: str | None,
    model: str | None,
    device: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Read files into the store.

    New ones are added, changed ones updated, and the others left alone. PATH is a file (text,
    Markdown, reStructuredText, HTML), a glob, a folder, or - for standard input. Files that cannot
    be read are reported and the others kept. It is safe to run the same command again at any time,
    also after an interruption.

    With --sync every PATH is a folder, and documents from it whose files are gone are removed; a
    renamed file keeps what was made of it. A folder that is missing, or has lost most of its files
    at once, is asked about first (--yes: not).

    \b
    Examples:
      mac ingest notes/*.md report.html
      mac ingest --recursive ./docs --tag work --date 2026-03-01
      mac ingest --sync ~/notes
      curl -s https://example.com | mac ingest - --name example.html
    """
    from maccli.commands.follow import check_folders, follow
    from maccli.service import ingest as service
    from maccli.service.session import Session
    from store.labels import Labels

    out = Output(json=as_json, nl=as_json and watch, quiet=quiet)
    labels = Labels(tags, untag, day)
    teller = Teller(out, verbose=verbose, dry_run=dry_run)
    if sync or watch:
        check_folders(paths, name, watch=watch, dry_run=dry_run)
    with (
        out.transfers() as transfer,
        Session(options.place(store_folder, model, device), transfer=transfer) as session,
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
        items = _items(paths, recursive, name)
        if name is not None and len(items) != 1:
            raise click.UsageError(f"--name needs exactly one document, not {len(items)}.")
        with out.progress(sum(_size(item) for item in items), "B", "ingest") as progress:
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


class Teller:
    """Tells what becomes of each file, and at the end of all."""

    def __init__(self, out: Output, *, verbose: bool = False, dry_run: bool = False) -> None:
        self.out = out
        self.verbose = verbose
        self.dry_run = dry_run
        self._told: set[tuple[str, str | None]] = set()

    def tell(self, outcome: Outcome) -> None:
        """Tell what became of one file; of a trouble that lasts, only once."""
        from maccli.reading.files import displayed

        out = self.out
        name = displayed(outcome.source)
        trouble = outcome.reason if outcome.status in ("failed", "skipped") else outcome.remark
        if trouble and (outcome.source, trouble) in self._told:
            return
        if trouble:
            self._told.add((outcome.source, trouble))
        if outcome.status == "failed":
            out.problem(f"{name}: {outcome.reason}")
            return
        if outcome.remark:
            out.warn(f"{name} {outcome.remark}")
        was = f" (was {displayed(outcome.was)})" if outcome.was else ""
        if outcome.status == "skipped":
            out.note(f"Skipped {name}: {outcome.reason}")
        elif self.dry_run:
            if outcome.status in _VERBS and out.human and not out.quiet:
                out.text(f"Would {_VERBS[outcome.status]} {name}{was}")
        elif self.verbose:
            numbers = [count(outcome.chunks, "chunk")] if outcome.chunks else []
            numbers += [f"{outcome.reused:,} reused"] if outcome.reused else []
            chunks = f" ({', '.join(numbers)})" if numbers else ""
            out.note(f"{outcome.status.capitalize()} {name}{was}{chunks}")

    def finish(self, report: Report) -> int:
        """Tell what was done in all; return the exit code."""
        out = self.out
        if not out.human:
            out.record(report.as_dict())
        elif not out.quiet:
            out.text(_summary(report))
        if report.interrupted:
            out.warn(
                "interrupted; finished documents are kept. Run the same command again to go on."
            )
            return errors.INTERRUPTED
        return errors.FAILED if report.number("failed") or report.held else errors.DONE


_VERBS = {"added": "add", "updated": "update", "renamed": "rename", "removed": "remove"}


def _items(
    paths: tuple[str, ...], recursive: bool, name: str | None
) -> list[Found | Unusable | Piped]:
    from maccli.reading import files, loaders
    from maccli.service.ingest import Piped

    items: list[Found | Unusable | Piped] = []
    items += files.find([path for path in paths if path != "-"], recursive=recursive)
    if "-" in paths:
        data = sys.stdin.buffer.read(loaders.MAX_BYTES + 1)
        items.append(Piped(data, name))
    return items


def _size(item: Found | Unusable | Piped) -> int:
    from maccli.reading.files import Found, Unusable

    if isinstance(item, Found):
        return item.size
    return 0 if isinstance(item, Unusable) else len(item.data)


def _summary(report: Report) -> str:
    from maccli.service.report import STATUSES

    numbers = [
        f"{report.number(status):,} {status}" for status in STATUSES if report.number(status)
    ]
    written = []
    if report.chunks:
        written += [count(report.chunks, "chunk"), count(report.tokens, "token")]
        written.append(f"{size(report.bytes)} of memory")
    if report.reused:
        written.append(f"{count(report.reused, 'chunk')} reused")
    return (
        f"{'Dry run. ' if report.dry_run else ''}{count(len(report.outcomes), 'document')}"
        f"{': ' if numbers else ''}{', '.join(numbers)}."
        f"{' ' if written else ''}{', '.join(written)}"
        f"{' in' if written else ' Took'} {report.seconds:.1f} s."
    )
