"""`mac eval`: what is measured, from what, and everything that the measures share.

A stream of documents goes into an empty bank, then come the questions. Every measure with one
checkpoint has the same frozen LM, and all that search have the same bank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from maccli.errors import MacError
from maccli.evaluation.bank import ALL, Bank, K, create_store
from maccli.evaluation.common import Common
from maccli.evaluation.late import Late
from maccli.evaluation.lineup import Entrant, alone, check, own_settings
from maccli.evaluation.peak import peak
from maccli.evaluation.results import Results
from maccli.evaluation.rivals import Rivals
from maccli.evaluation.stream import Stream, identity
from maccli.output import Progress
from maccli.service.session import Session
from models.errors import CheckpointError
from models.evaluation.answers import BATCH, MAX_NEW_TOKENS
from models.evaluation.questions import SOURCE
from models.memory import checkpoint
from models.memory.relevance import RelevanceWeights
from models.paper.memory import PaperMemory
from models.rivals import text_prefix

if TYPE_CHECKING:
    from maccli.evaluation.bank import AnyMemory
    from maccli.evaluation.retrievers import External
    from models.base.lm import Prefix
    from models.data.files import Example
    from models.latent.memory import Memory

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
        ks: how many chunks a question selects, one after the other; none: as trained. `ALL` leaves
            selection out, for the paper's stack.
        limit: how many questions, drawn at random; all if None.
        seed: of the draw.
        lexical: BM25's weight in hybrid; None: the checkpoint's.
        rag_prefix: a file of trained constant tokens.
        rates: learning rates of the methods that tune the LM, one after the other.
        retrievers: other encoders that chunks are found by, too; see `encoders.External`.
        group: how many documents the paper's stack aggregates at once: `ALL`, or M, more
            hierarchically; None: the checkpoint's M.
        rag_lora: folder of the adapter that the rag-lora methods read with.
        qa_base: folder of the adapter that tuning on documents starts from.
        camels: the weighting network of the method of that name.
        tune_on: file and split to choose the learning rate on; None: all rates are evaluated.
        tune_documents: how many documents of it; None: as many as are evaluated on.
        amortize_late: store texts and keys only, and amortize a chunk when it is first selected.
    """

    data: tuple[Path, ...]
    distractors: tuple[Path, ...] = ()
    split: str | None = None
    methods: tuple[str, ...] = ()
    ks: tuple[K, ...] = ()
    limit: int | None = None
    seed: int = 0
    lexical: float | None = None
    rag_prefix: Path | None = None
    rates: tuple[float, ...] = ()
    retrievers: tuple[str, ...] = ()
    group: K | None = None
    rag_lora: Path | None = None
    qa_base: Path | None = None
    camels: Path | None = None
    tune_on: str | None = None
    tune_documents: int | None = None
    amortize_late: bool = False

    def settings(self, entrants: Sequence[Entrant], kind: str = "methods") -> dict[str, Any]:
        """Return what everything in one file of results must have in common.

        With several checkpoints what depends on each is a list, in their order.

        Args:
            entrants: the checkpoints; nothing is loaded.
            kind: of the measures.

        Raises:
            DataError: a file cannot be read.
            MacError: no checkpoint can do what is asked.
        """
        fitted = ("rag_prefix", "rag_lora", "qa_base", "camels")
        given = [f"--{name.replace('_', '-')}" for name in fitted if getattr(self, name)]
        check(entrants, self.ks, self.group, given)
        own = [own_settings(entrant, self.lexical, self.group) for entrant in entrants]
        alone = len(own) == 1
        each = {name: own[0][name] if alone else [one[name] for one in own] for name in own[0]}
        return {
            "kind": kind,
            "data": identity(self.data),
            "distractors": identity(self.distractors),
            "split": self.split,
            "limit": self.limit,
            "seed": self.seed,
            **each,
            "amortize_late": self.amortize_late or None,  # as in files of before there was any
            "max_new_tokens": MAX_NEW_TOKENS,
            "batch": BATCH,
        }


