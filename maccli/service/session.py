"""A checkpoint and a store that belong together, each opened when it is first needed.

T: tokens a modulation, R: latent size, E: key size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from maccli.errors import MacError
from models.memory import checkpoint
from store.bank import Store
from store.errors import StoreNotFoundError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.memory.modulation import Modulation, Selected
    from models.memory.relevance import RelevanceWeights

Transfer = Callable[[str, int, int | None], None]
"""Told what is being downloaded: a label, the bytes so far, the bytes in all if known."""


class Sizes(Protocol):
    """The part of a checkpoint's config that is used here."""

    @property
    def chunk_tokens(self) -> int:
        """The longest chunk."""

    @property
    def latent_size(self) -> int:
        """R."""

    @property
    def key_size(self) -> int:
        """E."""

    @property
    def documents(self) -> int:
        """How many chunks a question selects by default."""

    @property
    def abstain_below(self) -> float | None:
        """Relevance under which a question is not answered; None never abstains."""


class AnswerStream(Protocol):
    """An iterator over the pieces of an answer; the rest is known when it is exhausted."""

    @property
    def prefix_tokens(self) -> int:
        """Keys and values in front of each layer."""

    @property
    def attention(self) -> Sequence[NDArray[np.float32]]:
        """For each selected chunk the attention that its tokens got, [T]; empty if unknown."""

    def __iter__(self) -> Iterator[str]:
        """Return the iterator itself."""

    def __next__(self) -> str:
        """Return the next piece."""


class Memory(Protocol):
    """What `models.latent.memory.Memory` does for `mac`; tests put something smaller in its place."""

    chunking: str

    @property
    def config(self) -> Sizes:
        """The checkpoint's config."""

    @property
    def relevance(self) -> RelevanceWeights:
        """How dense and lexical relevance mix."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""

    def amortize(self, texts: Sequence[str]) -> list[Modulation]:
        """Turn each text into its modulation."""

    def encode_question(self, question: str) -> NDArray[np.float32]:
        """Return the query [E] that keys are multiplied with."""

    def question_likelihood(self, question: str, documents: Sequence[Selected]) -> Sequence[float]:
        """Return log p(question | document) of each document alone."""

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return where in `text` each of its T tokens stands."""

    def answer(
        self, question: str, selected: Sequence[Selected], *, max_new_tokens: int, seed: int | None
    ) -> AnswerStream:
        """Answer from modulations; from none, exactly as the base LM does."""

    def export_adapter(self, question: str, selected: Sequence[Selected], folder: Path) -> None:
        """Write the modulation that answers as an adapter of the `peft` library."""

    def answer_rag(
        self, question: str, texts: Sequence[str], *, max_new_tokens: int, seed: int | None
    ) -> AnswerStream:
        """Answer from texts in the prompt."""


LoadMemory = Callable[..., Memory]


@dataclass(frozen=True, slots=True)
class Place:
    """Which store and which checkpoint.

    Attributes:
        store: the store's folder.
        checkpoint: the checkpoint's folder.
        model: what the user calls the checkpoint.
        device: "auto", "cpu", "cuda" or "mps".
        store_named: the user named the store, so that one that is not there is a mistake.
    """

    store: Path
    checkpoint: Path
    model: str
    device: str = "auto"
    store_named: bool = False


def place(store: Path, model: str, *, device: str = "auto", store_named: bool = False) -> Place:
    """Return the place of a store and a model given by name or folder.

    Raises:
        CheckpointError: there is no such model.
    """
    return Place(store, checkpoint.find(model), model, device, store_named)


class Session:
    """Keeps a memory and a store open over several pieces of work. A context manager."""

    def __init__(
        self,
        place: Place,
        *,
        load_memory: LoadMemory | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        self.place = place
        self.fingerprint = checkpoint.fingerprint(place.checkpoint)
        self.load_seconds = 0.0
        self._load = load_memory or _load_memory
        self._transfer = transfer
        self._memory: Memory | None = None
        self._store: Store | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    @property
    def memory(self) -> Memory:
        """The memory, loaded at the first use.

        Raises:
            WeightsError: the base weights cannot be had.
            CheckpointError: the checkpoint cannot be used.
        """
        if self._memory is None:
            begun = time.perf_counter()
            self._memory = self._load(
                self.place.checkpoint, device=self.place.device, progress=self._transfer
            )
            self.load_seconds = time.perf_counter() - begun
        return self._memory

    @property
    def store(self) -> Store | None:
        """The store; None as long as there is none.

        Raises:
            StoreError: it cannot be used, or another checkpoint wrote it.
            MacError: the user named a store that is not there.
        """
        if self._store is None:
            try:
                self._store = Store.open(self.place.store, fingerprint=self.fingerprint)
            except StoreNotFoundError:
                return None
        return self._store

    def require_store(self) -> None:
        """Refuse a store that the user named and that is not there."""
        if self.place.store_named and self.store is None:
            raise MacError(
                f"There is no store in {self.place.store}.",
                "`mac ingest --store` makes one; `mac store path` shows the default.",
            )

    def create_store(self) -> Store:
        """Return the store, made if there is none."""
        if self._store is None:
            config = self.memory.config
            self._store = Store.open(
                self.place.store,
                fingerprint=self.fingerprint,
                model=self.place.model,
                key_size=config.key_size,
                latent_size=config.latent_size,
                create=True,
            )
        return self._store


def silence_libraries() -> None:
    """Keep the progress bars and advice of transformers off our standard error."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _load_memory(path: Path, *, device: str, progress: Transfer | None) -> Memory:
    from models.latent.memory import Memory as LatentMemory
    from models.paper.memory import PaperMemory

    silence_libraries()
    paper = checkpoint.read_config(path).get("stack") == "paper"
    return (PaperMemory if paper else LatentMemory).load(path, device=device, progress=progress)
