"""Other sentence encoders as retrievers: the paper's "MAC with Contriever / DPR".

The encoder chooses, and what it chose is read as text or as modulations (arXiv 2403.04317,
section 4). Embeddings are kept in memory while a run lasts.

Letters: n chunks, E size of the embedding.
"""

from __future__ import annotations

import hashlib
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maccli.errors import MacError
from maccli.evaluation.evaluation_store import EvaluationStore
from maccli.evaluation.methods import encoder_parts
from maccli.output import NoProgress
from models.memory.protocol import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.memory.relevance import Candidate
    from models.rivals.retriever import ExternalEncoder
    from models.weights.carriers import Transfer

GROUP = 256
"""Chunks that are read and embedded together."""


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
        self._vectors: dict[str, NDArray[np.float16]] = {}  # [E], by text
        self._seconds = 0.0
        self._embedded: tuple[object, object] = (None, None)  # the last store and its chunks
        self._matrix = np.empty((0, 0), np.float16)  # [n, E]

    @cached_property
    def _folders(self) -> list[Path]:
        from models.weights.resolve import resolve

        return [resolve(part, progress=self._transfer) for part in self._parts]

    @cached_property
    def identity(self) -> str:
        """The SHA-256 of the weights and of how they are run.

        Raises:
            WeightsError: the encoder cannot be downloaded or read.
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
            WeightsError: the encoder cannot be downloaded or read.
            StoreError: the store cannot be read.
        """
        if self._embedded == (store.store, store.chunks_of):
            return
        progress = progress or NoProgress()
        texts: list[str] = []
        for ids, _ in store.store.keys(GROUP):
            read = [row.text for row in store.store.chunk_rows(ids.tolist())]
            new = [text for text in dict.fromkeys(read) if text not in self._vectors]
            begun = time.perf_counter()
            if new:
                vectors = self._encoders[0].encode_documents(new).astype(np.float16)
                self._vectors |= zip(new, vectors, strict=True)
            self._seconds += time.perf_counter() - begun
            texts += read
            progress.advance(len(ids))
        self._matrix = np.stack([self._vectors[text] for text in texts])
        self._embedded = (store.store, store.chunks_of)

    def search(self, store: EvaluationStore, question: str, k: int) -> list[Candidate]:
        """Return the k chunks nearest to a question, the nearest first.

        As with BM25, the encoder chooses, and the checkpoint's own relevance gives the weights.

        Raises:
            WeightsError, StoreError: as `prepare`.
        """
        self.prepare(store)
        ids = np.concatenate([numbers for numbers, _ in store.store.keys(GROUP)])
        scores = self._matrix.astype(np.float32) @ self._encoders[1].encode_queries([question])[0]
        nearest = ids[np.lexsort((ids, -scores))[:k]].tolist()
        weighed = {candidate.id: candidate for candidate in store.weighed(question, nearest)}
        return [weighed[chunk_id] for chunk_id in nearest]

    def cost(self, store: EvaluationStore) -> tuple[float, int]:
        """Return the seconds of embedding all chunks of a store, and the bytes of the embeddings.

        Chunks of the same text are embedded once in a run; each counts as much as it took then.
        """
        self.prepare(store)
        per_text = self._seconds / max(1, len(self._vectors))
        return per_text * len(self._matrix), self._matrix.nbytes
