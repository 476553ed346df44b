"""Reading a store. T: tokens a modulation, R: latent size, E: key size.

The index is read without NumPy and zstandard, so these are imported where they are used: a
listing of the store stays fast.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Never

from store import documents, labels, prunes, search
from store.database import INDEX_NAME, KEY_PREFIX, reading, synchronous, writing
from store.errors import StoreError, corrupt, translated
from store.keyblock import KeyBlock
from store.labels import EVERYTHING, Within
from store.opening import Identity
from store.records import Change, ChunkRow, Document, Stats
from store.schema import pragma

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.codec import Codec
    from store.views import View, Views

_PAGE = 500


class Reader:
    """What can be read from an open store; see `store.bank.Store`, which adds writing."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, identity: Identity, *, writable: bool
    ) -> None:
        self.path = path
        self.writable = writable
        self._connection = connection
        self._identity = identity

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the checkpoint that wrote the store."""
        return self._identity.fingerprint

    @property
    def model(self) -> str:
        """Name of that checkpoint, "" if it was not given."""
        return self._identity.model

    @property
    def key_size(self) -> int:
        """E."""
        return self._identity.key_size

    @property
    def latent_size(self) -> int:
        """R."""
        return self._identity.latent_size

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read in this block is of one state, whatever other processes write meanwhile.

        Keep the block short, and do not write in it (RuntimeError).
        """
        with translated(self.path), reading(self._connection):
            yield

    def document(self, source: str) -> Document | None:
        """The document with this source, if it is stored."""
        if not storable(source):
            return None
        with translated(self.path):
            return documents.find(self._connection, source)

    def documents(
        self, *, limit: int | None = None, match: str | None = None, within: Within = EVERYTHING
    ) -> Iterator[Document]:
        """Documents in the order of their sources.

        Args:
            limit: at most so many.
            match: with `*` or `?` a pattern for the whole source, else a part of source or title,
                in upper or lower case.
            within: only documents with these tags and dates.
        """
        if match is not None and not storable(match):
            return
        after: str | None = None
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            with translated(self.path):
                found = documents.page(self._connection, after, match, size, within)
            yield from found
            if len(found) < size:
                return
            after = found[-1].source
            left = None if left is None else left - size

    def count(self, within: Within = EVERYTHING) -> int:
        """How many documents there are with these tags and dates."""
        with translated(self.path):
            return labels.count(self._connection, within)

    def below(self, folder: str, separator: str = "/") -> list[tuple[str, str, str]]:
        """Source, content hash and chunking of every document whose source lies in a folder.

        Args:
            folder: the beginning of the sources, without the separator behind it.
            separator: between the parts of a source.
        """
        if not storable(folder):
            return []
        with translated(self.path):
            return documents.below(self._connection, folder, separator)

    def chunks(self, document_id: int) -> list[ChunkRow]:
        """A document's chunks in the order of the text; none if there is no such document."""
        with translated(self.path):
            return documents.chunks_of(self._connection, document_id)

    def chunk_rows(self, ids: Sequence[int]) -> list[ChunkRow]:
        """The chunks `ids`, in the same order.

        Raises:
            StoreError: one of them is not in the store (any more; see `snapshot`).
        """
        wanted = [int(chunk_id) for chunk_id in ids]
        with translated(self.path):
            found = documents.chunks_by_id(self._connection, list(set(wanted)))
        return [found[i] if i in found else self._gone(i) for i in wanted]

    def modulations(self, ids: Sequence[int]) -> list[tuple[NDArray[np.int8], NDArray[np.float16]]]:
        """Latents int8 [T, R] and scales float16 [T] of the chunks `ids`, in the same order.

        Where modulations were merged, tokens of a chunk may have equal rows.

        Raises:
            StoreCorruptError: a modulation is damaged.
            StoreError: one of the chunks is not in the store (any more; see `snapshot`).
        """
        return [view.spread() for view in self.views(ids)]

    def views(self, ids: Sequence[int]) -> list[View]:
        """As `modulations`, but where modulations were merged each row is there once."""
        from store.codec import BlobError

        wanted = [int(chunk_id) for chunk_id in ids]
        with translated(self.path):
            try:
                found = dict(self._views.read(self._connection, list(set(wanted))))
            except BlobError as error:
                raise corrupt(self.path, str(error)) from error
        return [found[i] if i in found else self._gone(i) for i in wanted]

    def sharing(self, ids: Sequence[int], limit: int = 100) -> list[ChunkRow]:
        """Other chunks, at most `limit`, that share merged modulations with the chunks `ids`."""
        with translated(self.path):
            found = prunes.sharers(self._connection, [int(chunk_id) for chunk_id in ids], limit)
            rows = documents.chunks_by_id(self._connection, found)
        return [rows[chunk_id] for chunk_id in found]

    def keys(
        self, block: int = 16384, *, within: Within = EVERYTHING
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Chunks' keys in the order of ids, in blocks: ids int64 [n], keys float16 [n, E].

        They are of one state of the store, that at the first block (without what was removed since,
        if the key file is damaged). Keys need not be contiguous. A missing or damaged key file is
        replaced after the last block if the store can be written.

        Args:
            block: at most so many keys at a time, which bounds the memory.
            within: only chunks of documents with these tags and dates. Costs 8 bytes for each.
        """
        if block < 1:
            raise ValueError(f"a block needs at least 1 key, not {block}")
        with translated(self.path):
            if within:
                yield from self._key_block.blocks_within(block, within)
            else:
                yield from self._key_block.blocks(block)
        if self._key_block.damaged:
            self._rewrite_keys()

    def search(
        self, query: str, limit: int = 100, *, within: Within = EVERYTHING
    ) -> list[tuple[int, float]]:
        """Chunks that share words with `query`, best first: ids and BM25 scores, larger = better.

        Any text will do; no part of it is taken for syntax. Chunks of the same score come in the
        order of their ids.

        Args:
            query: a question or some words.
            limit: at most so many.
            within: only chunks of documents with these tags and dates. Their scores stay those
                that they have among all chunks.
        """
        expression = search.match_expression(query)
        if expression is None or limit < 1:
            return []
        with translated(self.path), reading(self._connection):
            chosen, values = "", list[str]()
            if within or prunes.any_dropped(self._connection):
                condition, values = within.condition()
                # For each match by itself: their number decides what it costs, not all chunks'.
                chosen = (
                    "AND EXISTS (SELECT 1 FROM chunks JOIN documents ON documents.id = document_id "
                    f"WHERE chunks.id = chunks_fts.rowid AND pruned IS NULL AND {condition}) "
                )
            return self._connection.execute(
                f"SELECT rowid, -rank FROM chunks_fts WHERE chunks_fts MATCH ? {chosen}"
                "ORDER BY rank, rowid LIMIT ?",
                (expression, *values, limit),
            ).fetchall()

    def coverage(self, query: str, ids: Sequence[int]) -> list[float]:
        """The share of the content words of `query`, rare ones first, that each chunk has: 0 to 1.

        See `store.search.coverage`.
        """
        with translated(self.path), reading(self._connection):
            return search.coverage(self._connection, query, ids)

    def history(self, limit: int = 100) -> list[Change]:
        """The last changes, the newest first."""
        with translated(self.path):
            return documents.history(self._connection, limit)

    def stats(self) -> Stats:
        """How much is in the store, and its sizes on disk."""
        with translated(self.path):
            with reading(self._connection):
                totals = documents.totals(self._connection)
                schema_version = pragma(self._connection, "user_version")
            sizes = {
                path.name: path.stat().st_size
                for path in self.path.iterdir()
                if path.name.startswith((INDEX_NAME, KEY_PREFIX))
            }
        return Stats(
            **totals,
            key_bytes=sum(size for name, size in sizes.items() if name.startswith(KEY_PREFIX)),
            total_bytes=sum(sizes.values()),
            fingerprint=self.fingerprint,
            model=self.model,
            schema_version=schema_version,
            created_at=self._identity.created_at,
        )

    @cached_property
    def _codec(self) -> Codec:
        from store.codec import Codec

        return Codec(self.latent_size, self.key_size)

    @cached_property
    def _views(self) -> Views:
        from store.views import Views

        return Views(self._codec)

    @cached_property
    def _key_block(self) -> KeyBlock:
        return KeyBlock(self._connection, self.path, self._codec, self._identity.store_id)

    def _rewrite_keys(self) -> None:
        """Write the key file anew, undamaged and without dead keys, if that is possible now."""
        if not self.writable or self._connection.in_transaction:
            return
        # Housekeeping: what the caller asked for is done, and must not look as if it had failed.
        with suppress(StoreError), translated(self.path):
            # The old file is deleted, so the switch to the new one must survive a power cut.
            with synchronous(self._connection), writing(self._connection):
                self._key_block.rewrite()
            self._key_block.clean()

    def _gone(self, chunk_id: int) -> Never:
        raise StoreError(
            f"Chunk {chunk_id} is not in the store {self.path}",
            hint="It was removed or replaced meanwhile; run the same command again.",
        )


def storable(text: str) -> bool:
    """Whether a text is valid Unicode (a name that could not be decoded holds lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
