"""Is the store whole? The database, every modulation, the keys, full-text search, the totals.

Chunks, their modulations and their keys are read side by side in the order of ids, so memory stays
that of one modulation and one row of keys, however large the store is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from store.errors import translated
from store.index import keys
from store.index.chunks import digest, text_hash
from store.index.connection import by_id, pragma, reading, writing
from store.pruning.records import SIZE

if TYPE_CHECKING:
    from store.records import Advance
    from store.store import Store

Kind = Literal["index", "reference", "document", "totals", "modulation", "keys", "search"]
Remedy = Literal["repair", "ingest", "restore"]

_TOTALS = """
    SELECT source, documents.chunks, count(chunks.id), expected,
        coalesce(min(position), 0), coalesce(max(position), -1),
        (documents.tokens, documents.bytes, text_bytes) = (coalesce(sum(chunks.tokens), 0),
        coalesce(sum(chunks.bytes), 0), coalesce(sum(length(CAST(text AS BLOB))), 0))
    FROM documents LEFT JOIN chunks ON document_id = documents.id GROUP BY documents.id
"""
_CHUNKS = f"""
    SELECT chunks.id, source, position, pruned IS NULL AND chunks.merged_id IS NULL,
        chunks.tokens, coalesce(chunks.bytes <> {SIZE}, false), text, context,
        marks, text_hash, data, digest
    FROM chunks LEFT JOIN documents ON documents.id = document_id
    LEFT JOIN modulations ON chunk_id = chunks.id ORDER BY chunks.id
"""
_SHARED = """
    SELECT chunks.id, source, position, chunks.merged_id, chunks.tokens, data
    FROM chunks LEFT JOIN documents ON documents.id = document_id
    LEFT JOIN members ON chunk_id = chunks.id AND members.merged_id = chunks.merged_id
    WHERE chunks.merged_id IS NOT NULL AND pruned IS NULL ORDER BY chunks.merged_id, chunks.id
"""
_MAX_LINES = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a store that is not as it must be.

    Attributes:
        kind: what is wrong.
        message: one line saying so.
        remedy: "repair" rebuilds it from what is stored; "ingest" asks for the document again;
            "restore": only a backup helps.
        source: source of the document it belongs to.
        chunk: id of the chunk it belongs to.
    """

    kind: Kind
    message: str
    remedy: Remedy
    source: str | None = None
    chunk: int | None = None


def verify(store: Store, advance: Advance | None = None) -> Iterator[Problem]:
    """Yield everything that is wrong with the store, as it is found; nothing if all is well.

    Memory is bounded, whatever the size of the store. Use up or close the iterator before writing.
    The texts are compared with full-text search only if the store can be written: SQLite wants the
    write lock for it, although it writes nothing.

    Args:
        store: the store.
        advance: called with the number of chunks looked at since the last call.

    Raises:
        StoreError: the store cannot be read for another reason than damage.
    """
    with translated(store.path), closing(_problems(store, advance or (lambda _: None))) as problems:
        yield from problems


def _problems(store: Store, advance: Advance) -> Generator[Problem, None, None]:
    """Yield all problems. All but the last check see one state of the store."""
    connection = store.connection
    try:
        with reading(connection):
            yield from _guarded(_check_database(connection))
            yield from _guarded(_check_references(connection))
            yield from _guarded(_check_totals(connection))
            yield from _guarded(_check_chunks(store, advance))
            yield from _guarded(_check_shared(store))
            yield from _guarded(_check_keys(store))
            yield from _guarded(_check_search(connection))
    except sqlite3.DatabaseError as error:
        # A damaged page can also keep the end of a transaction from succeeding.
        if not _is_damage(error):
            raise
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if store.writable:
        yield from _guarded(_check_words(connection))


def _check_database(connection: sqlite3.Connection) -> Iterator[Problem]:
    """Let SQLite look at its pages and indexes."""
    for (line,) in connection.execute(f"PRAGMA integrity_check({_MAX_LINES})"):
        if line == "ok":
            continue
        first = str(line).splitlines()[0]
        if "chunks_fts" in first:
            yield _search_problem()
            continue
        remedy: Remedy = "repair" if " index " in first else "restore"
        yield Problem("index", f"index.db: {first}", remedy)


def _check_references(connection: sqlite3.Connection) -> Iterator[Problem]:
    """Check that every row belongs to something."""
    lost: dict[tuple[str, str], int] = {}
    for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        lost[table, parent] = lost.get((table, parent), 0) + 1
    for (table, parent), number in lost.items():
        message = f"{number:,} rows of {table} belong to nothing in {parent}"
        yield Problem("reference", message, "repair")


def _check_totals(connection: sqlite3.Connection) -> Iterator[Problem]:
    """Check that every document has its chunks, and the sums of them."""
    for source, stated, number, expected, first, last, right in connection.execute(_TOTALS):
        if number < stated:
            message = f"{source}: {stated - number:,} of its {stated:,} chunks are missing"
            yield Problem("document", message, "ingest", source)
        elif first < 0 or last >= max(expected, number):
            message = f"{source}: its chunks are not where they belong"
            yield Problem("document", message, "ingest", source)
        elif number > min(stated, expected) or not right:
            message = f"{source}: its sums are not those of its chunks"
            yield Problem("totals", message, "repair", source)


