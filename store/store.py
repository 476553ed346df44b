"""The store: documents, their chunks, and the chunks' modulations and keys, in one folder.

T: tokens of a chunk, R: latent size, E: key size.

The index is read without NumPy, sqlite-utils and the libraries that decode modulations, so these
are imported where they are used: a listing of the store stays fast.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Never, Self

from store.errors import ChunksGoneError, StoreError, corrupt, translated
from store.index import chunks, documents, keys, live_keys, search
from store.index.chunks import any_taken
from store.index.connection import pragma, reading, size_on_disk, synchronous, writing
from store.index.incoming import check_positions, check_storable, encode, shown, storable
from store.index.opening import ExpectedIdentity, Identity, check_unchanged, open_index
from store.index.text_index import SqliteTextIndex
from store.labels import EVERYTHING, NO_CHANGE, Labels, Within
from store.records import ChunkRow, Document, KeptChunk, NewChunk, Stats, StoredModulation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlite_utils import Database

    from store.modulations.codec import Codec

_PAGE = 500


class Store:
    """A memory bank on disk. Open it with `Store.open`; it is a context manager.

    One object belongs to one thread; any number of processes may open the same folder. Methods
    raise `StoreError` or one of its subclasses: `StoreBusyError` if another process does not let
    go of the write lock, `StoreCorruptError` if the files are damaged.

    Attributes:
        path: the folder.
        writable: whether this process may write to it.
        connection: to the database, for the other modules of this package.
        identity: what the store is.
    """

    remote = False

    def __init__(
        self, path: Path, connection: sqlite3.Connection, identity: Identity, *, writable: bool
    ) -> None:
        self.path = path
        self.writable = writable
        self.connection = connection
        self.identity = identity

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        fingerprint: str | None = None,
        model: str | None = None,
        key_size: int | None = None,
        latent_size: int | None = None,
        create: bool = False,
        timeout: float = 30.0,
    ) -> Self:
        """Open the store in the folder `path`. Reading works without permission to write.

        Args:
            path: the folder.
            fingerprint: of the checkpoint in use; None to open a store of any checkpoint.
            model: the checkpoint's name for people to read, kept in a new store.
            key_size: E; checked, unless None.
            latent_size: R; checked, unless None.
            create: make the store if there is none; needs `fingerprint`, `key_size`, `latent_size`.
            timeout: seconds to wait for other processes' locks, here and in every later call.

        Raises:
            StoreNotFoundError: there is no store, and `create` is false.
            FingerprintMismatchError: another checkpoint wrote the store.
            StoreVersionError: the schema is newer than this program.
            StoreCorruptError: the files are damaged.
            StoreError: the path is a file, a folder of something else, or forbidden.
            ValueError: `create` without what it needs.
        """
        path = Path(path)
        expected = ExpectedIdentity(fingerprint, model, key_size, latent_size)
        with translated(path):
            connection, writable, identity = open_index(
                path, expected, create=create, timeout=timeout
            )
        return cls(path, connection, identity, writable=writable)

    def close(self) -> None:
        """Close the store. It cannot be used afterwards."""
        with translated(self.path):
            self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the checkpoint that wrote the store."""
        return self.identity.fingerprint

    @property
    def model(self) -> str:
        """Name of that checkpoint, "" if it was not given."""
        return self.identity.model

    @property
    def key_size(self) -> int:
        """E."""
        return self.identity.key_size

    @property
    def latent_size(self) -> int:
        """R."""
        return self.identity.latent_size

    @cached_property
    def database(self) -> Database:
        """The database as sqlite-utils sees it."""
        from sqlite_utils import Database

        return Database(self.connection, execute_plugins=False)

    @cached_property
    def codec(self) -> Codec:
        """The codec of the store's modulations."""
        from store.modulations.codec import Codec

        return Codec(self.latent_size)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything read in this block be of one state, whatever other processes write.

        Keep the block short, and do not write in it (RuntimeError).
        """
        with translated(self.path), reading(self.connection):
            yield

    # Reading

    def document(self, which: str | int) -> Document | None:
        """Return the document with this source, or with this id, if it is stored."""
        if not isinstance(which, int) and not storable(which):
            return None
        with translated(self.path):
            return documents.find(self.connection, which)

    def documents(
        self,
        *,
        limit: int | None = None,
        match: str | None = None,
        within: Within = EVERYTHING,
        after: str | None = None,
    ) -> Iterator[Document]:
        """Yield documents in the order of their sources.

        Args:
            limit: yield at most N documents.
            match: with `*` or `?` a pattern for the whole source, else a part of source or title,
                in upper or lower case.
            within: only documents with these tags and dates.
            after: only documents whose source comes after this one.
        """
        if match is not None and not storable(match):
            return
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            with translated(self.path):
                page = documents.page(self.connection, after, match, size, within)
            yield from page
            if len(page) < size:
                return
            after = page[-1].source
            left = None if left is None else left - size

    def count(self, within: Within = EVERYTHING) -> int:
        """Return how many documents have these tags and dates."""
        with translated(self.path):
            return documents.count(self.connection, within)

    def below(self, folder: str, separator: str = "/") -> list[tuple[str, str, str]]:
        """Return source, content hash and chunking of each document whose source is in a folder.

        Args:
            folder: the beginning of the sources, without the separator at its end.
            separator: between the parts of a source.
        """
        if not storable(folder):
            return []
        with translated(self.path):
            return documents.below(self.connection, folder, separator)

    def chunks(self, document_id: int) -> list[ChunkRow]:
        """Return a document's chunks in the order of the text; none if it does not exist."""
        with translated(self.path):
            return chunks.of_document(self.connection, document_id)

    def chunk_rows(self, ids: Sequence[int]) -> list[ChunkRow]:
        """Return the chunks `ids`, in the same order.

        Raises:
            ChunksGoneError: one of them is not in the store (any more; see `snapshot`).
        """
        wanted = [int(chunk_id) for chunk_id in ids]
        with translated(self.path):
            rows = chunks.by_ids(self.connection, list(set(wanted)))
        return [rows[i] if i in rows else self._raise_missing(i) for i in wanted]

    def modulations(self, ids: Sequence[int]) -> list[StoredModulation]:
        """Return the modulations of the chunks `ids`, in the same order.

        Raises:
            StoreCorruptError: a modulation is damaged.
            ChunksGoneError: one of the chunks is not in the store (any more).
        """
        from store.index import blobs
        from store.modulations.codec import BlobError

        wanted = [int(chunk_id) for chunk_id in ids]
        with translated(self.path), reading(self.connection):
            try:
                rows = dict(blobs.read(self.connection, self.codec, list(set(wanted))))
            except BlobError as error:
                raise corrupt(self.path, str(error)) from error
        return [rows[i] if i in rows else self._raise_missing(i) for i in wanted]

    def sharing(self, ids: Sequence[int], limit: int = 100) -> list[ChunkRow]:
        """Return other chunks, at most `limit`, whose merged modulations the chunks `ids` share."""
        with translated(self.path), reading(self.connection):
            others = chunks.sharers(self.connection, [int(i) for i in ids], limit)
            rows = chunks.by_ids(self.connection, others)
        return [rows[chunk_id] for chunk_id in others]

    def keys(
        self, block: int = 4096, *, within: Within = EVERYTHING
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Yield chunks' keys in the order of ids, in blocks: ids int64 [n], keys float16 [n, E].

        They are of one state of the store, that at the first block, without what other processes
        remove meanwhile.

        Args:
            block: yield at most N keys at a time, which bounds the memory.
            within: only chunks of documents with these tags and dates. Costs 8 bytes for each.

        Raises:
            StoreCorruptError: some of the keys are damaged.
        """
        if block < 1:
            raise ValueError(f"a block needs at least 1 key, not {block}")
        with translated(self.path):
            chosen = live_keys.chosen_ids(self.connection, within) if within else None
            try:
                yield from live_keys.live(self.connection, self.key_size, block, chosen=chosen)
            except keys.DamagedKeysError as error:
                raise corrupt(self.path, str(error)) from error

    def search(
        self, query: str, limit: int = 100, *, within: Within = EVERYTHING
    ) -> list[tuple[int, float]]:
        """Return chunks that share words with `query`, best first: ids and BM25 scores.

        Any text will do; no part of it is taken for syntax. Larger scores are better; chunks of the
        same score come in the order of their ids.

        Args:
            query: a question or some words.
            limit: return at most N chunks.
            within: only chunks of documents with these tags and dates. Their scores stay those
                that they have among all chunks.
        """
        with reading(self.connection):
            return search.best(self.text_index, query, limit, within)

    def copies(
        self, ids: Sequence[int], *, within: Within = EVERYTHING, limit: int = 20
    ) -> dict[int, list[int]]:
        """Return for each of the chunks `ids` others that have exactly the same text, by id.

        Args:
            ids: chunks.
            within: only chunks of documents with these tags and dates.
            limit: return at most N for each.
        """
        found: dict[int, list[int]] = {int(chunk_id): [] for chunk_id in ids}
        with translated(self.path), reading(self.connection):
            for i, row in chunks.by_ids(self.connection, list(found)).items():
                same = self.same_text(row.text, within, limit + 1)
                found[i] = [other for other in same if other != i][:limit]
        return found

    def same_text(self, text: str, within: Within, limit: int) -> list[int]:
        """Return the chunks, at most `limit`, that have exactly this text, by id."""
        with translated(self.path):
            return chunks.with_text(self.connection, text, within, limit)

    @cached_property
    def text_index(self) -> SqliteTextIndex:
        """What several stores that are searched as one ask of this one."""
        return SqliteTextIndex(self.connection, self.path)

    def coverage(self, query: str, ids: Sequence[int]) -> list[float]:
        """Return the share of the content words of `query` that each chunk has: 0 to 1.

        See `store.index.search.coverage`.
        """
        with reading(self.connection):
            return search.coverage([(self.text_index, ids)], query)[0]

    def stats(self) -> Stats:
        """Return how much is in the store, and its sizes on disk."""
        with translated(self.path):
            with reading(self.connection):
                totals = documents.totals(self.connection)
                version = pragma(self.connection, "user_version")
            size = size_on_disk(self.path)
        return Stats(
            **totals,
            total_bytes=size,
            fingerprint=self.fingerprint,
            model=self.model,
            schema_version=version,
            created_at=self.identity.created_at,
        )

    # Writing

    def put(
        self,
        source: str,
        *,
        content_hash: str,
        chunking: str,
        chunks: Sequence[NewChunk | KeptChunk],
        expected: int | None = None,
        title: str | None = None,
        media_type: str = "text/plain",
        encoding: str = "utf-8",
        characters: int = 0,
        labels: Labels = NO_CHANGE,
    ) -> Literal["added", "updated"]:
        """Store a document, in place of the one with the same source, in one transaction.

        After an error, or if the process dies, the store is as it was before. An updated document
        keeps its tags and date, apart from what `labels` changes. Of a long document a part is
        enough, at any positions; `extend` adds the other chunks.

        Args:
            source: what identifies the document, such as its path.
            content_hash: of the document, kept to tell later whether it changed.
            chunking: how it was cut, kept for the same reason.
            chunks: in the order of their positions; there may be none. A `KeptChunk` keeps the
                modulation, the key and the id that the stored version has.
            expected: how many chunks the whole document has; None if `chunks` are all.
            title: for people to read.
            media_type: of what the document was read from.
            encoding: of what the document was read from.
            characters: length of the document.
            labels: tags and date.

        Raises:
            ChunksGoneError: a `KeptChunk` is not the document's, or not any more.
            ValueError: an array has another dtype or shape than this store's, or is not finite;
                positions do not grow, or are not below `expected`.
            StoreError: a text cannot be stored, the disk is full, no permission to write.
        """
        fresh = [chunk for chunk in chunks if isinstance(chunk, NewChunk)]
        kept = [chunk for chunk in chunks if isinstance(chunk, KeptChunk)]
        expected = len(chunks) if expected is None else expected
        check_storable(source, title or "", *(chunk.text + chunk.context for chunk in chunks))
        check_positions(chunks, expected)
        blobs = encode(self.codec, self.key_size, fresh) if fresh else []
        values = documents.DocumentValues(
            source, title, content_hash, chunking, expected, media_type, encoding, characters
        )
        with translated(self.path), self.changing_chunks():
            old = documents.find(self.connection, source)
            many_dead = False
            if old is not None or kept:
                many_dead = self._delete_chunks(old.id if old else None, kept)
            document_id = documents.write(self.database, old, values)
            documents.count_again(self.connection, source)  # those that are kept
            self._add_chunks(document_id, fresh, blobs)
            self._label(document_id, old, labels)
        if many_dead:
            self.compact_keys()
        return "added" if old is None else "updated"

    def extend(self, source: str, *, content_hash: str, chunks: Sequence[NewChunk]) -> Document:
        """Add chunks to a document of which only some are stored, in one transaction.

        Args:
            source: of the document.
            content_hash: what the document must hold.
            chunks: some of those that it lacks, in the order of their positions.

        Returns:
            the document as it is now.

        Raises:
            ChunksGoneError: the document is gone, has another content, or has one of these chunks.
            ValueError: as for `put`.
            StoreError: a text cannot be stored, the disk is full, no permission to write.
        """
        check_storable(source, *(chunk.text + chunk.context for chunk in chunks))
        blobs = encode(self.codec, self.key_size, chunks) if chunks else []
        with translated(self.path), self.changing_chunks():
            old = documents.find(self.connection, source)
            if old is None or not content_hash or old.content_hash != content_hash:
                raise _changed(source)
            check_positions(chunks, old.expected)
            if any_taken(self.connection, old.id, chunks):
                raise _changed(source)
            self._add_chunks(old.id, chunks, blobs)
            document = documents.find(self.connection, source)
        assert document is not None
        return document

    def remove(self, source: str) -> bool:
        """Remove a document in one transaction. Returns whether it existed."""
        if not storable(source):
            return False
        with translated(self.path), writing(self.connection):
            old = documents.find(self.connection, source)
            if old is None:
                return False
            many_dead = self._remove(old)
        if many_dead:
            self.compact_keys()
        return True

    def rename(
        self,
        source: str,
        to: str,
        *,
        content_hash: str,
        title: str | None = None,
        media_type: str = "text/plain",
        encoding: str = "utf-8",
        labels: Labels = NO_CHANGE,
    ) -> bool:
        """Change a document's source in one transaction; its modulations stay.

        A document that had that source before is removed.

        Args:
            source: of the document.
            to: its new source.
            content_hash: what the document must hold to be renamed.
            title: the document's title from now on.
            media_type: of what the document is read from now.
            encoding: of what the document is read from now.
            labels: what to change about its tags and date.

        Returns:
            whether the document existed and held that.

        Raises:
            StoreError: the new name cannot be stored, the disk is full, no permission to write.
        """
        check_storable(to, title or "")
        many_dead = False
        with translated(self.path), writing(self.connection):
            old = documents.find(self.connection, source) if storable(source) else None
            if old is None or old.content_hash != content_hash:
                return False
            replaced = documents.find(self.connection, to)
            if replaced is not None and replaced.id != old.id:
                many_dead = self._remove(replaced)
            documents.rename(self.connection, old.id, to, title, media_type, encoding)
            self._label(old.id, old, labels)
        if many_dead:
            self.compact_keys()
        return True

    def mark_stale(self, source: str, reason: str | None) -> bool:
        """Say why a document's file cannot be read any more (None: it can), in one transaction.

        `put`, `extend` and `rename` take that away. Returns whether there is such a document.
        """
        reason = reason and shown(reason)
        old = self.document(source)
        if old is None or old.stale == reason:
            return old is not None
        with translated(self.path), writing(self.connection):
            documents.mark_stale(self.connection, old.id, reason)
        return True

    def relabel(self, source: str, change: Labels) -> bool:
        """Change a document's tags and date in one transaction. Returns whether any differ now.

        Nothing is written, nor permission needed to, where nothing differs.
        """
        old = self.document(source)
        if old is None or not change.changes(old.tags, old.date):
            return False
        with translated(self.path), writing(self.connection):
            old = documents.find(self.connection, source)
            if old is None:
                return False
            self._label(old.id, old, change)
        return True

    def record_use(self, weights: Mapping[int, float]) -> None:
        """Count an answer for the chunks that it drew on: by id, the share of each.

        Never fails and never waits: where the store is read-only, or another process is writing,
        the answer is not counted.
        """
        if not (self.writable and weights) or self.connection.in_transaction:
            return
        with suppress(StoreError), translated(self.path):
            wait = pragma(self.connection, "busy_timeout")
            self.connection.execute("PRAGMA busy_timeout = 0")
            try:
                with writing(self.connection):
                    chunks.record_use(self.connection, weights)
            finally:
                self.connection.execute(f"PRAGMA busy_timeout = {wait}")

    def compact_keys(self) -> None:
        """Fold away the keys of removed chunks, if that is possible now.

        This is housekeeping: what the caller wanted is done, and must not look as if it had failed.
        """
        if not self.writable or self.connection.in_transaction:
            return
        with (
            suppress(StoreError, keys.DamagedKeysError),
            translated(self.path),
            synchronous(self.connection),
            writing(self.connection),
        ):
            keys.compact(self.connection, self.key_size)

    @contextmanager
    def changing_chunks(self) -> Iterator[None]:
        """Run the block in a write transaction of a store that is still of this checkpoint.

        Raises:
            StoreCorruptError: some of the keys are damaged.
        """
        with writing(self.connection):
            check_unchanged(self.connection, self.path, self.identity)
            try:
                yield
            except keys.DamagedKeysError as error:
                raise corrupt(self.path, str(error)) from error

    def _add_chunks(
        self, document_id: int, added: Sequence[NewChunk], encoded: Sequence[bytes]
    ) -> None:
        """Add chunks to a document in the caller's transaction, with their keys, and count them."""
        ids = chunks.write(self.connection, document_id, added, encoded)
        keys.append(self.connection, ids, [chunk.key for chunk in added])
        documents.count_more(self.connection, document_id, added, encoded)

    def _label(self, document_id: int, old: Document | None, change: Labels) -> None:
        """Apply a change of tags and date, in the caller's transaction."""
        tags, day = (old.tags, old.date) if old else ((), None)
        if change.changes(tags, day):
            documents.write_labels(self.connection, document_id, *change.applied(tags, day))

    def _remove(self, document: Document) -> bool:
        """Remove a document in the caller's transaction; returns what `_delete_chunks` does."""
        many_dead = self._delete_chunks(document.id)
        documents.delete(self.connection, document.id)
        return many_dead

    def _delete_chunks(self, document_id: int | None, kept: Sequence[KeptChunk] = ()) -> bool:
        """Delete a document's chunks and their keys, and put those that are kept in their places.

        Returns whether to compact the keys.
        """
        chunks.check_kept(self.connection, document_id, kept)
        ids = chunks.delete(self.connection, document_id, keep={chunk.id for chunk in kept})
        chunks.place_kept(self.connection, document_id, kept)
        keys.discard(self.connection, ids)
        return keys.worth_compacting(self.connection)

    def _raise_missing(self, chunk_id: int) -> Never:
        raise ChunksGoneError(
            f"Chunk {chunk_id} is not in the store {self.path}",
            hint="It was removed or replaced meanwhile; run the same command again.",
        )


def _changed(source: str) -> ChunksGoneError:
    return ChunksGoneError(
        f"{source!r} was changed by another process meanwhile", hint="Run the same command again."
    )
