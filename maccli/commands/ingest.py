"""`mac ingest`: files into the store."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from maccli import errors
from maccli.commands import options
from maccli.output import Output, count, size
from maccli.reading.files import displayed

if TYPE_CHECKING:
    from maccli.service.report import Outcome, Report


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
    from maccli.commands.follow import check_folders, follow
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


class Teller:
    """Reports what became of each file, and at the end of all."""

    def __init__(self, out: Output, *, verbose: bool = False, dry_run: bool = False) -> None:
        self.out = out
        self.verbose = verbose
        self.dry_run = dry_run
        self._told: set[tuple[str, str | None]] = set()

    def tell(self, outcome: Outcome) -> None:
        """Report what became of one file; the same trouble with it is reported once."""
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
            out.note(f"{_verb(outcome)} {name}{was}{_numbers(outcome)}")

    def finish(self, report: Report) -> int:
        """Report what was done in all; return the exit code."""
        out = self.out
        if not out.human:
            out.record(report.as_dict())
        elif not out.quiet:
            out.text(_summary(report))
        if report.interrupted:
            out.warn(f"interrupted; {report.interruption()}.")
            return errors.INTERRUPTED
        return errors.FAILED if report.number("failed") or report.held else errors.DONE


_VERBS = {"added": "add", "updated": "update", "renamed": "rename", "removed": "remove"}


def _verb(outcome: Outcome) -> str:
    if outcome.status != "partial":
        return outcome.status.capitalize()
    return f"Amortized {100 * (outcome.chunks + outcome.reused) // max(outcome.total, 1)} % of"


def _numbers(outcome: Outcome) -> str:
    numbers = [count(outcome.chunks, "chunk")] if outcome.chunks else []
    numbers += [f"{outcome.reused:,} reused"] if outcome.reused else []
    return f" ({', '.join(numbers)})" if numbers else ""


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
