"""Taking what another store exported into a store, document by document.

The export is never attached to the store: its rows are read through a connection of their own (see
untrusted.py), checked (see exported.py), and written to the store as parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from store.errors import FingerprintMismatchError, translated
from store.index import chunks, documents, keys
from store.index.connection import INDEX_NAME
from store.moving.exported import SHARED, STATE, Export, opened
from store.moving.untrusted import damaged
from store.pruning import records
from store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.records import Advance

Policy = Literal["replace", "skip"]


@dataclass(slots=True)
class Imported:
    """What an import did: how many documents it added, updated, left alone or skipped."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0


def load(
    folder: Path,
    file: Path,
    policy: Policy = "replace",
    advance: Advance | None = None,
) -> Imported:
    """Take the documents of an export into the store in `folder`, which is made if need be.

    Each document is written in a transaction of its own, whole or not at all. A document that the
    store has in the same state is left alone, so that an import that was cut short is completed by
    running it again. What was kept to undo prunes is not taken over.

    Args:
        folder: of the store.
        file: the export.
        policy: "replace" documents of the same source, or "skip" them.
        advance: called with a number of bytes; they add up to the file's size.

    Raises:
        ExportFormatError: the file is not an export, or is damaged; the documents before the damage
            are kept.
        FingerprintMismatchError: another checkpoint wrote the exported store.
        StoreError: the file cannot be read, the store cannot be written, or the disk is full.
    """
    with opened(file) as export, _store_for(export, folder) as store:
        with translated(store.path):
            imported = _load(store, export, policy, advance or (lambda _: None))
            many_dead = keys.worth_compacting(store.connection)
        if many_dead:
            store.compact_keys()
    return imported


def _load(store: Store, export: Export, policy: Policy, advance: Advance) -> Imported:
    imported = Imported()
    incoming = _Incoming(store, export)
    ids = export.document_ids()
    same = {i for i in ids if incoming.recognise(i)}
    passed = 0
    for number, document_id in enumerate(ids, start=1):
        state = export.state(document_id)
        if document_id in same:
            imported.unchanged += 1
        elif incoming.stored(state[0]) is None:
            incoming.write(document_id, state)
            imported.added += 1
        elif policy == "skip":
            imported.skipped += 1
        else:
            incoming.write(document_id, state)
            imported.updated += 1
        read = export.size * number // len(ids)
        advance(read - passed)
        passed = read
    return imported


