"""Reading what another store exported. Nothing in such a file is believed before it is checked.

A document is taken in only after the digest behind it was found right, and in one transaction. No
array is made before its size was compared with what the store's shapes allow.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

from store import documents, exporting, portable
from store.database import writing
from store.errors import FingerprintMismatchError
from store.exportfile import ExportFile, parsed
from store.keyblock import discard
from store.labels import Labels
from store.records import NewChunk

if TYPE_CHECKING:
    from store.codec import Codec
    from store.keyblock import KeyBlock
    from store.opening import Identity

Policy = Literal["replace", "skip"]

_HEADER_SLACK = 64 << 10


@dataclass(slots=True)
class Imported:
    """What an import did to documents; `many_dead` says that compacting the keys is worth it."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    many_dead: bool = False


def check(export: ExportFile, identity: Identity) -> None:
    """Raise unless the modulations of an export are of the store's kind."""
    header = export.header
    if header.fingerprint != identity.fingerprint:
        raise FingerprintMismatchError(
            f"{export.name} was written with checkpoint {header.fingerprint} ({header.model}), "
            f"this store with {identity.fingerprint}",
            stored=header.fingerprint,
            wanted=identity.fingerprint,
            hint="Import it into another store (--store DIR), and amortize its texts again with "
            "your checkpoint: mac store rebuild --store DIR",
        )
    if (header.key_size, header.latent_size) != (identity.key_size, identity.latent_size):
        raise export.damaged("its sizes are not those of its checkpoint")


def load(
    export: ExportFile,
    connection: sqlite3.Connection,
    codec: Codec,
    key_block: KeyBlock,
    policy: Policy,
) -> Imported:
    """Take in the documents of an export, each in a transaction of its own.

    Raises:
        ExportFormatError: the file is damaged, or holds what the store cannot.
        sqlite3.Error, OSError: of the store.
    """
    layout = portable.layout(connection)
    done = Imported()
    for line, parts in export.documents():
        try:
            values = layout.document.row(line["document"])
            source = values.get("source")
            if not isinstance(source, str) or not source:
                raise portable.ValueRefused("a document has no name")
            _check_labels(values, line)
            stored = exporting.record(connection, layout, source)
            if stored is not None and _same(line, stored[1]):
                done.unchanged += 1
            elif stored is not None and policy == "skip":
                done.skipped += 1
            else:
                incoming = _Incoming(connection, codec, key_block, layout)
                done.many_dead |= incoming.write(values, line, parts)
                done.added += stored is None
                done.updated += stored is not None
        except (portable.ValueRefused, sqlite3.IntegrityError) as error:
            raise export.damaged(str(error)) from error
    return done


def _same(line: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Whether the store holds what a document's line says; it may know more columns."""
    here = {**stored["document"], "chunks": stored["chunks"], "related": stored["related"]}
    there = {**line["document"], "chunks": line["chunks"], "related": line.get("related", {})}
    return all(name in here and here[name] == value for name, value in there.items())


def _check_labels(values: dict[str, Any], line: dict[str, Any]) -> None:
    """Make sure that a document's date and tags are such as `Labels` has."""
    related = line.get("related")
    tags = related.get("document_tags", []) if isinstance(related, dict) else []
    try:
        Labels(tags=tuple(row["tag"] for row in tags), date=values.get("date"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise portable.ValueRefused(f"a tag or date is none: {error}") from error


class _Incoming:
    """One document on its way into the store."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        codec: Codec,
        key_block: KeyBlock,
        layout: portable.Layout,
    ) -> None:
        self._connection = connection
        self._codec = codec
        self._key_block = key_block
        self._layout = layout

    def write(self, values: dict[str, Any], line: dict[str, Any], parts: IO[bytes]) -> bool:
        """Write the document; whether the key file should be compacted."""
        source = values["source"]
        with writing(self._connection):
            old = documents.find(self._connection, source)
            many_dead = old is not None and discard(
                self._connection, documents.delete_chunks(self._connection, old.id)
            )
            rewritten = self._key_block.prepare()
            document_id = documents.write_columns(self._connection, values)
            position = 0
            while raw := parts.readline():
                position += self._part(document_id, position, raw, parts)
            documents.count_again(self._connection, source)
            portable.write_related(
                self._connection, self._layout.of_documents, document_id, line.get("related", {})
            )
            documents.record(self._connection, "added" if old is None else "updated", source)
        if rewritten:
            self._key_block.clean()
        return many_dead

    def _part(self, document_id: int, position: int, raw: bytes, parts: IO[bytes]) -> int:
        line = parsed(raw) or {}
        rows = [_row(self._layout, row) for row in line["part"]]
        chunks = self._chunks(rows, parts.read(line["bytes"]))
        blobs = []
        for chunk in chunks:
            try:
                blobs.append(self._codec.encode(chunk.latents, chunk.scales, chunk.key))
            except ValueError as error:
                raise portable.ValueRefused(str(error)) from error
        positions = range(position, position + len(chunks))
        ids = documents.write_chunks(self._connection, document_id, positions, chunks, blobs)
        self._key_block.append(ids, [chunk.key for chunk in chunks])
        for chunk_id, row, given in zip(ids, rows, line["part"], strict=True):
            documents.set_columns(self._connection, chunk_id, row)
            if "related" in given:
                portable.write_related(
                    self._connection, self._layout.of_chunks, chunk_id, given["related"]
                )
        return len(ids)

    def _chunks(self, rows: list[dict[str, Any]], data: bytes) -> list[NewChunk]:
        """The chunks of a part, their arrays being views of the part's."""
        import numpy as np
        from safetensors import SafetensorError
        from safetensors.numpy import load as load_tensors

        total, chunks = sum(row["tokens"] for row in rows), len(rows)
        latent_size, key_size = self._codec.latent_size, self._codec.key_size
        expected = total * (latent_size + 2) + chunks * key_size * 2
        if not expected <= len(data) <= expected + _HEADER_SLACK:
            raise portable.ValueRefused(f"a part of {len(data):,} bytes holds {expected:,}")
        try:
            tensors = load_tensors(data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise portable.ValueRefused("a part is no safetensors file") from error
        wanted = {
            "latents": (np.dtype(np.int8), (total, latent_size)),
            "scales": (np.dtype(np.float16), (total,)),
            "keys": (np.dtype(np.float16), (chunks, key_size)),
        }
        if {name: (array.dtype, array.shape) for name, array in tensors.items()} != wanted:
            raise portable.ValueRefused("a part's arrays have other shapes than the store's")
        made, at = [], 0
        for row, key in zip(rows, tensors["keys"], strict=True):
            end = at + row["tokens"]
            latents, scales = tensors["latents"][at:end], tensors["scales"][at:end]
            made.append(NewChunk(row["start"], row["end"], row["text"], latents, scales, key))
            at = end
        return made


def _row(layout: portable.Layout, given: Any) -> dict[str, Any]:
    """A chunk's columns, checked."""
    from store.codec import MAX_TOKENS

    if not isinstance(given, dict):
        raise portable.ValueRefused("a chunk is no object")
    row = layout.chunk.row({name: value for name, value in given.items() if name != "related"})
    for name in ("start", "end", "text", "tokens"):
        if name not in row:
            raise portable.ValueRefused(f"a chunk has no {name}")
    numbers: Any = (row["start"], row["end"], row["tokens"])
    start, end, tokens = numbers
    if not (0 <= start <= end and 1 <= tokens <= MAX_TOKENS):
        raise portable.ValueRefused(f"a chunk goes from {start} to {end} and has {tokens} tokens")
    return row
