"""Reading what another store exported. Nothing in such a file is believed before it is checked.

A document is taken in only after the digest behind it was found right, and in one transaction. No
array is made before its size was compared with what the store's shapes allow.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

from store import documents, exporting, portable, prunes
from store.database import writing
from store.errors import FingerprintMismatchError
from store.exportfile import ExportFile, parsed
from store.keyblock import discard
from store.labels import Labels

if TYPE_CHECKING:
    from store.keyblock import KeyBlock
    from store.opening import Identity
    from store.shares import Arrived
    from store.views import Views

Policy = Literal["replace", "skip"]


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
    views: Views,
    key_block: KeyBlock,
    policy: Policy,
) -> Imported:
    """Take in the documents of an export, each in a transaction of its own.

    Raises:
        ExportFormatError: the file is damaged, or holds what the store cannot.
        sqlite3.Error, OSError: of the store.
    """
    from store.shares import Arrived

    layout = portable.layout(connection)
    done = Imported()
    with Arrived(views.shared) as shared:
        incoming = _Incoming(connection, views, key_block, layout, shared)
        for line, parts in export.documents():
            try:
                values = layout.document.row(line["document"])
                source = values.get("source")
                if not isinstance(source, str) or not source:
                    raise portable.ValueRefused("a document has no name")
                _check_labels(values, line)
                stored = exporting.record(connection, layout, source)
                same = stored is not None and _same(line, stored[1])
                if stored is not None and (same or policy == "skip"):
                    incoming.pass_over(parts, stored[0] if same else None)
                    done.unchanged += same
                    done.skipped += not same
                else:
                    done.many_dead |= incoming.write(values, line, parts)
                    done.added += stored is None
                    done.updated += stored is not None
            except (portable.ValueRefused, sqlite3.IntegrityError) as error:
                raise export.damaged(str(error)) from error
    return done


def _same(line: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Whether the store holds what a document's line says; it may know more columns."""
    here = {**stored["document"], "related": stored["related"]}
    there = {**line["document"], "related": line.get("related", {})}
    if any(stored.get(count, 0) != line.get(count, 0) for count in ("chunks", *exporting.PRUNED)):
        return False
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
    """Documents on their way into the store."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        views: Views,
        key_block: KeyBlock,
        layout: portable.Layout,
        shared: Arrived,
    ) -> None:
        self._connection = connection
        self._views = views
        self._key_block = key_block
        self._layout = layout
        self._shared = shared

    def pass_over(self, parts: IO[bytes], document_id: int | None) -> None:
        """Leave a document out, but for what others may share with it.

        Args:
            parts: of the document.
            document_id: of the store's document, if that is the same.
        """
        numbers: list[int | None] = []
        for line, data in _lines(parts):
            if "shared" in line:
                self._shared.add(line["shared"], data)
            else:
                for row in line["part"]:
                    number = row.get("shared") if isinstance(row, dict) else None
                    numbers.append(number)
        if document_id is not None:
            self._shared.recognise(self._connection, document_id, numbers)

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
            for part, data in _lines(parts):
                if "shared" in part:
                    self._shared.add(part["shared"], data)
                else:
                    position += self._part(document_id, position, part["part"], data)
            documents.count_again(self._connection, source)
            portable.write_related(
                self._connection, self._layout.of_documents, document_id, line.get("related", {})
            )
            documents.record(self._connection, "added" if old is None else "updated", source)
        if rewritten:
            self._key_block.clean()
        return many_dead

    def _part(self, document_id: int, position: int, given: list[Any], data: bytes) -> int:
        from store import parts

        chunks = parts.read(given, data, self._layout, self._views, self._shared)
        positions = range(position, position + len(chunks))
        ids = documents.write_chunks(
            self._connection,
            document_id,
            positions,
            [c.new for c in chunks],
            [c.blob for c in chunks],
        )
        placed = list(zip(ids, chunks, strict=True))
        there = [(chunk_id, chunk.new.key) for chunk_id, chunk in placed if not chunk.dropped]
        self._key_block.append([chunk_id for chunk_id, _ in there], [key for _, key in there])
        self._shared.take_in(
            self._connection,
            [(chunk_id, c.shared, c.part) for chunk_id, c in placed if c.shared is not None],
        )
        # 0: by a prune that cannot be undone.
        prunes.drop(self._connection, 0, [chunk_id for chunk_id, c in placed if c.dropped])
        for chunk_id, chunk in placed:
            documents.set_columns(self._connection, chunk_id, chunk.row)
            if chunk.related is not None:
                portable.write_related(
                    self._connection, self._layout.of_chunks, chunk_id, chunk.related
                )
        return len(ids)


def _lines(parts: IO[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The lines of a document's parts, each with the bytes behind it."""
    while raw := parts.readline():
        line = parsed(raw) or {}
        yield line, parts.read(line["bytes"])
