"""Other sentence encoders as retrievers: the paper's "MAC with Contriever / DPR".

The encoder chooses, and what it chose is read as text or as modulations (arXiv 2403.04317,
section 4). Embeddings are kept in memory while a run lasts.

Letters: n chunks, E size of the embedding.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maccli.errors import MacError
from maccli.evaluation.evaluation_store import EvaluationStore
from maccli.evaluation.methods import encoder_parts
from maccli.output import NoProgress, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from maccli.service.session import Transfer
    from models.memory.relevance import Candidate
    from models.rivals.retriever import ExternalEncoder
    from store.store import Store

GROUP = 256
"""Chunks that are read and embedded together."""


@dataclass(frozen=True, slots=True)
class _Embeddings:
    """The embeddings of one store's chunks: ids int64 [n], vectors float16 [n, E]."""

    store: Store
    ids: NDArray[np.int64]
    vectors: NDArray[np.float16]


class Encoder:
    """A sentence encoder, or one for documents and one for questions, as a retriever.

    Args:
        given: a folder or Hub id, or two with a comma between them.
        device: "auto", "cpu", "cuda" or "mps".
        transfer: told about downloads.
    """

    def __init__(self, given: str, *, device: str, transfer: Transfer | None = None) -> None:
        self._parts = encoder_parts(given)
        self._device, self._transfer = device, transfer
        self._known: dict[bytes, NDArray[np.float16]] = {}
        self._seconds = 0.0
        self._embeddings: _Embeddings | None = None

    @cached_property
    def _folders(self) -> list[Path]:
        from models.weights import resolve as weights

        return [weights.resolve(part, progress=self._transfer) for part in self._parts]

    @cached_property
    def identity(self) -> str:
        """The SHA-256 of the weights and of how they are run.

        Raises:
            WeightsError: the encoder cannot be had.
        """
        from models.rivals.retriever import fingerprint

        parts = map(fingerprint, dict.fromkeys(self._folders))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @cached_property
    def _encoders(self) -> tuple[ExternalEncoder, ExternalEncoder]:
        from maccli.service.session import silence_libraries
        from models.base.device import choose_device
        from models.rivals.retriever import ExternalEncoder

        silence_libraries()
        device = choose_device(self._device)
        loaded = [ExternalEncoder(folder, device) for folder in self._folders]
        if loaded[0].size != loaded[-1].size:
            raise MacError(
                f"{','.join(self._parts)}: embeddings of {loaded[0].size} and {loaded[-1].size} "
                "numbers cannot be compared."
            )
        return loaded[0], loaded[-1]

    def prepare(self, store: EvaluationStore, progress: Progress | None = None) -> None:
        """Embed the chunks of a store, those that were not embedded before.

        Args:
            store: the store.
            progress: is advanced for every chunk.

        Raises:
            WeightsError: the encoder cannot be had or read.
            StoreError: the store cannot be read.
        """
        known = self._embeddings
        if known and known.store is store.store and len(known.ids) == _chunks(store):
            return
        progress = progress or NoProgress()
        documents = self._encoders[0]
        ids: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        vectors: list[NDArray[np.float16]] = [np.empty((0, documents.size), np.float16)]
        for numbers, _ in store.store.keys(GROUP):
            texts = [row.text for row in store.store.chunk_rows(numbers.tolist())]
            digests = [_digest(text) for text in texts]
            new = {d: t for d, t in zip(digests, texts, strict=True) if d not in self._known}
            begun = time.perf_counter()
            if new:
                embedded = documents.encode_documents(list(new.values()))
                self._known |= zip(new, embedded.astype(np.float16), strict=True)
            self._seconds += time.perf_counter() - begun
            ids.append(numbers)
            vectors.append(np.stack([self._known[digest] for digest in digests]))
            progress.advance(len(texts))
        self._embeddings = _Embeddings(store.store, np.concatenate(ids), np.concatenate(vectors))

    def search(self, store: EvaluationStore, question: str, k: int) -> list[Candidate]:
        """Return the k chunks nearest to a question, the nearest first.

        As with BM25, the encoder chooses, and the checkpoint's own relevance gives the weights.

        Raises:
            WeightsError, StoreError: as `prepare`.
        """
        self.prepare(store)
        embeddings = self._embeddings
        assert embeddings is not None
        query = self._encoders[1].encode_queries([question])[0]
        scores = embeddings.vectors.astype(np.float32) @ query
        order = np.lexsort((embeddings.ids, -scores))[:k]
        ids = [int(i) for i in embeddings.ids[order]]
        weighed = {candidate.id: candidate for candidate in store.weighed(question, ids)}
        return [weighed[i] for i in ids]

    def cost(self, store: EvaluationStore) -> tuple[float, int]:
        """Return the seconds of embedding all chunks of a store, and the bytes of the embeddings.

        Chunks of the same text are embedded once in a run; each counts as much as it took then.
        """
        self.prepare(store)
        assert self._embeddings is not None
        each = self._seconds / max(1, len(self._known))
        return each * len(self._embeddings.ids), self._embeddings.vectors.nbytes


def _chunks(store: EvaluationStore) -> int:
    return sum(map(len, store.chunks_of.values()))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
