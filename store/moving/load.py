"""Reading what another store exported. Nothing in such a file is believed before it is checked.

The file is opened read-only by a connection of its own, which runs no code of the file (no views,
triggers or functions), and must have exactly the tables of a new store. Its rows are read one by
one, checked, and written to the store as parameters. No array is made before its size was compared
with what the store's shapes allow.
"""

from __future__ import annotations

import re
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from store.errors import (
    ExportFormatError,
    FingerprintMismatchError,
    StoreCorruptError,
    StoreError,
    corrupt,
    translated,
)
from store.index import documents, keys, schema
from store.index.connection import INDEX_NAME, writing
from store.index.opening import Identity, check_unchanged, read_identity
from store.labels import Labels
from store.pruning import records
from store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.index.keys import Block
    from store.modulations.codec import Codec

Policy = Literal["replace", "skip"]

_MAGIC = b"SQLite format 3\0"
_MAX_VALUE = 128 << 20  # bytes of a text or blob
_LARGEST = (1 << 53) - 1
_READ = (
    "meta",
    "documents",
    "document_tags",
    "chunks",
    "modulations",
    "merged",
    "members",
    "key_blocks",
)
_COLUMNS = (
    "source",
    "title",
    "content_hash",
    "chunking",
    "expected",
    "characters",
    "media_type",
    "encoding",
    "date",
    "added_at",
    "updated_at",
)
_OPTIONAL = ("title", "date")
# Everything that tells two states of a document apart, apart from sizes on disk.
_STATE = (
    f"SELECT {', '.join(_COLUMNS)}, chunks, tokens, text_bytes, "
    "(SELECT count(*) FROM chunks WHERE document_id = documents.id AND pruned IS NOT NULL), "
    "(SELECT count(*) FROM chunks WHERE document_id = documents.id AND pruned IS NULL "
    "AND merged_id IS NOT NULL), "
    "(SELECT group_concat(tag) FROM (SELECT tag FROM document_tags "
    "WHERE document_id = documents.id ORDER BY tag)) FROM documents WHERE "
)
_CHUNKS = (
    'SELECT chunks.id, position, start, "end", tokens, pruned IS NOT NULL, chunks.merged_id, '
    "digest, text, modulations.data, members.data FROM chunks "
    "LEFT JOIN modulations ON modulations.chunk_id = chunks.id "
    "LEFT JOIN members ON members.chunk_id = chunks.id AND members.merged_id = chunks.merged_id "
    "WHERE document_id = ? ORDER BY position"
)
_SHARED = (
    "SELECT position, merged_id FROM chunks "
    "WHERE document_id = ? AND merged_id IS NOT NULL AND pruned IS NULL"
)


@dataclass(slots=True)
class Imported:
    """What an import did: how many documents it added, updated, left alone or skipped."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0


class _Chunk(NamedTuple):
    """A checked chunk of an export; one of `blob`, `merged_id` with `member`, and none is given."""

    position: int
    start: int
    end: int
    tokens: int
    text: str
    key: NDArray[np.float16] | None
    blob: bytes | None
    merged_id: int | None
    member: bytes | None


def load(
    folder: Path,
    file: Path,
    policy: Policy = "replace",
    advance: Callable[[int], None] | None = None,
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
        ExportFormatError: the file is no export, or is damaged; the documents before the damage
            are kept.
        FingerprintMismatchError: another checkpoint wrote the exported store.
        StoreError: the file cannot be read, the store cannot be written, or the disk is full.
    """
    with _open(file) as export, _store_for(export, folder) as store:
        with translated(store.path):
            imported = _load(store, export, policy, advance or (lambda _: None))
            many_dead = keys.discard(store.connection, ())
        if many_dead:
            store.compact_keys()
    return imported


