"""Retrievers of others in the benchmark: chunks found by any sentence encoder's embeddings.

The paper's "MAC with Contriever / DPR" (arXiv 2403.04317, section 4): the encoder chooses, and what
it chose is read as text or as modulations. Embeddings are kept in memory while a run lasts.

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

from maccli.errors import USAGE, MacError
from maccli.output import NoProgress, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from maccli.evaluation.bank import Bank
    from maccli.service.session import Transfer
    from models.rivals.retriever import SentenceTransformer
    from store.bank import Store

GROUP = 256
"""Chunks that are read and embedded together."""


@dataclass(frozen=True, slots=True)
class _Index:
    """The embeddings of one store's chunks: numbers int64 [n], vectors float16 [n, E]."""

    store: Store
    numbers: NDArray[np.int64]
    vectors: NDArray[np.float16]


class External:
    """A sentence encoder, or one for documents and one for questions, as a retriever.

    Args:
        given: a folder or Hub id; two with a comma between them are the documents' and the
            questions'.
        device: "auto", "cpu", "cuda" or "mps".
        transfer: told about downloads.
    """

    def __init__(self, given: str, *, device: str, transfer: Transfer | None = None) -> None:
        both = [given] if Path(given).expanduser().exists() else given.split(",")
        if len(both) > 2 or not all(part.strip() for part in both):
            raise MacError(
                f"{given!r} is no retriever.",
                "Give an encoder's folder or Hub id, or two: DOCUMENTS,QUESTIONS.",
                USAGE,
            )
        self._given = [part.strip() for part in both]
        self._device, self._transfer = device, transfer
        self._known: dict[bytes, NDArray[np.float16]] = {}
        self._seconds = 0.0
        self._index: _Index | None = None
        folder = Path(self._given[0]).expanduser()
        self.name = (folder.absolute() if folder.exists() else Path(_repository(folder))).name

    @cached_property
    def _folders(self) -> list[Path]:
        from models.weights import resolve as weights

        return [weights.resolve(one, progress=self._transfer) for one in self._given]

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the weights and of how they are run, to tell two of one name apart.

        Raises:
            WeightsError: the encoder cannot be had.
        """
        from models.rivals.retriever import Recipe
        from models.weights.identity import identity

        folders = dict.fromkeys(self._folders)
        parts = [f"{identity('', folder)} {Recipe.read(folder)}" for folder in folders]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @cached_property
    def _encoders(self) -> tuple[SentenceTransformer, SentenceTransformer]:
        from maccli.service.session import silence_libraries
        from models.base.device import choose_device
        from models.rivals.retriever import SentenceTransformer

        silence_libraries()
        device = choose_device(self._device)
        loaded = [SentenceTransformer.load(folder, device=device) for folder in self._folders]
        if loaded[0].size != loaded[-1].size:
            raise MacError(
                f"{','.join(self._given)}: embeddings of {loaded[0].size} and {loaded[-1].size} "
                "numbers cannot be compared."
            )
        return loaded[0], loaded[-1]

    def prepare(self, bank: Bank, progress: Progress | None = None) -> None:
        """Embed the chunks of a bank, those that were not embedded before.

        Args:
            bank: the bank; the next `search` is fast if it is of the same one.
            progress: is advanced for every chunk.

        Raises:
            WeightsError: the encoder cannot be had or read.
            StoreError: the store cannot be read.
        """
        if self._index is not None and self._index.store is bank.store:
            return
        progress = progress or NoProgress()
        documents = self._encoders[0]
        numbers: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        vectors: list[NDArray[np.float16]] = [np.empty((0, documents.size), np.float16)]
        for ids, _ in bank.store.keys(GROUP):
            texts = [row.text for row in bank.store.chunk_rows(ids.tolist())]
            digests = [_digest(text) for text in texts]
            new = {d: t for d, t in zip(digests, texts, strict=True) if d not in self._known}
            begun = time.perf_counter()
            if new:
                made = documents.encode_documents(list(new.values())).cpu().numpy()
                self._known |= zip(new, made.astype(np.float16), strict=True)
            self._seconds += time.perf_counter() - begun
            numbers.append(ids)
            vectors.append(np.stack([self._known[digest] for digest in digests]))
            progress.advance(len(texts))
        self._index = _Index(bank.store, np.concatenate(numbers), np.concatenate(vectors))

    def search(self, bank: Bank, question: str, k: int) -> list[int]:
        """Return the numbers of the k chunks nearest to a question, the nearest first.

        Raises:
            WeightsError, StoreError: as `prepare`.
        """
        self.prepare(bank)
        index = self._index
        assert index is not None
        query = self._encoders[1].encode_queries([question])[0].cpu().numpy()
        scores = index.vectors.astype(np.float32) @ query
        order = np.lexsort((index.numbers, -scores))[:k]
        return [int(i) for i in index.numbers[order]]

    def cost(self, bank: Bank) -> tuple[float, int]:
        """Return the seconds of embedding all chunks of a bank, and the bytes of the embeddings.

        Chunks of the same text are embedded once in a run; each counts as much as it took then.
        """
        self.prepare(bank)
        assert self._index is not None
        each = self._seconds / max(1, len(self._known))
        return each * len(self._index.numbers), self._index.vectors.nbytes


def _repository(hub_id: Path) -> str:
    """Return a Hub id without its revision."""
    return str(hub_id).partition("@")[0]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
