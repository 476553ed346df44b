"""`mac store export`, `import` and `copy`: a store elsewhere.

`import` calls `maccli.sharding.load` itself, since it may have to make the store first.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from maccli import config
from maccli.commands import options
from maccli.commands.shards import share_option
from maccli.output import Output, count, size

if TYPE_CHECKING:
    from maccli.sharding.run import Share


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(allow_dash=True))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--with-log", is_flag=True, help="Also write the questions that were asked.")
@options.apply(options.store_option, options.quiet_option)
def export(file: str, force: bool, with_log: bool, store: Path | None, quiet: bool) -> None:
    """Write the whole store into one FILE.

    With -, it is written to standard output. FILE holds the texts, modulations and everything else
    about the documents. mac store import reads it on any machine, but takes no log from it.

    \b
    Examples:
      mac store export notes.mac
      mac store export - | ssh other-machine mac store import -
    """
    out = Output(quiet=quiet)
    with options.open_mac(out, store) as mac:
        numbers = mac.stats()
        written = mac.export(file, force=force, with_log=with_log)
    amount = "" if written is None else f", {size(written)}"
    documents, chunks = count(numbers.documents, "document"), count(numbers.chunks, "chunk")
    out.note(f"Exported {documents}, {chunks}{amount}.")


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(allow_dash=True))
@click.option(
    "--existing",
    type=click.Choice(["replace", "skip"]),
    default="replace",
    show_default=True,
    help="What to do with documents that the store has in another version.",
)
@share_option
@options.apply(options.store_option, options.json_option, options.quiet_option)
def import_(
    file: str,
    existing: Literal["replace", "skip"],
    share: Share | None,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Add the documents of an exported FILE to the store.

    FILE may also be a folder or URL that mac ingest --out wrote, or - for standard input. A missing
    store is created. Documents that the store has already are left alone, so the same command can
    be run again after an interruption. Questions that were exported with --with-log stay in FILE.

    \b
    Examples:
      mac store import notes.mac
      mac store import notes.mac --store ./work --existing skip
      mac store import s3://archive/bank --shard 1/4
    """
    from maccli.sharding.load import load

    out = Output(json=as_json, quiet=quiet)
    folder = config.folder("store", store)
    with out.progress(None, "B", "import") as progress:
        done = load(folder, file, existing, progress.advance, progress.expect, share)
    numbers = {name: getattr(done, name) for name in ("added", "updated", "unchanged", "skipped")}
    if out.json:
        out.record(numbers)
    else:
        parts = [f"{number:,} {name}" for name, number in numbers.items() if number]
        documents = count(sum(numbers.values()), "document")
        out.text(f"{documents}{': ' if parts else ''}{', '.join(parts)}.")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path())
@options.apply(options.store_option, options.quiet_option)
def copy(folder: str, store: Path | None, quiet: bool) -> None:
    """Copy the store into DIR, which must not exist yet.

    Other programs may use the store while it is copied. The log of questions is copied, too.

    \b
    Example:
      mac store copy /backup/notes
    """
    out = Output(quiet=quiet)
    with options.open_mac(out, store) as mac:
        mac.copy(folder)
        numbers = mac.stats()
    out.note(f"Copied {count(numbers.documents, 'document')} to {folder}.")
