"""Several stores, read as if they were one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from store.index import search
from store.index.text_index import ask_each
from store.labels import EVERYTHING, Within
from store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.index.keys import Block
    from store.records import ChunkRow, Document, StoredModulation
    from store.remote.store import RemoteStore

_ID_BITS = 40
"""The bits of an id that are its number in its own store; those above are the store's place."""
_MASK = (1 << _ID_BITS) - 1

Value = TypeVar("Value")


class JoinedStores:
    """What a `Store` is to those who ask it, for several stores of the same checkpoint.

    A chunk's or a document's id tells its store. Where scores depend on the rest of a store, as in
    BM25, the rest is all stores. For methods that are not explained here see `Store`.

    Attributes:
        parts: the stores.
    """

    def __init__(self, parts: Sequence[Store | RemoteStore]) -> None:
        self.parts = tuple(parts)

    def close(self) -> None:
        """Close all of them."""
        for part in self.parts:
            part.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything read in this block be of one state of each store."""
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.snapshot())
            yield

    def documents(
        self, *, limit: int | None = None, match: str | None = None, within: Within = EVERYTHING
    ) -> Iterator[Document]:
        """See `Store.documents`. A source that is in several stores comes several times."""
        each = (
            _joined_documents(place, part.documents(limit=limit, match=match, within=within))
            for place, part in enumerate(self.parts)
        )
        return islice(merge(*each, key=lambda document: document.source), limit)

    def count(self, within: Within = EVERYTHING) -> int:
        """See `Store.count`."""
        return sum(ask_each(self.parts, lambda part, _: part.count(within)))

    def chunks(self, document_id: int) -> list[ChunkRow]:
        """See `Store.chunks`."""
        place, own = _split(document_id)
        return [_joined_row(place, row) for row in self.parts[place].chunks(own)]

    def chunk_rows(self, ids: Sequence[int]) -> list[ChunkRow]:
        """See `Store.chunk_rows`."""
        return self._each(
            ids,
            lambda place, own: [
                _joined_row(place, row) for row in self.parts[place].chunk_rows(own)
            ],
        )

    def modulations(self, ids: Sequence[int]) -> list[StoredModulation]:
        """See `Store.modulations`."""
        return self._each(ids, lambda place, own: self.parts[place].modulations(own))

    def sharing(self, ids: Sequence[int], limit: int = 100) -> list[ChunkRow]:
        """See `Store.sharing`."""
        rows = (
            _joined_row(place, row)
            for place, own in _by_store(ids).items()
            for row in self.parts[place].sharing(own, limit)
        )
        return list(islice(rows, limit))

    def copies(
        self, ids: Sequence[int], *, within: Within = EVERYTHING, limit: int = 20
    ) -> dict[int, list[int]]:
        """See `Store.copies`; those in other stores are copies, too."""
        found: dict[int, list[int]] = {}
        for row in self.chunk_rows(ids):
            each = self.same_text(row.text, within, limit + 1)
            found[row.id] = [other for other in each if other != row.id][:limit]
        return found

    def same_text(self, text: str, within: Within, limit: int) -> list[int]:
        """See `Store.same_text`."""
        each = ask_each(self.parts, lambda part, _: part.same_text(text, within, limit))
        return [_joined(place, own) for place, ids in enumerate(each) for own in ids]

    def search(
        self, query: str, limit: int = 100, *, within: Within = EVERYTHING
    ) -> list[tuple[int, float]]:
        """See `Store.search` and `store.index.search.best_of_all`."""
        with self.snapshot():
            indexes = [part.text_index for part in self.parts]
            found = search.best_of_all(indexes, query, limit, within)
        return [(_joined(place, own), score) for place, own, score in found]

    def coverage(self, query: str, ids: Sequence[int]) -> list[float]:
        """See `Store.coverage`."""
        with self.snapshot():
            own = self.split(ids)
            parts = [(part.text_index, ids) for part, ids in zip(self.parts, own, strict=True)]
            shares = search.coverage(parts, query)
        return self._each(ids, lambda place, _: shares[place])

    def record_use(self, weights: Mapping[int, float]) -> None:
        """See `Store.record_use`."""
        for place, own in _by_store(list(weights)).items():
            self.parts[place].record_use({i: weights[_joined(place, i)] for i in own})

    def split(self, ids: Sequence[int]) -> list[list[int]]:
        """Return the ids of chunks in each of the stores."""
        own = _by_store(ids)
        return [own.get(place, []) for place in range(len(self.parts))]

    def _each(
        self, ids: Sequence[int], read: Callable[[int, list[int]], Sequence[Value]]
    ) -> list[Value]:
        """Read something of chunks in each of their stores, and return it in the order of `ids`."""
        own = self.split(ids)
        each = ask_each(self.parts, lambda _, place: read(place, own[place]) if own[place] else [])
        found = {
            _joined(place, i): value
            for place, values in enumerate(each)
            for i, value in zip(own[place], values, strict=True)
        }
        return [found[int(i)] for i in ids]


AnyStore = Store | JoinedStores
"""What can be asked."""


def likely_keys(
    store: AnyStore,
    query: NDArray[np.float32],
    number: int,
    extra_ids: Iterable[int] = (),
    within: Within = EVERYTHING,
) -> Iterator[Block]:
    """Yield what `store.near.likely_keys` does, for one store or joined ones."""
    from store import near

    if isinstance(store, Store):
        yield from near.likely_keys(store, query, number, extra_ids, within)
        return
    own = store.split(list(extra_ids))

    def likely(part: Store | RemoteStore, place: int) -> Iterable[Block]:
        if isinstance(part, Store):
            return near.likely_keys(part, query, number, own[place], within)
        return [part.nearest(query, number, own[place], within)]

    for place, blocks in enumerate(ask_each(store.parts, likely)):
        for ids, keys in blocks:
            yield ids + (place << _ID_BITS), keys


def _split(joined: int) -> tuple[int, int]:
    """Return the place of an id's store, and the id there."""
    return int(joined) >> _ID_BITS, int(joined) & _MASK


def _joined(place: int, own: int) -> int:
    return place << _ID_BITS | own


def _by_store(ids: Sequence[int]) -> dict[int, list[int]]:
    """Return the ids that chunks have in their stores, by the place of the store."""
    found: dict[int, list[int]] = defaultdict(list)
    for joined in ids:
        place, own = _split(joined)
        found[place].append(own)
    return dict(found)


def _joined_documents(place: int, documents: Iterator[Document]) -> Iterator[Document]:
    for document in documents:
        yield replace(document, id=_joined(place, document.id))


def _joined_row(place: int, row: ChunkRow) -> ChunkRow:
    return replace(row, id=_joined(place, row.id), document_id=_joined(place, row.document_id))