def _load(
    store: Store, export: _Export, policy: Policy, advance: Callable[[int], None]
) -> Imported:
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

    def __init__(self, store: Store, export: _Export) -> None:
        self._store = store
        self._connection = store.connection
        self._export = export
        # By the number of a merged modulation in the export, its number in the store.
        self._merged: dict[int, int] = {}

    def stored(self, source: str) -> tuple[Any, ...] | None:
        """Return the state of the store's document with this source."""
        row: tuple[Any, ...] | None = self._connection.execute(
            f"{_STATE} source = ?", (source,)
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
            shared = dict(self._connection.execute(_SHARED, (document.id,)))
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
        with writing(connection):
            check_unchanged(connection, self._store.path, self._store.identity)
            old = documents.find(connection, source)
            if old is not None:
                keys.discard(connection, documents.delete_chunks(connection, old.id))
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
            cursor = connection.execute(
                'INSERT INTO chunks (document_id, position, start, "end", text, tokens, bytes, '
                "merged_id, pruned, digest) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
                (
                    new_id,
                    chunk.position,
                    chunk.start,
                    chunk.end,
                    chunk.text,
                    chunk.tokens,
                    merged_id,
                    0 if chunk.key is None else None,  # by a prune that cannot be undone
                    documents.digest(chunk.text, chunk.blob),
                ),
            )
            chunk_id = int(cursor.lastrowid or 0)
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


class _Export:
    """An exported store, read through a connection that cannot write and runs nothing of it.

    Attributes:
        size: of the file in bytes.
        identity: what the exported store is.
    """

    def __init__(
        self, name: str, size: int, connection: sqlite3.Connection, identity: Identity
    ) -> None:
        self.name = name
        self.size = size
        self.identity = identity
        self._connection = connection
        self._keys: Block | None = None
        self._merged_sizes: dict[int, int] = {}

    @property
    def _codec(self) -> Codec:
        from store.modulations.codec import Codec

        return Codec(self.identity.latent_size)

    def document_ids(self) -> list[int]:
        """Return the numbers of all documents."""
        with _guarded(self.name):
            query = "SELECT id FROM documents ORDER BY id"
            return [row[0] for row in self._connection.execute(query)]

    def state(self, document_id: int) -> tuple[Any, ...]:
        """Return the state of a document, as `_STATE` has it; its source is a proper name."""
        with _guarded(self.name):
            state: tuple[Any, ...] = self._connection.execute(
                f"{_STATE} id = ?", (document_id,)
            ).fetchone()
        if not isinstance(state[0], str) or not state[0]:
            raise _damaged(self.name, "a document has no name")
        return state

    def values(self, state: tuple[Any, ...]) -> dict[str, Any]:
        """Return the checked columns of a document."""
        values = dict(zip(_COLUMNS, state[: len(_COLUMNS)], strict=True))
        for name, value in values.items():
            if name in ("expected", "characters"):
                good = _whole(value)
            else:
                good = isinstance(value, str) or (value is None and name in _OPTIONAL)
            if good and name.endswith("_at"):
                good = _is_time(value)
            if not good:
                raise _damaged(self.name, f"{name} of {_quoted(state[0])} is {_quoted(value)}")
        return values

    def tags(self, document_id: int, date: str | None) -> tuple[str, ...]:
        """Return the checked tags of a document with this date."""
        with _guarded(self.name):
            query = "SELECT tag FROM document_tags WHERE document_id = ?"
            tags = [row[0] for row in self._connection.execute(query, (document_id,))]
        try:
            return Labels(tags=tuple(sorted(tags)), date=date).tags
        except (ValueError, TypeError) as error:
            raise _damaged(self.name, f"a tag or date is none: {error}") from error

    def shared(self, document_id: int) -> list[tuple[int, int]]:
        """Return position and merged modulation of the chunks that share one."""
        with _guarded(self.name):
            rows: list[tuple[int, int]] = self._connection.execute(
                _SHARED, (document_id,)
            ).fetchall()
        return rows

    def chunks(self, document_id: int, state: tuple[Any, ...]) -> Iterator[_Chunk]:
        """Yield the checked chunks of a document in the order of their positions.

        Raises:
            ExportFormatError: one is damaged, is missing, or does not fit.
        """
        expected, count = state[_COLUMNS.index("expected")], state[len(_COLUMNS)]
        source = _quoted(state[0])
        last, number = -1, 0
        with _guarded(self.name):
            for chunk_id, *row in self._connection.execute(_CHUNKS, (document_id,)):
                position = row[0]
                if not _whole(position) or not last < position < expected:
                    raise _damaged(self.name, f"a chunk of {source} has no place in it")
                try:
                    yield self._chunk(chunk_id, row)
                except _RefusedError as error:
                    raise _damaged(self.name, f"chunk {position} of {source}: {error}") from error
                last = position
                number += 1
        if number != count:
            raise _damaged(self.name, f"{source} has {number} chunks instead of {count}")

    def merged(self, number: int) -> tuple[int, bytes]:
        """Return for how many chunks a modulation was merged, and its blob."""
        with _guarded(self.name):
            query = "SELECT chunks, data FROM merged WHERE id = ?"
            row = self._connection.execute(query, (number,)).fetchone()
        if row is None or not _whole(row[0]) or not row[0] or not isinstance(row[1], bytes):
            raise _damaged(self.name, f"there is no merged modulation {number}")
        return row[0], row[1]

    def _chunk(self, chunk_id: int, row: Sequence[Any]) -> _Chunk:
        from store.modulations.codec import MAX_TOKENS, BlobError

        position, start, end, tokens, dropped, merged_id, digest, text, blob, member = row
        if not isinstance(text, str) or not (isinstance(blob, bytes) or blob is None):
            raise _RefusedError("it has no text")
        if not (_whole(start) and _whole(end) and start <= end):
            raise _RefusedError(f"it goes from {_quoted(start)} to {_quoted(end)}")
        if not (_whole(tokens) and 1 <= tokens <= MAX_TOKENS):
            raise _RefusedError(f"it has {_quoted(tokens)} tokens")
        if digest != documents.digest(text, blob):
            raise _RefusedError("its text or modulation is not the one that was written")
        place = (position, start, end, tokens, text)
        if dropped:
            return _Chunk(*place, None, None, None, None)
        try:
            key = self._key(chunk_id)
            if merged_id is not None:
                self._check_member(merged_id, member, tokens)
                return _Chunk(*place, key, None, merged_id, member)
            if blob is None:
                raise _RefusedError("its modulation is missing")
            if len(self._codec.decode(blob)[0]) != tokens:
                raise _RefusedError("its modulation is of another length")
        except BlobError as error:
            raise _RefusedError(f"its modulation is damaged: {error}") from error
        return _Chunk(*place, key, blob, None, None)

    def _check_member(self, merged_id: int, member: Any, tokens: int) -> None:
        from store.modulations.shared import decode_member

        if merged_id not in self._merged_sizes:
            data = self.merged(merged_id)[1]
            self._merged_sizes[merged_id] = len(self._codec.decode(data)[0])
        rows = decode_member(member if isinstance(member, bytes) else b"")
        if len(rows) != tokens or rows.max() >= self._merged_sizes[merged_id]:
            raise _RefusedError("its part of a merged modulation does not fit")

    def _key(self, chunk_id: int) -> NDArray[np.float16]:
        """Return the key float16 [E] of a chunk."""
        import numpy as np

        if self._keys is None or not self._keys[0][0] <= chunk_id <= self._keys[0][-1]:
            row = self._connection.execute(
                "SELECT first, last, count, checksum, ids, keys FROM key_blocks "
                "WHERE first <= ? ORDER BY first DESC LIMIT 1",
                (chunk_id,),
            ).fetchone()
            try:
                self._keys = keys.decode(row, self.identity.key_size) if row else None
            except (keys.DamagedKeysError, TypeError) as error:
                raise _RefusedError(f"its key is damaged: {error}") from error
        if self._keys is not None:
            ids, vectors = self._keys
            at = int(np.searchsorted(ids, chunk_id))
            if at < len(ids) and ids[at] == chunk_id and np.isfinite(vectors[at]).all():
                key: NDArray[np.float16] = vectors[at]
                return key
        raise _RefusedError("it has no key")


class _RefusedError(Exception):
    """A chunk cannot be taken over."""


@contextmanager
def _open(file: Path) -> Iterator[_Export]:
    """Open an export once its header, its schema and its pages are found to be right."""
    name = _printable(str(file))
    try:
        size = file.stat().st_size
        with open(file, "rb") as stream:
            header = stream.read(100)
    except OSError as error:
        raise StoreError(f"{name} cannot be read: {error.strerror or error}") from error
    _check_header(name, header, size)
    # Nobody else writes an export, so nothing of SQLite's is wanted beside it.
    uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
    with _guarded(name):
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    with closing(connection):
        with _guarded(name):
            _restrict(connection)
            _check_schema(name, connection)
            for table in _READ:
                ((line, *_),) = connection.execute(f"PRAGMA integrity_check({table})").fetchmany(1)
                if line != "ok":
                    raise _damaged(name, str(line))
            identity = _read_identity(name, connection, file)
        yield _Export(name, size, connection, identity)


def _read_identity(name: str, connection: sqlite3.Connection, file: Path) -> Identity:
    """Read which store the export is of."""
    odd = "SELECT 1 FROM meta WHERE typeof(key) <> 'text' OR typeof(value) <> 'text'"
    try:
        if connection.execute(odd).fetchone():
            raise corrupt(file, "index.db says something that is no text")
        identity = read_identity(connection, file)
    except StoreCorruptError as error:
        raise _damaged(name, "it does not say which store it is of") from error
    if not (identity.fingerprint.isprintable() and identity.model.isprintable()):
        raise _damaged(name, "it does not say which store it is of")
    return identity


def _check_header(name: str, header: bytes, size: int) -> None:
    """Look at the first bytes before SQLite does."""
    if len(header) < 100 or header[:16] != _MAGIC:
        raise _no_export(name)
    (page,) = struct.unpack_from(">H", header, 16)
    pages, encoding, version, application = (
        struct.unpack_from(">I", header, offset)[0] for offset in (28, 56, 60, 68)
    )
    if application != schema.APPLICATION_ID:
        raise _no_export(name)
    if version > schema.VERSION:
        raise ExportFormatError(
            f"{name} is an export of schema version {version}; this program reads versions up to "
            f"{schema.VERSION}",
            hint="Upgrade this program.",
        )
    if header[18:20] != b"\1\1":
        raise ExportFormatError(
            f"{name} is the database of a store in use, not an export",
            hint="Export the store it belongs to: mac store export FILE",
        )
    if version != schema.VERSION or encoding != 1:
        raise _damaged(name, "its header is not that of a store")
    if size != pages * (65536 if page == 1 else page):
        raise _damaged(name, "it is cut short, or something was added to it")


def _restrict(connection: sqlite3.Connection) -> None:
    """Let a connection read tables, and do nothing else."""
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW, False)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "query_only = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _check_schema(name: str, connection: sqlite3.Connection) -> None:
    """Make sure that the tables, indexes and triggers are those of a new store, and no others."""
    objects = frozenset(
        (kind, title, table, _normal(sql))
        for kind, title, table, sql in connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master"
        )
    )
    wanted = _new_schema()
    for kind, title, *_ in sorted(map(_texts, objects - wanted)):
        raise _damaged(name, f"its {_printable(kind)} {_quoted(title)} is not a store's")
    for kind, title, *_ in sorted(map(_texts, wanted - objects)):
        raise _damaged(name, f"its {kind} {title} is missing")


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    """Return the values as text, which can be sorted whatever they are."""
    return tuple(map(str, values))


