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
    from maccli.files import Found, Unusable
    from maccli.service.ingest import Outcome, Piped, Report


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-r", "--recursive", is_flag=True, help="Take the files in folders, too.")
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

    \b
    Examples:
      mac ingest notes/*.md report.html
      mac ingest --recursive ./docs
      curl -s https://example.com | mac ingest - --name example.html
    """
    from maccli.service import ingest as service
    from maccli.service.session import Session

    out = Output(json=as_json, quiet=quiet)
    items = _items(paths, recursive, name)
    if name is not None and len(items) != 1:
        raise click.UsageError(f"--name needs exactly one document, not {len(items)}.")
    total = sum(_size(item) for item in items)

    def tell(outcome: Outcome) -> None:
        _tell(out, outcome, verbose)

    with (
        out.transfers() as transfer,
        Session(options.place(store_folder, model, device), transfer=transfer) as session,
        out.progress(total, "B", "ingest") as progress,
    ):
        report = service.ingest(
            session, items, encoding=encoding, name=name, progress=progress, tell=tell
        )
    if out.json:
        out.record(report.as_dict())
    elif not quiet:
        out.text(_summary(report))
    if report.interrupted:
        out.warn("interrupted; finished documents are kept. Run the same command again to go on.")
        ctx.exit(errors.INTERRUPTED)
    if report.number("failed"):
        ctx.exit(errors.FAILED)


def _items(
    paths: tuple[str, ...], recursive: bool, name: str | None
) -> list[Found | Unusable | Piped]:
    from maccli import files, loaders
    from maccli.service.ingest import Piped

    items: list[Found | Unusable | Piped] = []
    items += files.find([path for path in paths if path != "-"], recursive=recursive)
    if "-" in paths:
        data = sys.stdin.buffer.read(loaders.MAX_BYTES + 1)
        items.append(Piped(data, name))
    return items


def _size(item: Found | Unusable | Piped) -> int:
    from maccli.files import Found, Unusable

    if isinstance(item, Found):
        return item.size
    return 0 if isinstance(item, Unusable) else len(item.data)


def _tell(out: Output, outcome: Outcome, verbose: bool) -> None:
    from maccli.files import displayed

    name = displayed(outcome.source)
    if outcome.status == "failed":
        out.problem(f"{name}: {outcome.reason}")
        return
    if outcome.remark:
        out.warn(f"{name} {outcome.remark}")
    if outcome.status == "skipped":
        out.note(f"Skipped {name}: {outcome.reason}")
    elif verbose:
        chunks = f" ({count(outcome.chunks, 'chunk')})" if outcome.chunks else ""
        out.note(f"{outcome.status.capitalize()} {name}{chunks}")


def _summary(report: Report) -> str:
    numbers = [
        f"{report.number(status):,} {status}"
        for status in ("added", "updated", "unchanged", "skipped", "failed")
        if report.number(status)
    ]
    written = ""
    if report.chunks:
        written = (
            f" {count(report.chunks, 'chunk')}, {count(report.tokens, 'token')}, "
            f"{size(report.bytes)} of memory"
        )
    return (
        f"{count(len(report.outcomes), 'document')}: {', '.join(numbers)}.{written}"
        f"{' in' if written else ' Took'} {report.seconds:.1f} s."
    )
