"""The stores, the model that answers from them, and the work that it is given. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from maccli.api import Answer, Mac, Outcome, Passage
from maccli.reading.items import Piped
from maccli.server.lending import SharedSession, Turn
from maccli.server.metrics import Metrics
from maccli.server.queue import Job, Stopping, Worker

UPLOADS = 4
"""So many uploads may wait, each in memory."""
_PATIENCE = 30.0
"""Seconds that running work gets to end in, when the server stops."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and the tokens that were read and written for it."""

    answer: Answer
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Passages:
    """What a search found, and the tokens that were read for it."""

    passages: list[Passage]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector of E numbers for each text, and the tokens that were read for them."""

    vectors: list[list[float]]
    prompt_tokens: int


class Engine:
    """One model, loaded once, and the stores that it answers from.

    Every piece of work opens its store afresh, which takes a millisecond: so a store that was
    removed, replaced or made meanwhile is noticed.

    Args:
        mac: the first store, and the model.
        others: further stores by their names.
        queue: so many questions may wait.

    Attributes:
        stores: the stores' folders by their names, the first store first.
        metrics: what is counted.
        questions: the thread that owns the model.
        ingests: the thread that reads documents, and borrows the model.
    """

    def __init__(self, mac: Mac, others: Mapping[str, Path], *, queue: int) -> None:
        self.stores = {mac.folder.name: mac.folder, **others}
        self.metrics = Metrics()
        self.questions = Worker("mac-model", queue)
        self.ingests = Worker("mac-ingest", UPLOADS)
        self._loaded = mac.session

    @property
    def encoder_name(self) -> str:
        """The sentence encoder's name, without the folder that it may lie in."""
        chosen = self._loaded.choice.encoder
        return PurePath(chosen.name if chosen else self._loaded.model.config.encoder).name

    def load(self) -> None:
        """Load the model with everything that it needs, and begin to work.

        Raises:
            WeightsError: the base weights cannot be downloaded or read.
            ModelError: the model cannot be used.
        """
        model = self._loaded.model
        model.load()
        _ = self._loaded.judge
        self.questions.start()
        self.ingests.start()

    def stop(self) -> None:
        """Begin nothing new; an ingest ends after its batch, and keeps what is written."""
        self.ingests.stop()
        self.questions.stop()

    def join(self) -> None:
        """Wait for the end of what runs, though not for ever."""
        self.ingests.join(_PATIENCE)
        self.questions.join(_PATIENCE)

    @contextmanager
    def open(self, store: str, turn: Turn | None = None) -> Iterator[Mac]:
        """Provide a store, for one thread. Without a turn at the model it only lists and removes.

        Args:
            store: its name.
            turn: what every call of the model goes through.
        """
        with Mac(self.stores[store]) as mac:
            if turn is not None:
                mac.session = SharedSession(self._loaded, mac.folder, turn)
            yield mac

    def count(self, store: str) -> int:
        """Return the number of documents in a store; 0 if it cannot be read."""
        with suppress(OSError), self.open(store) as mac:
            return mac.store.count() if mac.store else 0
        return 0

    def ask(
        self,
        store: str,
        question: str,
        how: Mapping[str, Any],
        on_text: Callable[[str], None] | None = None,
    ) -> Job[Reply]:
        """Let a question be answered.

        Args:
            store: its name.
            question: the question.
            how: the other arguments of `Mac.ask`.
            on_text: see `Mac.ask`; called in the model's thread.

        Raises:
            QueueFull, Stopping: it is not taken. What `Mac.ask` raises is in the job's future.
        """

        def work(job: Job[Reply]) -> Reply:
            with self.open(store, job.turn) as mac:
                answer = mac.ask(question, on_text=on_text, **how)
            asked, said = self._count_tokens([question, answer.answer])
            self.metrics.add("mac_questions_total", kind="ask", outcome=answer.outcome)
            self.metrics.add_seconds(answer.timings)
            return Reply(answer, answer.prefix_tokens + asked, said)

        return self.questions.submit(work)

    def search(self, store: str, question: str, how: Mapping[str, Any]) -> Job[Passages]:
        """Let passages be found. Arguments and errors as for `ask` and `Mac.search`."""

        def work(job: Job[Passages]) -> Passages:
            with self.open(store, job.turn) as mac:
                passages = mac.search(question, **how)
            outcome = "passages" if passages else "nothing relevant"
            self.metrics.add("mac_questions_total", kind="search", outcome=outcome)
            return Passages(passages, *self._count_tokens([question]))

        return self.questions.submit(work)

    def embed(self, texts: Sequence[str]) -> Job[Embeddings]:
        """Let texts be embedded by the sentence encoder. Errors as for `ask`."""

        def work(job: Job[Embeddings]) -> Embeddings:
            encoder = self._loaded.model.encoder
            vectors = encoder.encode(texts).tolist()
            self.metrics.add("mac_embeddings_total", len(texts))
            return Embeddings(vectors, sum(map(len, encoder.tokenize(texts))))

        return self.questions.submit(work)

    def add(
        self, store: str, name: str, document: Piped, labels: Mapping[str, Any]
    ) -> Job[Outcome]:
        """Let a document be ingested beside the questions.

        Args:
            store: its name.
            name: the document's name in it.
            document: its bytes, with a file's name, which says what kind it is.
            labels: the arguments `tags` and `date` of `Mac.ingest`.

        Raises:
            QueueFull, Stopping: it is not taken. What `Mac.ingest` raises is in the job's future.
        """

        def work(_: Job[Outcome]) -> Outcome:
            with self.open(store, self.questions.borrow) as mac:
                outcomes = mac.ingest(document, name=name, **labels).outcomes
            if not outcomes:  # it was interrupted before anything was written
                raise Stopping
            (outcome,) = outcomes
            self.metrics.add("mac_uploads_total", status=outcome.status)
            return outcome

        return self.ingests.submit(work)

    def _count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._loaded.model.count_tokens(texts)
