"""The rows of `mac eval`'s table: every method, at every k, on the same questions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from maccli.service import methods
from maccli.service.evaluate import Evaluation
from maccli.service.methods import METHODS, Answered, Method
from maccli.service.peak import peak
from maccli.service.rivals import ADAPTATION, made_with
from maccli.service.stream import identity


@dataclass(frozen=True, slots=True)
class Step:
    """One row: a method and what it is run with.

    `prefix`, `adapter` and `camels` are the SHA-256 of files; see `maccli.service.rivals`.
    """

    method: Method
    k: int | None = None
    rate: float | None = None
    prefix: str | None = None
    adapter: str | None = None
    camels: str | None = None

    @property
    def key(self) -> dict[str, Any]:
        """What tells the row from all others of the same settings."""
        return {
            "method": self.method.name,
            "k": self.k,
            "learning_rate": self.rate,
            "rag_prefix": self.prefix,
            "adapter": self.adapter,
            "camels": self.camels,
        }

    @property
    def title(self) -> str:
        """The row's name."""
        return title(self.key)


def title(row: dict[str, Any]) -> str:
    """Return the name of a row: its method, and what there is more than one of."""
    parts = [row["method"]]
    if row["k"] is not None:
        parts.append(f"k = {row['k']}")
    if row["learning_rate"] is not None:
        parts.append(f"rate {row['learning_rate']:g}")
    return ", ".join(parts)


def run(evaluation: Evaluation) -> None:
    """Measure every row of the plan that the results do not have yet; each is kept at once.

    Raises:
        DataError: the data cannot be used.
        CheckpointError: the checkpoint or the constant tokens cannot be used.
        MacError, StoreError: the store cannot be used.
        WeightsError: the base weights cannot be had.
    """
    todo = [step for step in steps(evaluation) if not evaluation.results.find(**step.key)]
    if todo and "questions" not in evaluation.results.data:
        asked = [
            {"id": e.id, "question": e.question, "answers": e.answers} for e in evaluation.questions
        ]
        evaluation.results.keep("questions", asked)
    begun = time.perf_counter()
    for number, step in enumerate(todo, start=1):
        row = _measured(evaluation, step, f"{step.title} ({number} of {len(todo)})")
        evaluation.results.add(row)
        words = f"{step.title}: EM {row['em']:.1f}, F1 {row['f1']:.1f}"
        if left := len(todo) - number:
            seconds = (time.perf_counter() - begun) / number * left
            words += f"; {left} of {len(todo)} rows left, about {seconds / 60:.0f} min"
        evaluation.note(words)


def steps(evaluation: Evaluation) -> Iterator[Step]:
    """Give the rows of the plan.

    Raises:
        DataError: a file of constant tokens, of an adapter or to tune on cannot be read.
    """
    plan = evaluation.plan
    prefix = identity([plan.rag_prefix])[0]["sha256"] if plan.rag_prefix else None
    for name in plan.methods:
        method = METHODS[name]
        lora, network = made_with(plan, method)
        if method.reader == "tuned":
            rates = evaluation.rivals.rates(method)
            yield from (Step(method, rate=rate, adapter=lora, camels=network) for rate in rates)
            continue
        for k in evaluation.ks if method.searches else (None,):
            constant = prefix if method.reader == "prefix" else None
            yield Step(method, k, prefix=constant, adapter=lora, camels=network)


def _measured(evaluation: Evaluation, step: Step, name: str) -> dict[str, Any]:
    """Take the documents in as far as the method needs it, and answer all questions."""
    questions, method = evaluation.questions, step.method
    row: dict[str, Any] = {**step.key, **dict.fromkeys(ADAPTATION)}
    bank = None
    lm = evaluation.memory.lm
    if method.banked:
        bank = evaluation.bank
        row |= _taken_in(evaluation, method)
    elif method.reader == "tuned":
        assert step.rate is not None
        documents = list(evaluation.stream.documents.values())
        with evaluation.bars(len(documents), "doc", f"{step.title} learns") as progress:
            tuner, taken = evaluation.rivals.tuned(method, step.rate, documents, progress)
        row |= taken
        lm = tuner.lm
    elif method.reader == "qa-base":
        lm = evaluation.rivals.base
    prefix = evaluation.prefix if method.reader == "prefix" else None
    memory = evaluation.memory
    with (
        evaluation.bars(2 * len(questions), "step", name) as progress,
        peak(evaluation.on_cuda) as used,
    ):
        answered: Answered
        if bank is None:
            few_shot = step.adapter is None
            answered = methods.closed_book(memory, lm, questions, progress, few_shot=few_shot)
        else:
            answered = methods.answer(
                bank,
                questions,
                method,
                step.k or 1,
                evaluation.weights,
                prefix=prefix,
                reader=evaluation.rivals.reader if method.reader == "lora" else None,
                progress=progress,
            )
    row |= {"memory": used.process, "device_memory": used.device}
    return row | methods.scored(questions, answered)


def _taken_in(evaluation: Evaluation, method: Method) -> dict[str, Any]:
    """Return what the bank cost, as far as this method needs it.

    What is read as text need not be amortized, only stored, and embedded where it is found by its
    embedding; unless `hybrid` takes a second look, which goes by the modulations. The peak memory
    was measured for all of it together. Where the store was there before, nothing is known of
    either.
    """
    ingest = evaluation.results.data["ingest"]
    dense = method.retriever in ("dense", "hybrid")
    looks = method.retriever == "hybrid" and evaluation.weights.likelihood > 0
    seconds, memory, device = ingest["seconds"], ingest["memory"], ingest["device_memory"]
    if method.reader == "mac" or looks:
        kept = ["modulation_bytes", "key_bytes"]
        if method.reader != "mac" or method.retriever in ("bm25", "hybrid"):
            kept.append("text_bytes")
    else:
        kept = ["text_bytes", "key_bytes"] if dense else ["text_bytes"]
        memory = device = None
        if method.retriever == "oracle":
            seconds = None
        elif seconds is not None:
            seconds -= ingest["amortize_seconds"]
            if dense:
                seconds += _embedding(evaluation, ingest)
    octets = sum(ingest[name] for name in kept) / ingest["documents"]
    return dict(zip(ADAPTATION, (seconds, memory, device, octets), strict=True))


def _embedding(evaluation: Evaluation, ingest: dict[str, Any]) -> float:
    """Return how long embedding all chunks takes, measured once."""
    if ingest["embed_seconds"] is None:
        bank = evaluation.bank
        with evaluation.bars(len(bank.chunks_of), "doc", "embed") as progress:
            ingest["embed_seconds"] = bank.embed_seconds(progress)
        evaluation.results.save()
    seconds: float = ingest["embed_seconds"]
    return seconds
