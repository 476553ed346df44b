"""`mac store ls`: the documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maccli.commands import options
from maccli.commands.store.documents import pruned, unfinished
from maccli.errors import no_documents
from maccli.output import Output, size
from maccli.reading.files import displayed

if TYPE_CHECKING:
    from store.records import Document


@click.command()
@click.argument("match", required=False, shell_complete=options.complete_documents)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Show at most N.", metavar="N")
@options.apply(options.only_options, options.store_option, options.json_option, options.nl_option)
def ls(
    match: str | None,
    limit: int | None,
    tags: tuple[str, ...],
    since: str | None,
    until: str | None,
    store: Path | None,
    as_json: bool,
    as_nl: bool,
) -> None:
    """List the documents in the store.

    With MATCH, list those whose name or title contains it, or fits it as a glob.

    \b
    Examples:
      mac store ls
      mac store ls "*.md" --json
      mac store ls --tag work --since 2026-01-01
    """
    out = Output(json=as_json, nl=as_nl)
    with options.open_mac(out, store) as mac:
        documents = list(
            mac.documents(match=match, limit=limit, tags=tags, since=since, until=until)
        )
        missing = mac.store is None
    if not out.human:
        out.records({**asdict(document), "partial": document.partial} for document in documents)
    elif documents:
        _write(out, documents)
    elif not missing and (match or tags or since or until):
        out.note("No document matches.")
    else:
        out.note(no_documents(mac.folder, exists=not missing).message)


def _write(out: Output, documents: Sequence[Document]) -> None:
    """Write a table without the columns that are empty."""
    columns = [
        ("chunks", [f"{document.chunks:,}{pruned(document)}" for document in documents]),
        ("tokens", [f"{document.tokens:,}" for document in documents]),
        ("memory", [size(document.bytes) for document in documents]),
        ("updated", [document.updated_at[:10] for document in documents]),
        ("date", [document.date or "" for document in documents]),
        ("tags", [", ".join(document.tags) for document in documents]),
        ("document", [_name(document) for document in documents]),
    ]
    shown = [(name, cells) for name, cells in columns if any(cells)]
    rows = list(zip(*(cells for _, cells in shown), strict=True))
    out.table(rows, [name for name, _ in shown])


def _name(document: Document) -> str:
    note = unfinished(document) or ("stale" if document.stale else "")
    return displayed(document.source) + (f" ({note})" if note else "")