class _Incoming:
    """Documents on their way into the store."""

    def __init__(self, store: Store, export: Export) -> None:
        self._store = store
        self._connection = store.connection
        self._export = export
        # By the number of a merged modulation in the export, its number in the store.
        self._merged: dict[int, int] = {}

    def stored(self, source: str) -> tuple[Any, ...] | None:
        """Return the state of the store's document with this source."""
        row: tuple[Any, ...] | None = self._connection.execute(
            f"{STATE} source = ?", (source,)
        ).fetchone()
        return row

    def recognise(self, document_id: int) -> bool:
        """Return whether the store has a document in the same state.

        Merged modulations of it are then known to be in the store.
        """
        state = self._export.state(document_id)
        if self.stored(state[0]) != state:
            return False
        document = documents.find(self._connection, state[0])
        if document is not None:
            shared = dict(self._connection.execute(SHARED, (document.id,)))
            for position, number in self._export.shared(document_id):
                if position in shared and self._holds(shared[position], number):
                    self._merged.setdefault(number, shared[position])
        return True

    def write(self, document_id: int, state: tuple[Any, ...]) -> None:
        """Write a document in place of the one with the same source, in one transaction."""
        connection = self._connection
        values = self._export.values(state)
        tags = self._export.tags(document_id, values["date"])
        source = values["source"]
        with self._store.changing_chunks():
            old = documents.find(connection, source)
            if old is not None:
                keys.discard(connection, chunks.delete(connection, old.id))
            row = {**values, "chunks": 0, "tokens": 0, "bytes": 0, "text_bytes": 0}
            changed = ", ".join(f"{name} = excluded.{name}" for name in row if name != "source")
            (new_id,) = connection.execute(
                f"INSERT INTO documents ({', '.join(row)}) VALUES ({', '.join('?' * len(row))}) "
                f"ON CONFLICT (source) DO UPDATE SET {changed} RETURNING id",
                tuple(row.values()),
            ).fetchone()
            self._write_chunks(new_id, document_id, state)
            documents.count_again(connection, source)
            documents.write_labels(connection, new_id, tags, values["date"])

    def _write_chunks(self, new_id: int, document_id: int, state: tuple[Any, ...]) -> None:
        connection = self._connection
        ids: list[int] = []
        live: list[tuple[int, NDArray[np.float16]]] = []
        for chunk in self._export.chunks(document_id, state):
            merged_id = None if chunk.merged_id is None else self._place(chunk.merged_id)
            row = {
                "document_id": new_id,
                "position": chunk.position,
                "start": chunk.start,
                "end": chunk.end,
                "tokens": chunk.tokens,
                "bytes": 0,
                "merged_id": merged_id,
                "pruned": 0 if chunk.key is None else None,  # by a prune that cannot be undone
                "digest": chunks.digest(chunk.blob, chunk.text, chunk.context, chunk.marks),
                "text": chunk.text,
                "context": chunk.context,
                "marks": chunk.marks,
                "text_hash": chunks.text_hash(chunk.text),
            }
            chunk_id = chunks.insert(connection, row)
            ids.append(chunk_id)
            if chunk.key is not None:
                live.append((chunk_id, chunk.key))
            if chunk.blob is not None:
                values = (chunk_id, chunk.blob)
                connection.execute("INSERT INTO modulations (chunk_id, data) VALUES (?, ?)", values)
            if chunk.member is not None:
                connection.execute(
                    "INSERT INTO members (chunk_id, merged_id, data) VALUES (?, ?, ?)",
                    (chunk_id, merged_id, chunk.member),
                )
        keys.append(connection, [chunk_id for chunk_id, _ in live], [key for _, key in live])
        records.resize(connection, ids)

    def _place(self, number: int) -> int:
        """Return the store's number of a merged modulation, which is written if need be."""
        if number not in self._merged or not self._holds(self._merged[number], number):
            chunks, data = self._export.merged(number)
            cursor = self._connection.execute(
                "INSERT INTO merged (prune_id, chunks, data) VALUES (0, ?, ?)", (chunks, data)
            )
            self._merged[number] = int(cursor.lastrowid or 0)
        return self._merged[number]

    def _holds(self, merged_id: int, number: int) -> bool:
        # Not one that an `undo` would take away, or that another process has changed meanwhile.
        query = "SELECT 1 FROM merged WHERE id = ? AND prune_id = 0 AND data = ?"
        data = self._export.merged(number)[1]
        return self._connection.execute(query, (merged_id, data)).fetchone() is not None


@contextmanager
def _store_for(export: Export, folder: Path) -> Iterator[Store]:
    """Open the store to import into, and make sure that the export is of its kind."""
    identity = export.identity
    if (folder / INDEX_NAME).exists():
        destination = Store.open(folder)
    else:
        destination = Store.open(
            folder,
            fingerprint=identity.fingerprint,
            model=identity.model,
            key_size=identity.key_size,
            latent_size=identity.latent_size,
            create=True,
        )
    with destination as store:
        if identity.fingerprint != store.fingerprint:
            model = f" ({identity.model})" if identity.model else ""
            raise FingerprintMismatchError(
                f"{export.name} was written with checkpoint {identity.fingerprint}{model}, this "
                f"store with {store.fingerprint}",
                stored=identity.fingerprint,
                wanted=store.fingerprint,
                hint="Import it into another store (--store DIR), and amortize its texts again "
                "with your checkpoint: mac store rebuild --store DIR",
            )
        if (identity.key_size, identity.latent_size) != (store.key_size, store.latent_size):
            raise damaged(export.name, "its sizes are not those of its checkpoint")
        yield store
