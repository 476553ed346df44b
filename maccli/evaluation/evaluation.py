"""One checkpoint in a run of `mac eval` or `mac study`, and everything that measures share.

All documents go into an empty store, then come the questions. Every measure with one checkpoint has
the same frozen LM, and all methods that search have the same store.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from maccli.errors import MacError
from maccli.evaluation.answering import Readers
from maccli.evaluation.checkpoints import Checkpoint
from maccli.evaluation.dataset import Dataset, draw, read_dataset
from maccli.evaluation.encoders import Encoder
from maccli.evaluation.evaluation_store import EvaluationStore
from maccli.evaluation.methods import ALL, K, Method
from maccli.evaluation.peak_memory import peak_memory
from maccli.evaluation.plan import Plan
from maccli.evaluation.results import Results
from maccli.evaluation.rivals import Rivals
from maccli.service.session import Session
from models.errors import CheckpointError
from models.evaluation.questions import SOURCE
from models.memory.protocol import Progress
from models.rivals import text_prefix
from models.stacks import as_latent, config_of

if TYPE_CHECKING:
    from models.base.lm import Prefix
    from models.data.files import Example
    from models.judge.judge import Judge
    from models.memory.relevance import Candidate, RelevanceWeights
    from models.stacks import AnyMemory
    from models.weights.carriers import Transfer

Bars = Callable[[int, str, str], AbstractContextManager[Progress]]
"""Shows a bar: how many units there are, their name, a title."""


@dataclass
class Shared:
    """What all checkpoints of a run share: the data, other encoders, and who is told.

    Attributes:
        plan: what is measured.
        results: the rows.
        bars: shows progress.
        note: tells the user something.
        device: "auto", "cpu", "cuda" or "mps", for other encoders.
        transfer: told about downloads.
    """

    plan: Plan
    results: Results
    bars: Bars
    note: Callable[[str], None]
    device: str = "auto"
    transfer: Transfer | None = None
    _encoders: dict[str, Encoder] = field(default_factory=dict)

    @cached_property
    def dataset(self) -> Dataset:
        """The documents and questions.

        Raises:
            DataError: the data cannot be used.
        """
        plan = self.plan
        dataset = read_dataset(plan.data, plan.split, distractors=plan.distractors)
        dataset.explain(self.note)
        if number := sum(example.source == SOURCE for example in dataset.examples):
            files = ", ".join(path.name for path in plan.data)
            self.results.data.setdefault("machine_made", {})[files] = number  # saved with a row
        return dataset

    @cached_property
    def questions(self) -> list[Example]:
        """The questions that are asked."""
        return draw(self.dataset.examples, self.plan.limit, self.plan.seed)

    def encoder(self, given: str) -> Encoder:
        """Return another sentence encoder, loaded once a run."""
        if given not in self._encoders:
            self._encoders[given] = Encoder(given, device=self.device, transfer=self.transfer)
        return self._encoders[given]


class Evaluation:
    """One checkpoint: its store is filled and its models are loaded when they are first needed.

    Args:
        session: holds the checkpoint's models.
        checkpoint: the checkpoint.
        shared: what all checkpoints of the run share.
        folder: of the store; None takes that of the checkpoint.
        part: the part of the data that is measured, where each has a store of its own.
    """

    def __init__(
        self,
        session: Session,
        checkpoint: Checkpoint,
        shared: Shared,
        *,
        folder: Path | None = None,
        part: str | None = None,
    ) -> None:
        self.session, self.checkpoint, self.shared, self.part = session, checkpoint, shared, part
        self.folder = folder or checkpoint.choice.store
        self.plan, self.results = shared.plan, shared.results
        self.bars, self.note = shared.bars, shared.note

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *_: object) -> None:
        if "store" in self.__dict__:
            self.store.store.close()

    @property
    def documents(self) -> dict[str, str]:
        """All documents, name to text."""
        return self.shared.dataset.documents

    @property
    def questions(self) -> list[Example]:
        """The questions that are asked."""
        return self.shared.questions

    @cached_property
    def model(self) -> AnyMemory:
        """The checkpoint with its models."""
        return cast("AnyMemory", self.session.model)

    @property
    def weights(self) -> RelevanceWeights:
        """How the scores of relevance mix."""
        return self.model.relevance

    @property
    def selecting(self) -> tuple[int, ...]:
        """How many chunks a question selects where something is selected."""
        given = tuple(k for k in self.plan.ks if k != ALL)
        return given or (config_of(self.checkpoint.choice.checkpoint).documents,)

    def ks(self, method: Method) -> tuple[K | None, ...]:
        """Return the numbers of chunks that a method is run with; None where it selects none."""
        if not method.searches:
            return (None,)
        if ALL in self.plan.ks and method.reads_all and self.checkpoint.reads_whole_store:
            return self.plan.ks
        return self.selecting

    @cached_property
    def _prefix(self) -> Prefix:
        file = self.plan.files["rag-prefix"]
        model = as_latent(self.model)
        if model is None:
            raise CheckpointError(
                f"{file}: the constant tokens were trained with a checkpoint of the latent stack; "
                f"{self.checkpoint.choice.model} is of the paper's",
                "name that checkpoint, too: -m",
            )
        return text_prefix.load(file, model)

    @cached_property
    def rivals(self) -> Rivals:
        """The methods that train first."""
        return Rivals(self.model, self.plan.files, self.note)

    def readers(self, method: Method) -> Readers:
        """Return what a method reads texts with.

        Raises:
            CheckpointError: a file cannot be used.
        """
        return Readers(
            self._prefix if method.reader == "prefix" else None,
            self.rivals.reader if method.reader == "lora" else None,
            self.judge(method),
        )

    def select(self, store: EvaluationStore, method: Method) -> Callable[..., list[Candidate]]:
        """Return the function that selects the chunks a method answers a question from."""

        def chosen(example: Example, k: int) -> list[Candidate]:
            if method.encoder is not None:
                return self.shared.encoder(method.encoder).search(store, example.question, k)
            if method.retriever == "oracle":
                return store.right(example)
            assert method.retriever in ("hybrid", "dense", "bm25")
            return store.candidates(
                example.question, k, method.retriever, self.weights, judge=self.judge(method)
            )

        return chosen

    def judge(self, method: Method) -> Judge | None:
        """Return the judge that a method reads chunks with; None if it reads without one.

        Raises:
            CheckpointError: the judge cannot be used, or there is none and the method needs it.
        """
        judge = self.session.judge if method.judged else None
        if judge is None and method.reader == "judge":
            raise CheckpointError(
                f"{self.checkpoint.choice.model} names no judge, which {method.name} reads with",
                'name one in its config.json: "judge": "minilm"',
            )
        return judge

    @property
    def on_cuda(self) -> bool:
        """Whether the models are on a CUDA device."""
        return self.model.lm.device.type == "cuda"

    @contextmanager
    def empty_store(self, *, lazy: bool = False) -> Iterator[EvaluationStore]:
        """Give an empty store in a temporary folder, for a study that fills it by and by."""
        with tempfile.TemporaryDirectory(prefix="mac-eval-") as folder:
            store = EvaluationStore.open(Path(folder) / "store", self.model, lazy=lazy)
            try:
                yield store
            finally:
                store.store.close()

    @cached_property
    def store(self) -> EvaluationStore:
        """The store with all documents of the data, and no others.

        Raises:
            MacError: there are other documents in the store.
            StoreError: the store cannot be used.
        """
        documents = self.documents
        store = EvaluationStore.open(self.folder, self.model)
        stored = (document.source for document in store.store.documents())
        if foreign := next((name for name in stored if name not in documents), ""):
            store.store.close()
            raise MacError(
                f"The store in {self.folder} holds documents of other data, such as {foreign!r}.",
                "Evaluate in a folder of its own (--store), or in a temporary one.",
            )
        with (
            self.bars(len(documents), "doc", "ingest") as progress,
            peak_memory(self.on_cuda) as used,
        ):
            cost = store.fill(documents, progress)
        stats = store.store.stats()
        whole = cost.documents == stats.documents
        if whole or not self.ingest:
            # Of a store that was there before, it is not known what filling it took.
            ingest_cost = {
                "documents": stats.documents,
                "chunks": stats.chunks,
                "seconds": cost.seconds if whole else None,
                "amortize_seconds": cost.amortize_seconds if whole else None,
                "embed_seconds": None,
                "memory": used.process if whole else None,
                "device_memory": used.device if whole else None,
                "text_bytes": stats.text_bytes,
                "modulation_bytes": stats.modulation_bytes,
                "key_bytes": stats.key_bytes,
            }
            others = self.results.data.get("ingest", {})
            self.results.keep("ingest", {**others, self._ingest_name: ingest_cost})
        return store

    @property
    def _ingest_name(self) -> str:
        """Under which name the results keep what filling the store took."""
        names = (self.checkpoint.name, self.part)
        return ", ".join(name for name in names if name) or "store"

    @property
    def ingest(self) -> dict[str, Any]:
        """What filling the store took; empty before it was filled."""
        ingest_cost: dict[str, Any] = self.results.data.get("ingest", {}).get(self._ingest_name, {})
        return ingest_cost
