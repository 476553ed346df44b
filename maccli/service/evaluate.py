"""`mac eval`: what is measured, from what, and everything that the measures share.

A stream of documents goes into an empty bank, then come the questions. Every measure has the same
frozen LM, and all that search have the same bank.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from maccli.errors import MacError
from maccli.output import Progress
from maccli.service.bank import Bank, create_store
from maccli.service.peak import peak
from maccli.service.results import Results
from maccli.service.rivals import Rivals
from maccli.service.session import Session
from maccli.service.stream import Stream, identity, read_stream
from models import checkpoint, text_prefix
from models.evaluate import BATCH, MAX_NEW_TOKENS
from models.relevance import RelevanceWeights

if TYPE_CHECKING:
    from models.data import Example
    from models.lm import Prefix
    from models.memory import Memory

Bars = Callable[[int, str, str], AbstractContextManager[Progress]]
"""Shows a bar: how many units there are, their name, a title."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure and from what.

    Attributes:
        data: files of questions with documents.
        distractors: files of documents without questions, which are in the bank, too.
        split: only what belongs to this split.
        methods: names in `METHODS`.
        ks: how many chunks a question selects, one after the other; none: as trained.
        limit: how many questions, drawn at random; all if None.
        seed: of the draw.
        lexical: BM25's weight in hybrid; None: the checkpoint's.
        rag_prefix: a file of trained constant tokens.
        rates: learning rates of the methods that tune the LM, one after the other.
        rag_lora: folder of the adapter that the rag-lora methods read with.
        qa_base: folder of the adapter that tuning on documents starts from.
        camels: the weighting network of the method of that name.
        tune_on: file and split to choose the learning rate on; None: all rates are evaluated.
        tune_documents: how many documents of it; None: as many as are evaluated on.
    """

    data: tuple[Path, ...]
    distractors: tuple[Path, ...] = ()
    split: str | None = None
    methods: tuple[str, ...] = ()
    ks: tuple[int, ...] = ()
    limit: int | None = None
    seed: int = 0
    lexical: float | None = None
    rag_prefix: Path | None = None
    rates: tuple[float, ...] = ()
    rag_lora: Path | None = None
    qa_base: Path | None = None
    camels: Path | None = None
    tune_on: str | None = None
    tune_documents: int | None = None

    def settings(self, session: Session, kind: str = "methods") -> dict[str, Any]:
        """Return what everything in one file of results must have in common.

        Args:
            session: with the checkpoint; nothing is loaded.
            kind: of the measures.

        Raises:
            DataError: a file cannot be read.
            CheckpointError: the checkpoint's config cannot be read.
            MacError: it is of a stack that cannot be measured yet.
        """
        config = checkpoint.read_config(session.place.checkpoint)
        if (stack := config.get("stack", "latent")) != "latent":
            raise MacError(
                f"mac eval measures checkpoints of the latent stack; {session.place.model} is of "
                f"the {stack} stack.",
                "Ask it single questions with `mac ask -m`.",
            )
        lexical = config.get("lexical_weight", 0.0) if self.lexical is None else self.lexical
        return {
            "kind": kind,
            "data": identity(self.data),
            "distractors": identity(self.distractors),
            "split": self.split,
            "limit": self.limit,
            "seed": self.seed,
            "model": session.fingerprint,
            "lexical": lexical,
            "likelihood": config.get("likelihood_weight", 0.0),
            "max_new_tokens": MAX_NEW_TOKENS,
            "batch": BATCH,
        }


class Evaluation:
    """One run of `mac eval`: reads, ingests and loads what is needed, when it is first needed."""

    def __init__(
        self,
        session: Session,
        plan: Plan,
        results: Results,
        *,
        bars: Bars,
        note: Callable[[str], None],
    ) -> None:
        self.session = session
        self.plan = plan
        self.results = results
        self.bars = bars
        self.note = note

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *_: object) -> None:
        if "bank" in self.__dict__:
            self.bank.store.close()

    @cached_property
    def stream(self) -> Stream:
        """The documents and questions.

        Raises:
            DataError: the data cannot be used.
        """
        plan = self.plan
        stream = read_stream(plan.data, plan.split, distractors=plan.distractors)
        if stream.dependent:
            self.note(
                f"Left out: {stream.dependent:,} questions that make sense only beside their "
                "document."
            )
        if stream.unsupported:
            self.note(
                f"{len(stream.unsupported):,} of {len(stream.examples):,} questions have no answer "
                "that stands in their document word for word; the first is "
                f"{stream.unsupported[0]!r}."
            )
        return stream

    @cached_property
    def questions(self) -> list[Example]:
        """Those that are asked."""
        return self.stream.draw(self.plan.limit, self.plan.seed)

    @property
    def memory(self) -> Memory:
        """The checkpoint with its models."""
        return cast("Memory", self.session.memory)

    @property
    def weights(self) -> RelevanceWeights:
        """How the scores of relevance mix."""
        given, trained = self.plan.lexical, self.memory.relevance
        return trained if given is None else replace(trained, lexical=given)

    @property
    def ks(self) -> tuple[int, ...]:
        """How many chunks a question selects."""
        return self.plan.ks or (checkpoint.config_of(self.session.place.checkpoint).documents,)

    @cached_property
    def prefix(self) -> Prefix | None:
        """The trained constant tokens of `rag-prefix`.

        Raises:
            CheckpointError: the file cannot be used.
        """
        file = self.plan.rag_prefix
        return text_prefix.load(file, self.memory) if file else None

    @cached_property
    def rivals(self) -> Rivals:
        """Those that learn."""
        return Rivals(self)

    @property
    def on_cuda(self) -> bool:
        """Whether the models are on a CUDA device."""
        return self.memory.lm.device.type == "cuda"

    @cached_property
    def bank(self) -> Bank:
        """The store with all documents of the stream, and of nothing else.

        Raises:
            MacError: there are other documents in the store.
            StoreError: the store cannot be used.
        """
        documents = self.stream.documents
        bank = Bank(self.memory, create_store(self.session.place.store, self.memory))
        strange = next((d.source for d in bank.store.documents() if d.source not in documents), "")
        if strange:
            bank.store.close()
            raise MacError(
                f"The store in {self.session.place.store} holds documents of other data, "
                f"such as {strange!r}.",
                "Evaluate in a folder of its own (--store), or in a temporary one.",
            )
        with (
            self.bars(len(documents), "doc", "ingest") as progress,
            peak(self.on_cuda) as used,
        ):
            spent = bank.fill(documents, progress)
        stats = bank.store.stats()
        whole = spent.documents == stats.documents
        if whole or "ingest" not in self.results.data:
            self.results.keep(
                "ingest",
                {
                    "documents": stats.documents,
                    "chunks": stats.chunks,
                    "seconds": spent.seconds if whole else None,
                    "amortize_seconds": spent.amortize_seconds if whole else None,
                    "embed_seconds": None,
                    "memory": used.process if whole else None,
                    "device_memory": used.device if whole else None,
                    "text_bytes": stats.text_bytes,
                    "modulation_bytes": stats.modulation_bytes,
                    "key_bytes": stats.key_bytes,
                },
            )
        return bank
