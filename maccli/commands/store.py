"""`mac store`: what is in the store."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from maccli import config, errors
from maccli.commands import options, store_care, store_move, store_prune, store_rm
from maccli.output import Output, count, size
from maccli.reading.files import displayed

if TYPE_CHECKING:
    from store.records import ChunkRow, Document


@click.group()
def store() -> None:
    """List, show and remove documents in the store.

    \b
    Examples:
      mac store ls
      mac store show notes/race.md
    """


for _command in (
    store_rm.rm,
    store_prune.prune,
    store_prune.undo,
    store_care.index,
    store_care.verify,
    store_care.vacuum,
    store_move.export,
    store_move.import_,
    store_move.copy,
    store_move.rebuild,
):
    store.add_command(_command)


@store.command("ls")
@click.argument("match", required=False)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="List at most so many.")
@options.apply(options.only_tag_option, options.since_option, options.until_option)
@options.apply(options.store_option, options.json_option, options.nl_option)
def ls(
    match: str | None,
    limit: int | None,
    tags: tuple[str, ...],
    since: str | None,
    until: str | None,
    store_folder: str | None,
    as_json: bool,
    as_nl: bool,
) -> None:
    """List the documents, or those whose name or title contains MATCH (a part, or a glob).

    \b
    Examples:
      mac store ls
      mac store ls "*.md" --json
    """
    out = Output(json=as_json, nl=as_nl)
    within = options.within(tags, since, until)
    bank = options.open_store(store_folder)
    if bank is None:
        documents = []
    else:
        with bank:
            documents = list(bank.documents(limit=limit, match=match, within=within))
    if not out.human:
        out.records(asdict(document) for document in documents)
    elif not documents:
        out.note("No document matches." if match or within else "The store is empty.")
    else:
        columns = [
            ("chunks", [f"{document.chunks:,}{_pruned(document)}" for document in documents]),
            ("tokens", [f"{document.tokens:,}" for document in documents]),
            ("memory", [size(document.bytes) for document in documents]),
            ("updated", [document.updated_at[:10] for document in documents]),
            ("date", [document.date or "" for document in documents]),
            ("tags", [", ".join(document.tags) for document in documents]),
            ("document", [displayed(document.source) for document in documents]),
        ]
        shown = [(name, cells) for name, cells in columns if any(cells)]
        out.table(
            list(zip(*(cells for _, cells in shown), strict=True)), [name for name, _ in shown]
        )


@store.command("show")
@click.argument("document")
@options.apply(options.store_option, options.json_option)
def show(document: str, store_folder: str | None, as_json: bool) -> None:
    """Show one document and the chunks it was cut into.

    DOCUMENT is a path, or the end of one.

    \b
    Examples:
      mac store show notes/race.md
      mac store show race.md --json
    """
    out = Output(json=as_json)
    bank = options.open_store(store_folder)
    if bank is None:
        raise store_rm.no_such(document)
    with bank:
        found = store_rm.matching(bank, document)
        if len(found) > 1:
            names = ", ".join(displayed(other.source) for other in found[:5])
            raise errors.MacError(f"{document} could be several documents: {names}")
        if not found:
            raise store_rm.no_such(document)
        chunks = bank.chunks(found[0].id)
    if out.json:
        out.record({**asdict(found[0]), "pieces": [_piece(chunk) for chunk in chunks]})
        return
    _write_document(out, found[0])
    for chunk in chunks:
        out.text()
        out.text(f"[{chunk.start}:{chunk.end}] {_memory_of(chunk)}")
        out.text(chunk.text)


@store.command("stats")
@options.apply(options.store_option, options.json_option)
def stats(store_folder: str | None, as_json: bool) -> None:
    """Tell how much is in the store and which model wrote it.

    \b
    Examples:
      mac store stats
      mac store stats --json | jq .total_bytes
    """
    out = Output(json=as_json)
    with store_care.open_or_refuse(store_folder) as bank:
        numbers = bank.stats()
    if out.json:
        out.record({"path": str(bank.path), **asdict(numbers)})
        return
    rows = [
        ("path", str(bank.path)),
        ("documents", f"{numbers.documents:,}"),
        ("chunks", f"{numbers.chunks:,}"),
        *([("pruned", f"{numbers.pruned:,}")] if numbers.pruned else []),
        *(
            [("in memory", f"{numbers.modulations:,} modulations")]
            if numbers.modulations < numbers.chunks - numbers.pruned
            else []
        ),
        ("tokens", f"{numbers.tokens:,}"),
        ("text", _of_each(numbers.text_bytes, numbers.chunks)),
        ("modulations", _of_each(numbers.modulation_bytes, numbers.chunks - numbers.pruned)),
        ("keys", _of_each(numbers.key_bytes, numbers.chunks - numbers.pruned)),
        *(
            [("index", _of_each(numbers.graph_bytes, numbers.chunks))]
            if numbers.graph_bytes
            else []
        ),
        ("on disk", size(numbers.total_bytes)),
        ("model", f"{numbers.model} ({numbers.fingerprint})"),
        ("made", numbers.created_at),
    ]
    for name, value in rows:
        out.text(f"{name:12} {value}")


def _of_each(octets: int, chunks: int) -> str:
    """Return a size, and how much of it a chunk has."""
    return f"{size(octets)}, {size(octets // chunks)} a chunk" if chunks else size(octets)


@store.command("path")
@options.store_option
def path(store_folder: str | None) -> None:
    """Print the folder of the store, whether or not it is there yet.

    \b
    Examples:
      mac store path
      du -sh "$(mac store path)"
    """
    Output().text(str(config.folder("store", store_folder)))


def _piece(chunk: ChunkRow) -> dict[str, object]:
    fields = ("position", "start", "end", "tokens", "bytes", "pruned", "sharing", "text")
    return {name: getattr(chunk, name) for name in fields}


def _pruned(document: Document) -> str:
    return f" ({document.pruned:,} pruned)" if document.pruned else ""


def _memory_of(chunk: ChunkRow) -> str:
    if chunk.pruned:
        return "pruned"
    shared = f", shared with {count(chunk.sharing, 'chunk')}" if chunk.sharing else ""
    return f"{count(chunk.tokens, 'token')}, {size(chunk.bytes)}{shared}"


def _write_document(out: Output, document: Document) -> None:
    lines: Sequence[tuple[str, str]] = [
        ("document", document.source),
        ("title", document.title or ""),
        ("type", f"{document.media_type}, {document.encoding}"),
        ("length", f"{count(document.characters, 'character')}"),
        (
            "memory",
            f"{count(document.chunks, 'chunk')}{_pruned(document)}, "
            f"{count(document.tokens, 'token')}, "
            f"{size(document.bytes)}",
        ),
        ("date", document.date or ""),
        ("tags", ", ".join(document.tags)),
        ("added", document.added_at),
        ("updated", document.updated_at),
    ]
    for name, value in lines:
        if value:
            out.text(f"{name:10} {value}")