class Evaluation:
    """One checkpoint in a run of `mac eval`: ingests and loads what is first needed when it is.

    Attributes:
        folder: of the store; the session's unless another one is given.
    """

    def __init__(
        self,
        session: Session,
        plan: Plan,
        results: Results,
        *,
        bars: Bars,
        note: Callable[[str], None],
        entrant: Entrant | None = None,
        common: Common | None = None,
        folder: Path | None = None,
    ) -> None:
        self.session = session
        self.entrant = entrant or alone(session.place)
        self.common = common or Common(plan, note, device=session.place.device)
        self.folder = folder or session.place.store
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
        """The documents and questions; see `Common.stream`."""
        stream = self.common.stream
        if made := sum(example.source == SOURCE for example in stream.examples):
            self.results.data["machine_made"] = made  # saved with the first figure
        return stream

    @property
    def questions(self) -> list[Example]:
        """Those that are asked."""
        return self.common.questions

    @cached_property
    def memory(self) -> AnyMemory:
        """The checkpoint with its models."""
        memory = cast("AnyMemory", self.session.memory)
        if self.plan.group is not None and isinstance(memory, PaperMemory):
            memory.group = None if self.plan.group == ALL else self.plan.group
        return memory

    @property
    def weights(self) -> RelevanceWeights:
        """How the scores of relevance mix."""
        given, trained = self.plan.lexical, self.memory.relevance
        return trained if given is None else replace(trained, lexical=given)

    @property
    def ks(self) -> tuple[K, ...]:
        """How many chunks a question selects; `ALL` only where the stack can read them."""
        ks = self.plan.ks if self.entrant.paper else self.selecting
        return ks or self.selecting

    @property
    def selecting(self) -> tuple[int, ...]:
        """How many chunks a question selects where something is selected."""
        given = tuple(k for k in self.plan.ks if k != ALL)
        return given or (checkpoint.config_of(self.session.place.checkpoint).documents,)

    @property
    def retrievers(self) -> list[External]:
        """The other encoders that chunks are found by; see `Common.retrievers`."""
        return self.common.retrievers

    @cached_property
    def prefix(self) -> Prefix | None:
        """The trained constant tokens of `rag-prefix`.

        Raises:
            CheckpointError: the file cannot be used.
        """
        file = self.plan.rag_prefix
        if file and isinstance(self.memory, PaperMemory):
            raise CheckpointError(
                f"{file}: the constant tokens were trained with a checkpoint of the latent stack; "
                f"{self.session.place.model} is of the paper's",
                "name that checkpoint, too: -m",
            )
        return text_prefix.load(file, cast("Memory", self.memory)) if file else None

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
        late = self.plan.amortize_late
        store = create_store(self.folder, self.memory, late=late)
        bank = Bank(self.memory, store, late=Late(self.memory) if late else None)
        strange = next((d.source for d in bank.store.documents() if d.source not in documents), "")
        if strange:
            bank.store.close()
            raise MacError(
                f"The store in {self.folder} holds documents of other data, such as {strange!r}.",
                "Evaluate in a folder of its own (--store), or in a temporary one.",
            )
        with (
            self.bars(len(documents), "doc", "ingest") as progress,
            peak(self.on_cuda) as used,
        ):
            spent = bank.fill(documents, progress)
        stats = bank.store.stats()
        whole = spent.documents == stats.documents
        known = whole and not late
        if whole or self.ingest is None:
            self._keep_ingest(
                {
                    "documents": stats.documents,
                    "chunks": stats.chunks,
                    "seconds": spent.seconds if known else None,
                    "amortize_seconds": spent.amortize_seconds if known else None,
                    "embed_seconds": spent.amortize_seconds if late and whole else None,
                    "memory": used.process if known else None,
                    "device_memory": used.device if known else None,
                    "text_bytes": stats.text_bytes,
                    "modulation_bytes": None if late else stats.modulation_bytes,
                    "key_bytes": stats.key_bytes,
                }
            )
        return bank

    @property
    def ingest(self) -> dict[str, Any] | None:
        """What filling the bank took; None before it was filled."""
        data, name = self.results.data, self.entrant.name
        found: dict[str, Any] | None = (
            data.get("ingest") if name is None else data.get("ingests", {}).get(name)
        )
        return found

    def _keep_ingest(self, taken: dict[str, Any]) -> None:
        """Keep it in the results, under the checkpoint's name where there are several."""
        if self.entrant.name is None:
            self.results.keep("ingest", taken)
        else:
            others = self.results.data.get("ingests", {})
            self.results.keep("ingests", {**others, self.entrant.name: taken})