@cache
def _new_schema() -> frozenset[tuple[str, str, str, str | None]]:
    """Return type, name, table and SQL of everything that a new store's database consists of."""
    from sqlite_utils import Database

    database = Database(memory=True, execute_plugins=False)
    with closing(database.conn):
        schema.migrate(database)
        rows = database.conn.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
        return frozenset((kind, name, table, _normal(sql)) for kind, name, table, sql in rows)


def _normal(sql: Any) -> str | None:
    """Return SQL without the white space and the quotes that versions of sqlite-utils differ in."""
    if sql is None:
        return None
    text = re.sub(r'"(\w+)"|\[(\w+)\]|`(\w+)`', lambda match: match[match.lastindex or 0], str(sql))
    return re.sub(r"\s*([(),;])\s*", r"\1", re.sub(r"\s+", " ", text)).strip()


@contextmanager
def _store_for(export: _Export, folder: Path) -> Iterator[Store]:
    """Open the store to import into, and make sure that the export is of its kind."""
    identity = export.identity
    if (folder / INDEX_NAME).exists():
        opened = Store.open(folder)
    else:
        opened = Store.open(
            folder,
            fingerprint=identity.fingerprint,
            model=identity.model,
            key_size=identity.key_size,
            latent_size=identity.latent_size,
            create=True,
        )
    with opened as store:
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
            raise _damaged(export.name, "its sizes are not those of its checkpoint")
        yield store


@contextmanager
def _guarded(name: str) -> Iterator[None]:
    """Turn SQLite's errors about the file into one that names it."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
        raise _damaged(name, str(error)) from error


def _no_export(name: str) -> ExportFormatError:
    return ExportFormatError(
        f"{name} is not an export of a store", hint="Make one with: mac store export FILE"
    )


def _damaged(name: str, what: str) -> ExportFormatError:
    return ExportFormatError(
        f"{name} is damaged: {_printable(what)}",
        hint="Export the store again. What was imported before the damage is kept.",
    )


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _quoted(value: Any) -> str:
    return repr(value)[:60]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]
