"""Chunks that are amortized when a question first selects them: for large banks, few of them read.

The store has the text and the key of every chunk, which are all that a search goes by. Where its
modulation would be, it has one empty token, which nobody reads. No more than that is different, so
answers are those of a bank that was amortized whole.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from models.memory.modulation import Modulation, quantise
from store.views import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from maccli.evaluation.bank import AnyMemory
    from store.bank import Store

MODEL = "mac eval --amortize-late"
"""What a store without modulations names as its model."""


@dataclass(slots=True)
class Late:
    """The modulations of one checkpoint that were asked for so far, by the chunks' texts.

    A part of a bank shares them with the whole: its chunks have other numbers, but the same texts.

    Attributes:
        memory: the checkpoint, of any stack.
        seconds: what amortizing took so far.
    """

    memory: AnyMemory
    seconds: float = 0.0
    _made: dict[str, View] = field(default_factory=dict)

    def embed(self, texts: Sequence[str]) -> list[Modulation]:
        """Return the key of each text with an empty token, in place of its modulation."""
        keys = self.memory.encoder.encode(texts).cpu().numpy().astype(np.float16)
        return [Modulation(*self.nothing(), key) for key in keys]

    def nothing(self) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
        """Return what is stored in place of every modulation."""
        return quantise(np.zeros((1, self.memory.config.latent_size), np.float32))

    def views(self, store: Store, ids: Sequence[int]) -> list[View]:
        """Return what `Store.views` would, had the chunks been amortized when they were stored.

        Raises:
            StoreError: the store cannot be read, or a chunk is not in it.
        """
        texts = [row.text for row in store.chunk_rows(ids)]
        if new := [text for text in dict.fromkeys(texts) if text not in self._made]:
            begun = time.perf_counter()
            made = self.memory.amortize(new)
            self._made |= {t: View(m.latents, m.scales) for t, m in zip(new, made, strict=True)}
            self.seconds += time.perf_counter() - begun
        return [self._made[text] for text in texts]


def fingerprint(own: str) -> str:
    """Return what a store without modulations has as its checkpoint's fingerprint.

    It is another one, so that nothing that reads modulations takes the store for a full one.
    """
    return hashlib.sha256(f"{MODEL} {own}".encode()).hexdigest()[: len(own)]