def _check_chunks(store: Store, advance: Advance) -> Iterator[Problem]:
    """Check the text, the modulation and the sizes of every chunk."""
    version = pragma(store.connection, "user_version")
    for row in store.connection.execute(_CHUNKS):
        chunk_id, source, position, unshared, tokens, wrong_size, *words, hashed, blob, stored = row
        words = list(map(str, words))
        where = f"{source}, chunk {position}"
        advance(1)
        what = _damage(store, unshared, words, blob, stored)
        if what:
            yield Problem("modulation", f"{where}: {what}", "ingest", source, chunk_id)
        elif wrong_size or (blob is not None and store.codec.tokens(blob) != tokens):
            message = f"{where}: its sizes are not those of its modulation"
            yield Problem("totals", message, "repair", source, chunk_id)
        elif hashed != text_hash(words[0]) and version > 1:
            message = f"{where}: it is not found as a copy of its text"
            yield Problem("totals", message, "repair", source, chunk_id)


def _damage(
    store: Store, unshared: bool, words: Sequence[str], blob: Any, stored: Any
) -> str | None:
    """Return what is wrong with a chunk's text, context and marks, or with its own modulation."""
    from store.modulations.codec import BlobError

    if blob is None and not unshared:  # a prune replaced it, and can no longer be undone
        if stored == digest(None, *words):
            return None
        return "its text, or the modulation that undoing a prune needs, is lost"
    if not isinstance(blob, bytes):
        return "its modulation is missing"
    if stored == digest(blob, *words):
        # It is what was written. Decoding it too would take longer, and add nothing.
        return None
    try:
        store.codec.decode(blob)
    except BlobError as error:
        return f"its modulation is damaged: {error}"
    return "its text or modulation is not the one that was written"


def _check_shared(store: Store) -> Iterator[Problem]:
    """Check the modulations that chunks share. Memory is that of one of them."""
    from store.index.blobs import read_shared
    from store.modulations.codec import BlobError
    from store.modulations.shared import decode_member

    last, size, damage = 0, 0, ""
    for row in store.connection.execute(_SHARED):
        chunk_id, source, position, merged_id, tokens, blob = row
        if merged_id != last:
            last, damage = merged_id, ""
            try:
                size = len(read_shared(store.connection, store.codec, merged_id)[0])
            except BlobError as error:
                damage = str(error)
        try:
            if damage:
                raise BlobError(damage)
            rows = decode_member(blob if isinstance(blob, bytes) else b"")
            if rows.max() >= size:
                raise BlobError("it points beyond its set")
            if len(rows) != tokens:
                raise BlobError(f"it has {len(rows)} tokens instead of {tokens}")
        except BlobError as error:
            message = f"{source}, chunk {position}: its merged modulation is damaged: {error}"
            yield Problem("modulation", message, "ingest", source, chunk_id)


def _check_keys(store: Store) -> Iterator[Problem]:
    """Check that every chunk has its key, and that no other key counts. Takes 8 bytes a chunk."""
    import numpy as np

    connection = store.connection
    pieces = [np.empty(0, np.int64)]
    query = "SELECT first, last, count, checksum, ids, keys FROM key_blocks ORDER BY first"
    for row in connection.execute(query):
        try:
            ids, vectors = keys.decode(row, store.key_size)
        except keys.DamagedKeysError as error:
            yield Problem("keys", f"The keys are damaged: {error}", "repair")
            continue
        if len(pieces[-1]) and ids[0] <= pieces[-1][-1]:
            yield Problem("keys", f"The keys from chunk {ids[0]} on are out of order", "repair")
        elif not np.isfinite(vectors).all():
            yield Problem("keys", f"The keys from chunk {ids[0]} on are not finite", "repair")
        else:
            pieces.append(ids)
    stored = np.concatenate(pieces)
    dead = keys.sorted_ids(connection, "SELECT chunk_id FROM dead_keys")
    used = keys.sorted_ids(connection, "SELECT id FROM chunks WHERE pruned IS NULL")
    stray = np.setdiff1d(np.setdiff1d(stored, dead), used)
    hidden = np.intersect1d(used, dead)
    for number, what in ((len(stray), "of chunks that are not there"), (len(hidden), "not read")):
        if number:
            yield Problem("keys", f"{number:,} keys are {what}", "repair")
    needed = keys.sorted_ids(
        connection, "SELECT id FROM chunks WHERE pruned IS NULL OR pruned <> 0"
    )
    missing = np.setdiff1d(needed, stored).tolist()
    query = "SELECT source, chunks.id FROM chunks JOIN documents ON document_id = documents.id"
    rows = by_id(connection, f"{query} WHERE chunks.id", missing)
    for source, group in groupby(sorted(rows), key=lambda row: row[0]):
        message = f"{source}: {sum(1 for _ in group):,} of its chunks have no key"
        yield Problem("keys", message, "ingest", source)


def _check_search(connection: sqlite3.Connection) -> Iterator[Problem]:
    """Check that full-text search knows every chunk and no other."""
    for query in (
        "SELECT 1 FROM chunks LEFT JOIN chunks_fts_docsize AS known ON known.id = chunks.id "
        "WHERE known.id IS NULL LIMIT 1",
        "SELECT 1 FROM chunks_fts_docsize AS known LEFT JOIN chunks ON known.id = chunks.id "
        "WHERE chunks.id IS NULL LIMIT 1",
    ):
        if connection.execute(query).fetchone():
            yield _search_problem()
            return


def _check_words(connection: sqlite3.Connection) -> Iterator[Problem]:
    """Check that full-text search holds the words of the texts: SQLite compares them all."""
    try:
        with writing(connection):
            connection.execute(
                "INSERT INTO chunks_fts (chunks_fts, rank) VALUES ('integrity-check', 1)"
            )
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
        yield _search_problem()


def _search_problem() -> Problem:
    return Problem("search", "Full-text search does not match the chunks' texts", "repair")


def _guarded(check: Iterator[Problem]) -> Iterator[Problem]:
    """Yield a check's problems; damage that ends the check is one more."""
    try:
        yield from check
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
        yield Problem("index", f"index.db: {error}", "restore")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    undecodable = str(error).startswith("Could not decode to UTF-8")
    return undecodable or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
