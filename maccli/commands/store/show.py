"""`mac store show`: one document."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maccli import errors
from maccli.commands import options
from maccli.commands.store.documents import matching, no_such, pruned, unfinished
from maccli.output import Output, count, size
from maccli.reading.files import displayed
from store.marks import in_words, mark_at

if TYPE_CHECKING:
    from store.records import ChunkRow, Document


@click.command()
@click.argument("document", type=click.Path(), shell_complete=options.complete_documents)
@options.apply(options.store_option, options.json_option)
def show(document: str, store: Path | None, as_json: bool) -> None:
    """Show one document and the chunks it was cut into.

    DOCUMENT is a path, or the end of one.

    \b
    Examples:
      mac store show notes/race.md
      mac store show race.md --json
    """
    out = Output(json=as_json)
    with options.open_mac(out, store) as mac:
        mac.require_store()
        matches = matching(mac, document)
        if len(matches) > 1:
            names = ", ".join(displayed(other.source) for other in matches[:5])
            raise errors.MacError(f"{document} means several documents: {names}")
        if not matches:
            raise no_such(document)
        chunks = mac.chunks(matches[0])
    shown = matches[0]
    if out.json:
        pieces = [_piece(chunk) for chunk in chunks]
        out.record({**asdict(shown), "partial": shown.partial, "pieces": pieces})
        return
    _write(out, shown)
    for chunk in chunks:
        out.text()
        place = in_words(mark_at(chunk.marks, chunk.text, 0)) or f"[{chunk.start}:{chunk.end}]"
        out.text(f"{place}: {_memory_of(chunk)}")
        out.text(chunk.text)


def _piece(chunk: ChunkRow) -> dict[str, object]:
    fields = ("position", "start", "end", "tokens", "bytes", "pruned", "sharing", "text", "context")
    marks = [asdict(mark) for mark in chunk.marks]
    return {**{name: getattr(chunk, name) for name in fields}, "marks": marks}


def _memory_of(chunk: ChunkRow) -> str:
    if chunk.pruned:
        return "pruned"
    shared = f", shared with {count(chunk.sharing, 'chunk')}" if chunk.sharing else ""
    return f"{count(chunk.tokens, 'token')}, {size(chunk.bytes)}{shared}"


def _write(out: Output, document: Document) -> None:
    chunks = f"{count(document.chunks, 'chunk')}{pruned(document)}"
    lines = [
        ("document", document.source),
        ("title", document.title or ""),
        ("type", f"{document.media_type}, {document.encoding}"),
        ("length", count(document.characters, "character")),
        ("memory", f"{chunks}, {count(document.tokens, 'token')}, {size(document.bytes)}"),
        ("partial", unfinished(document)),
        ("stale", f"the file {document.stale} now" if document.stale else ""),
        ("date", document.date or ""),
        ("tags", ", ".join(document.tags)),
        ("added", document.added_at),
        ("updated", document.updated_at),
    ]
    for name, value in lines:
        if value:
            out.text(f"{name:10} {value}")
