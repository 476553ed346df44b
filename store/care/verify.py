"""Is the store whole? Every modulation, the index, the keys, full-text search, the totals.

Chunks, their modulations and their keys are walked through side by side in the order of ids, so
memory stays that of one modulation and one block of keys, however large the store is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from store import digests
from store.database import reading, writing
from store.keycheck import KeyCheck
from store.prunes import SIZE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.keyblock import KeyBlock
    from store.views import Views

Kind = Literal[
    "index", "reference", "document", "totals", "modulation", "digest", "keys", "search", "graph"
]
Remedy = Literal["repair", "ingest", "restore", "index"]

_Found = tuple[Kind, str, Remedy]

_CHUNKS = f"""
    SELECT chunks.id, source, position, pruned IS NULL, chunks.merged_id IS NOT NULL, chunks.tokens,
        coalesce(chunks.bytes <> {SIZE}, false), modulations.data, members.data, digest
    FROM chunks LEFT JOIN documents ON documents.id = document_id
    LEFT JOIN modulations ON modulations.chunk_id = chunks.id
    LEFT JOIN members ON members.chunk_id = chunks.id AND members.merged_id = chunks.merged_id
    LEFT JOIN digests ON digests.chunk_id = chunks.id ORDER BY chunks.id
"""
_MAX_LINES = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a store that is not as it must be.

    Attributes:
        kind: what is wrong.
        message: one line saying so.
        remedy: "repair" rebuilds it from what is there; "ingest" asks for the document again;
            "restore": only a backup helps; "index": a repair deletes it, `Store.index_keys` makes
            it anew.
        source: of the document it belongs to.
        chunk: id of the chunk it belongs to.
    """

    kind: Kind
    message: str
    remedy: Remedy
    source: str | None = None
    chunk: int | None = None


