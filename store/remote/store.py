"""A store of another machine, read through the `mac serve` that runs there.

It has what `store.joined` asks of each store. E: key size, R: latent size, U: rows of a modulation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from store.errors import FingerprintMismatchError, StoreError
from store.index.bm25 import Matches
from store.index.text_index import Coverage, Spellings
from store.labels import EVERYTHING, Within
from store.marks import Mark
from store.records import ChunkRow, Document, StoredModulation
from store.remote.server import Server, from_text, to_text

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from store.index.spelling import Similar

MOST_IDS = 1000
"""Chunks that one request may name."""
MOST_KEYS = 10_000
"""Keys that one request may ask for."""
MOST_MODULATIONS = 100
"""Modulations that one request may ask for."""
_PAGE = 500


class RemoteStore:
    """A store that a `mac serve` of the same model answers for. For its methods see `Store`.

    Args:
        url: of the server, with the store's name as path unless it is the server's first.
        key: that the server wants to see, if any.
        fingerprint: of the checkpoint in use.

    Raises:
        StoreError: the address is wrong, or the server does not answer, or not as it should.
        StoreNotFoundError: it has no such store.
        FingerprintMismatchError: another checkpoint wrote it.
    """

    remote = True

    def __init__(self, url: str, *, key: str | None, fingerprint: str) -> None:
        self._server = Server(url, key)
        self.text_index = _RemoteTextIndex(self._server)
        try:
            about = self._server.get("/v1/store")
            with self._server.reading_answer():
                stored, self._key_size = str(about["fingerprint"]), int(about["key_size"])
                self._latent_size = int(about["latent_size"])
            if stored != fingerprint:
                raise FingerprintMismatchError(
                    f"Another model wrote the store {url}",
                    stored=stored,
                    wanted=fingerprint,
                    hint="Ask with the model that it was made with: mac ask -m MODEL",
                )
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def snapshot(self) -> AbstractContextManager[None]:
        """Do nothing: each request sees the store as it is then."""
        return nullcontext()

    def documents(
        self, *, limit: int | None = None, match: str | None = None, within: Within = EVERYTHING
    ) -> Iterator[Document]:
        """See `Store.documents`. How they were read and cut is not told."""
        wanted = {**_fields(within), "match": match}
        found: dict[str, Any] = {"has_more": True, "data": []}
        while found["has_more"] and (limit is None or limit > 0):
            size = _PAGE if limit is None else min(limit, _PAGE)
            last = found["data"][-1]["id"] if found["data"] else None
            found = self._server.get("/v1/documents", **wanted, limit=size, after=last)
            with self._server.reading_answer():
                page = list(map(_document, found["data"]))
                found["has_more"] = bool(found["has_more"] and page)
            yield from page
            limit = None if limit is None else limit - len(page)

    def count(self, within: Within = EVERYTHING) -> int:
        """See `Store.count`."""
        about = self._server.get("/v1/store", **_fields(within))
        with self._server.reading_answer():
            return int(about["documents"])

    def chunks(self, document_id: int) -> list[ChunkRow]:
        """See `Store.chunks`."""
        return self._rows({"document": document_id})

    def chunk_rows(self, ids: Sequence[int]) -> list[ChunkRow]:
        """See `Store.chunk_rows`."""
        wanted = [int(chunk_id) for chunk_id in ids]
        pages = range(0, len(wanted), MOST_IDS)
        rows = [row for i in pages for row in self._rows({"ids": wanted[i : i + MOST_IDS]})]
        if [row.id for row in rows] != wanted:
            raise self._server.unexpected()
        return rows

    def sharing(self, ids: Sequence[int], limit: int = 100) -> list[ChunkRow]:
        """See `Store.sharing`."""
        return self._rows({"sharing": list(map(int, ids)), "limit": limit}) if ids else []

    def same_text(self, text: str, within: Within, limit: int) -> list[int]:
        """See `Store.same_text`."""
        rows = self._rows({"text": text, "limit": limit, **_fields(within)})
        return [row.id for row in rows]

    def modulations(self, ids: Sequence[int]) -> list[StoredModulation]:
        """See `Store.modulations`."""
        wanted = [int(chunk_id) for chunk_id in ids]
        stored: list[StoredModulation] = []
        for start in range(0, len(wanted), MOST_MODULATIONS):
            page = wanted[start : start + MOST_MODULATIONS]
            found = self._server.post("/v1/modulations", {"ids": page})
            with self._server.reading_answer():
                _check([each["id"] for each in found["data"]] == page)
                stored += [self._modulation(each) for each in found["data"]]
        return stored

    def nearest(
        self,
        query: NDArray[np.float32],
        number: int,
        extra_ids: Iterable[int] = (),
        within: Within = EVERYTHING,
    ) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """See `store.near.nearest`; at most `MOST_KEYS` and those of `extra_ids`."""
        wanted = {
            "query": to_text(query),
            "number": min(number, MOST_KEYS),
            "extra_ids": sorted(map(int, extra_ids)),
        }
        found = self._server.post("/v1/select", {"keys": wanted, **_fields(within)})
        with self._server.reading_answer():
            import numpy as np

            ids = np.array(found["keys"]["ids"], np.int64)
            keys = from_text(found["keys"]["keys"], "<f2", len(ids), self._key_size)
            return ids, keys

    def record_use(self, weights: Mapping[int, float]) -> None:
        """Do nothing: who asks a store of another machine changes nothing there."""

    def _rows(self, wanted: Mapping[str, Any]) -> list[ChunkRow]:
        found = self._server.post("/v1/chunks", wanted)
        with self._server.reading_answer():
            return [
                ChunkRow(**{**row, "marks": tuple(Mark(**mark) for mark in row["marks"])})
                for row in found["data"]
            ]

    def _modulation(self, sent: Mapping[str, Any]) -> StoredModulation:
        import numpy as np

        scales = from_text(sent["scales"], "<f2", -1)
        latents = from_text(sent["latents"], "<i1", len(scales), self._latent_size)
        rows = None if sent["rows"] is None else np.array(sent["rows"], np.int64)
        _check(len(scales) > 0)
        _check(rows is None or bool((rows >= 0).all() and (rows < len(scales)).all()))
        return StoredModulation(latents, scales, rows)


class _RemoteTextIndex:
    """The full-text index of such a store; see `store.index.text_index.TextIndex`."""

    remote = True

    def __init__(self, server: Server) -> None:
        self._server = server

    def known(self, words: Sequence[Spellings]) -> list[bool]:
        found = self._ask({"known": words})["known"]
        with self._server.reading_answer():
            _check(len(found) == len(words))
            return list(map(bool, found))

    def similar(self, word: str) -> list[Similar]:
        found = self._ask({"similar": word})["similar"]
        with self._server.reading_answer():
            return [(int(apart), int(longer), str(stem)) for apart, longer, stem in found]

    def matches(self, words: Sequence[Spellings], limit: int, within: Within) -> Matches:
        found = self._ask({"matches": {"words": words, "limit": limit}, **_fields(within)})
        with self._server.reading_answer():
            own = found["matches"]
            matches = Matches(
                int(own["chunks"]),
                int(own["words"]),
                list(map(int, own["having"])),
                {int(i): int(length) for i, length in own["lengths"].items()},
                {int(i): list(map(int, times)) for i, times in own["times"].items()},
            )
            _check(
                all(len(each) == len(words) for each in (matches.having, *matches.times.values()))
            )
            _check(matches.lengths.keys() == matches.times.keys())
            return matches

    def coverage(self, words: Sequence[Spellings], ids: Sequence[int]) -> Coverage:
        found = self._ask({"coverage": {"words": words, "ids": list(map(int, ids))}})
        with self._server.reading_answer():
            own = found["coverage"]
            having = list(map(int, own["having"]))
            covered = [list(map(int, each)) for each in own["found"]]
            _check(len(having) == len(covered) == len(words))
            _check(all(set(each) <= set(ids) for each in covered))
            return Coverage(int(own["chunks"]), having, covered)

    def _ask(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        return self._server.post("/v1/select", wanted)


def _document(sent: Mapping[str, Any]) -> Document:
    fields = {k: v for k, v in sent.items() if k in Document.__slots__}
    untold = dict.fromkeys(("content_hash", "chunking", "encoding"), "not told")
    return Document(
        **{**untold, "pruned": 0, **fields, "source": sent["name"], "tags": tuple(sent["tags"])}
    )


def _fields(within: Within) -> dict[str, Any]:
    return {"tags": list(within.tags), "since": within.since, "until": within.until}


def _check(as_it_should_be: bool) -> None:
    if not as_it_should_be:
        raise ValueError
