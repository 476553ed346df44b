"""The rivals of `mac` that learn: text read with a LoRA, and LMs tuned on the stream itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli.evaluation.peak import Peak, peak
from maccli.evaluation.stream import Stream, identity, read_stream
from maccli.output import Progress
from maccli.training.rivals import check_base
from models.export import peft_format
from models.rivals import adapter, camels, salient

if TYPE_CHECKING:
    from maccli.evaluation.methods import Method
    from maccli.evaluation.plan import Evaluation, Plan
    from models.base.lm import BaseLM
    from models.rivals.adapter import Adapter
    from models.rivals.finetune import Tuner, Weigh

ADAPTATION = (
    "adaptation_seconds",
    "adaptation_memory",
    "adaptation_device_memory",
    "bytes_a_document",
)
"""What a row says of taking the documents in."""
SWEPT = "learning_rates"
"""Where the results keep what was measured to choose learning rates."""


def made_with(plan: Plan, method: Method) -> tuple[str | None, str | None]:
    """Return the SHA-256 of the adapter and of the weighting network that a method needs.

    Raises:
        DataError: one cannot be read.
    """
    lora: Path | None = None
    network: Path | None = None
    if method.reader == "lora":
        lora = plan.rag_lora
    elif method.reader in ("tuned", "qa-base"):
        lora = plan.qa_base
        network = plan.camels if method.name == "camels" else None
    if network is not None and network.is_dir():
        network = network / camels.FILE
    return _sha256(None if lora is None else lora / peft_format.WEIGHTS), _sha256(network)


def _sha256(file: Path | None) -> str | None:
    return None if file is None else str(identity([file])[0]["sha256"])


class Rivals:
    """What the rivals of one evaluation are made of, loaded when it is first needed.

    Args:
        evaluation: whose frozen LM they stand on.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._plan = evaluation.plan

    @cached_property
    def reader(self) -> BaseLM:
        """The LM that reads text with the LoRA of --rag-lora.

        Raises:
            CheckpointError: the adapter cannot be used.
        """
        return adapter.merged(self._lm, self._adapter(self._plan.rag_lora, "text"))

    @cached_property
    def base(self) -> BaseLM:
        """The QA-tuned LM that tuning on documents starts from, before it.

        Raises:
            CheckpointError: the adapter cannot be used.
        """
        return adapter.merged(self._lm, self._start)

    @cached_property
    def _start(self) -> Adapter | None:
        return self._adapter(self._plan.qa_base, "closed-book") if self._plan.qa_base else None

    @property
    def _lm(self) -> BaseLM:
        return self._evaluation.memory.lm

    def _adapter(self, folder: Path | None, task: str) -> Adapter:
        assert folder is not None
        config = self._evaluation.memory.config
        made = adapter.load(folder)
        check_base(made, config.base_lm, config.base_sha256, folder)
        made.layers(self._lm)
        if made.config.task not in (None, task):
            self._evaluation.note(
                f"The adapter in {folder} was trained with --qa-tune {made.config.task}, "
                f"and is used as one of --qa-tune {task}."
            )
        return made

    @cached_property
    def _tagger(self) -> tuple[salient.Tagger, str]:
        tagger, name = salient.find_tagger()
        if name == salient.FALLBACK:
            self._evaluation.note(
                "salient-spans finds entities by a regular expression; for a trained tagger: "
                "pip install 'maccli[entities]' and python -m spacy download en_core_web_sm"
            )
        return tagger, name

    def _weigh(self, method: Method) -> Weigh | None:
        if method.name == "salient-spans":
            return salient.SalientSpans(self._lm, self._tagger[0])
        if method.name == "camels":
            assert self._plan.camels is not None
            return camels.Weigher(camels.load(self._plan.camels), self._lm)
        return None

    def tuner(self, method: Method, rate: float) -> Tuner:
        """Return a fresh copy of the LM, ready to learn documents as a method does.

        Raises:
            CheckpointError: an adapter or a weighting network cannot be used.
        """
        from models.rivals.finetune import Tuner

        return Tuner(self._lm, rate, start=self._start, weigh=self._weigh(method))

    def tuned(
        self, method: Method, rate: float, documents: Sequence[str], progress: Progress
    ) -> tuple[Tuner, dict[str, Any]]:
        """Tune on documents in their order; return the tuner and what that took."""
        measured: Peak
        weighed_by = {"tagger": self._tagger[1]} if method.name == "salient-spans" else {}
        for copied in ("reader", "base"):  # the memory of other rows' LMs is not this one's
            self.__dict__.pop(copied, None)
        with peak(self._evaluation.on_cuda) as measured:
            tuner = self.tuner(method, rate)
            seconds = tuner.learn(documents, lambda: progress.advance(1))
        costs = (seconds, measured.process, measured.device, None)
        return tuner, dict(zip(ADAPTATION, costs, strict=True)) | weighed_by

    def rates(self, method: Method) -> tuple[float, ...]:
        """Return the learning rates that a method is evaluated with.

        With --tune-on it is the one that did best there; what is not measured yet is measured.

        Raises:
            DataError: the data to tune on cannot be used.
        """
        if self._plan.tune_on is None:
            return self._plan.rates
        rows = [self._swept(method, rate) for rate in self._plan.rates]
        best = max(rows, key=lambda row: (row["f1"], row["em"], -row["learning_rate"]))
        return (best["learning_rate"],)

    @cached_property
    def _validation(self) -> Stream:
        path, split = parse(self._plan.tune_on or "")
        number = self._plan.tune_documents or len(self._evaluation.stream.documents)
        return read_stream([path], split, documents=number, seed=self._plan.seed)

    def _swept(self, method: Method, rate: float) -> dict[str, Any]:
        """Return the figures of one learning rate on the data to tune on."""
        from maccli.evaluation import methods

        evaluation, stream = self._evaluation, self._validation
        path, split = parse(self._plan.tune_on or "")
        lora, network = made_with(self._plan, method)
        key = {
            "method": method.name,
            "learning_rate": rate,
            "adapter": lora,
            "camels": network,
            "data": identity([path]),
            "split": split,
            "documents": len(stream.documents),
        }
        rows: list[dict[str, Any]] = list(evaluation.results.data.get(SWEPT, ()))
        for row in rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        title = f"{method.name}, rate {rate:g} on {path.name}"
        documents = list(stream.documents.values())
        with evaluation.bars(len(documents), "doc", f"{title} learns") as progress:
            tuner, taken = self.tuned(method, rate, documents, progress)
        asked = stream.draw(self._plan.limit, self._plan.seed)
        with evaluation.bars(2 * len(asked), "step", title) as progress:
            answered = methods.closed_book(
                evaluation.memory,
                tuner.lm,
                asked,
                progress,
                few_shot=self._plan.qa_base is None,
            )
        row = {**key, **taken, **methods.scored(asked, answered)}
        del row["predictions"]
        evaluation.results.keep(SWEPT, [*rows, row])
        evaluation.note(f"{title}: EM {row['em']:.1f}, F1 {row['f1']:.1f}")
        return row


def parse(text: str) -> tuple[Path, str]:
    """Read ``FILE`` or ``FILE:SPLIT``; the split is "dev" where none is named."""
    head, colon, split = text.rpartition(":")
    if not colon or not head or not split or "/" in split or Path(text).exists():
        return Path(text), "dev"
    return Path(head), split
