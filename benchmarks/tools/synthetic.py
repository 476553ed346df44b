"""Stores that are filled without a model: with modulations and keys from elsewhere, quickly."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.data import files as data
from models.text.chunking import split
from store import NewChunk, Store
from store.modulations.codec import Codec

DOCUMENT_CHUNKS = 50
CHUNK_WORDS = 32
"""The length of a text: about the 45 tokens of a news snippet."""


class CachedCodec(Codec):
    """A codec that encodes equal modulations only once."""

    def __init__(self, latent_size: int) -> None:
        super().__init__(latent_size)
        self._encoded: dict[bytes, bytes] = {}

    def encode(self, latents: NDArray[np.int8], scales: NDArray[np.float16]) -> bytes:
        """See `Codec.encode`."""
        key = latents.tobytes() + scales.tobytes()
        if key not in self._encoded:
            self._encoded[key] = super().encode(latents, scales)
        return self._encoded[key]


def fill(
    folder: Path,
    chunks: Iterable[NewChunk],
    *,
    key_size: int,
    latent_size: int,
    fingerprint: str = "synthetic",
) -> None:
    """Make a store of documents of 50 chunks each; it appears when it is complete.

    Args:
        folder: of the store; there is none yet.
        chunks: what it holds; their positions are ignored.
        key_size: E.
        latent_size: R.
        fingerprint: of the checkpoint that may read it.
    """
    unfinished = folder.with_name(f"{folder.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with Store.open(
        unfinished,
        fingerprint=fingerprint,
        model="synthetic",
        key_size=key_size,
        latent_size=latent_size,
        create=True,
    ) as store:
        store.codec = CachedCodec(latent_size)
        remaining = iter(chunks)
        for number in itertools.count():
            document = list(itertools.islice(remaining, DOCUMENT_CHUNKS))
            if not document:
                break
            store.put(
                f"synthetic-{number:06}",
                content_hash="synthetic",
                chunking="synthetic",
                chunks=[replace(chunk, position=i) for i, chunk in enumerate(document)],
            )
    unfinished.rename(folder)


def texts(articles: Path, turns: int | None = None) -> Iterator[str]:
    """Yield pieces of a file's articles, numbered from the second turn through the file on.

    Args:
        articles: JSON lines with `text`, maybe compressed.
        turns: how often the file is read; None for without end.
    """
    for turn in itertools.count() if turns is None else range(turns):
        for _, article in data.documents(articles):
            for chunk in split(article, lambda ts: [len(t.split()) for t in ts], CHUNK_WORDS):
                yield f"{chunk.text} ({turn})" if turn else chunk.text