class Verification:
    """One look at a store through its connection.

    Args:
        connection: to the index.
        views: to read modulations.
        key_block: the store's keys.
        writable: whether SQLite may be asked to compare texts and full-text search, for which it
            wants the write lock although it writes nothing.
        advance: called with the number of chunks looked at since the last call.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        views: Views,
        key_block: KeyBlock,
        *,
        writable: bool,
        advance: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._views = views
        self._key_block = key_block
        self._writable = writable
        self._advance = advance

    def problems(self) -> Generator[Problem, None, None]:
        """Everything that is wrong, as it is found. All but the last check see one state.

        Do not write to the store before the iterator is exhausted or closed.

        Raises:
            sqlite3.Error: other than for damage, such as another process's lock.
        """
        checks: list[Callable[[], Iterator[Problem]]] = [
            self._database,
            self._references,
            self._totals,
            self._modulations,
            self._shared,
            self._found_words,
        ]
        try:
            with reading(self._connection):
                for check in checks:
                    yield from _guarded(check)
        except sqlite3.DatabaseError as error:
            # A damaged page can also keep the end of a transaction from succeeding.
            if not _is_damage(error):
                raise
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        if self._writable:
            yield from _guarded(self._words)

    def _database(self) -> Iterator[Problem]:
        for (line,) in self._connection.execute(f"PRAGMA integrity_check({_MAX_LINES})"):
            if line == "ok":
                continue
            first = str(line).splitlines()[0]
            if "chunks_fts" in first:
                yield _search_problem()
                continue
            remedy: Remedy = "repair" if " index " in first else "restore"
            yield Problem("index", f"index.db: {first}", remedy)

    def _references(self) -> Iterator[Problem]:
        lost: dict[tuple[str, str], int] = {}
        for table, _, parent, _ in self._connection.execute("PRAGMA foreign_key_check"):
            lost[table, parent] = lost.get((table, parent), 0) + 1
        for (table, parent), number in lost.items():
            message = f"{number:,} rows of {table} belong to nothing in {parent}"
            yield Problem("reference", message, "repair")

    def _totals(self) -> Iterator[Problem]:
        rows = self._connection.execute(
            "SELECT source, documents.chunks, count(chunks.id), documents.tokens, "
            "coalesce(sum(chunks.tokens), 0), documents.bytes, coalesce(sum(chunks.bytes), 0), "
            "text_bytes, coalesce(sum(length(CAST(text AS BLOB))), 0) "
            "FROM documents LEFT JOIN chunks ON document_id = documents.id GROUP BY documents.id"
        )
        for source, stated, found, *sums in rows:
            if found < stated:
                message = f"{source}: {stated - found:,} of its {stated:,} chunks are missing"
                yield Problem("document", message, "ingest", source)
            elif found > stated or sums[0::2] != sums[1::2]:
                message = f"{source}: its sums are not those of its chunks"
                yield Problem("totals", message, "repair", source)

    def _modulations(self) -> Iterator[Problem]:
        with closing(KeyCheck(self._key_block)) as keys:
            for row in self._connection.execute(_CHUNKS):
                (
                    chunk_id,
                    source,
                    position,
                    there,
                    shared,
                    tokens,
                    wrong_size,
                    blob,
                    part,
                    digest,
                ) = row
                where = f"{source}, chunk {position}"
                key = None
                problem: _Found | None = None
                # Of a chunk that was dropped or merged it is there only to undo that.
                if blob is not None or digest is not None or (there and not shared):
                    problem, key = self._modulation(where, tokens, blob, digest)
                if shared:
                    key = self._key(part)
                if problem is None and wrong_size and (key is not None or not there):
                    message = f"{where}: its sizes are not those of its modulation"
                    problem = "totals", message, "repair"
                if there:
                    keys.compare(chunk_id, key)
                if problem:
                    kind, message, remedy = problem
                    yield Problem(kind, message, remedy, source, chunk_id)
                self._advance(1)
            for message in keys.problems():
                yield Problem("keys", message, "repair")

    def _modulation(
        self, where: str, tokens: int, blob: Any, digest: Any
    ) -> tuple[_Found | None, NDArray[np.float16] | None]:
        """What is wrong with one modulation, and its key float16 [E] if that can be read."""
        from store.codec import BlobError

        codec = self._views.codec
        if not isinstance(blob, bytes):
            return ("modulation", f"{where}: its modulation is missing", "ingest"), None
        try:
            # With the right digest it is what was written: decoding would take longer, and add
            # nothing.
            right = digest == digests.digest(blob)
            found = codec.tokens(blob) if right else len(codec.decode(blob)[0])
            key = codec.key(blob)
        except BlobError as error:
            return ("modulation", f"{where}: its modulation is damaged: {error}", "ingest"), None
        if digest is None:
            return ("digest", f"{where}: its modulation has no digest", "repair"), key
        if not right:
            message = f"{where}: its modulation is not the one that was written"
            return ("modulation", message, "ingest"), key
        if found != tokens:
            return ("totals", f"{where}: its sizes are not those of its modulation", "repair"), key
        return None, key

    def _key(self, part: Any) -> NDArray[np.float16] | None:
        """The key float16 [E] in a chunk's part of a merged modulation, if that can be read."""
        from store.codec import BlobError
        from store.views import key_of

        with suppress(BlobError):
            return key_of(part or b"", self._views.codec)
        return None

    def _shared(self) -> Iterator[Problem]:
        """The modulations that chunks share, each with all of its chunks."""
        from store.views import problems

        for chunk_id, what in problems(self._connection, self._views):
            query = (
                "SELECT source, position FROM chunks JOIN documents ON documents.id = document_id "
                "WHERE chunks.id = ?"
            )
            source, position = self._connection.execute(query, (chunk_id,)).fetchone() or (None, 0)
            message = f"{source}, chunk {position}: its merged modulation is damaged: {what}"
            yield Problem("modulation", message, "ingest", source, chunk_id)

    def _found_words(self) -> Iterator[Problem]:
        """Whether full-text search knows every chunk and no other."""
        for query in (
            "SELECT 1 FROM chunks LEFT JOIN chunks_fts_docsize AS known ON known.id = chunks.id "
            "WHERE known.id IS NULL LIMIT 1",
            "SELECT 1 FROM chunks_fts_docsize AS known LEFT JOIN chunks ON known.id = chunks.id "
            "WHERE chunks.id IS NULL LIMIT 1",
        ):
            if self._connection.execute(query).fetchone():
                yield _search_problem()
                return

    def _words(self) -> Iterator[Problem]:
        """Whether full-text search holds the words of the texts: SQLite compares them all."""
        try:
            with writing(self._connection):
                self._connection.execute(
                    "INSERT INTO chunks_fts (chunks_fts, rank) VALUES ('integrity-check', 1)"
                )
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            yield _search_problem()


def _search_problem() -> Problem:
    return Problem("search", "Full-text search does not match the chunks' texts", "repair")


def _guarded(check: Callable[[], Iterator[Problem]]) -> Iterator[Problem]:
    """A check's problems; damage that ends the check is one more."""
    try:
        yield from check()
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
        yield Problem("index", f"index.db: {error}", "restore")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
