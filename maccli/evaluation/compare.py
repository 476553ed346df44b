"""The rows of `mac eval`'s table: every method, at every k, on the same questions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from maccli.evaluation import methods
from maccli.evaluation.bank import K
from maccli.evaluation.methods import METHODS, Answered, Method
from maccli.evaluation.peak import peak
from maccli.evaluation.plan import Evaluation
from maccli.evaluation.report.rows import title
from maccli.evaluation.retrievers import External
from maccli.evaluation.rivals import ADAPTATION, made_with
from maccli.evaluation.stream import identity


@dataclass(frozen=True, slots=True)
class Step:
    """One row: a method and what it is run with.

    `prefix`, `adapter` and `camels` are the SHA-256 of files; see `maccli.evaluation.rivals`.
    `checkpoint` and `base_lm` are None where the run has only one.
    """

    method: Method
    k: K | None = None
    rate: float | None = None
    prefix: str | None = None
    checkpoint: str | None = None
    base_lm: str | None = None
    adapter: str | None = None
    camels: str | None = None

    @property
    def key(self) -> dict[str, Any]:
        """What tells the row from all others of the same settings.

        Raises:
            WeightsError: the encoder that it searches by cannot be had.
        """
        external = self.method.retriever
        return {
            "method": self.method.name,
            "k": self.k,
            "learning_rate": self.rate,
            "rag_prefix": self.prefix,
            "retriever": external.identity if isinstance(external, External) else None,
            "checkpoint": self.checkpoint,
            "base_lm": self.base_lm,
            "adapter": self.adapter,
            "camels": self.camels,
        }

    @property
    def title(self) -> str:
        """The row's name."""
        return title(self.key)


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
    """Give the rows of the plan that are measured with this checkpoint.

    Raises:
        DataError: a file of constant tokens, of an adapter or to tune on cannot be read.
    """
    for step in _plain(evaluation):
        if step.method.modulated or evaluation.entrant.rivals:
            yield named(evaluation, step)


def named(evaluation: Evaluation, step: Step) -> Step:
    """Return a step with the name of what it is measured with, where there are several."""
    entrant = evaluation.entrant
    if step.method.modulated:
        return replace(step, checkpoint=entrant.name)
    return replace(step, base_lm=entrant.base_lm)


def _plain(evaluation: Evaluation) -> Iterator[Step]:
    plan = evaluation.plan
    prefix = identity([plan.rag_prefix])[0]["sha256"] if plan.rag_prefix else None
    for name in plan.methods:
        method = METHODS[name]
        lora, network = made_with(plan, method)
        if method.reader == "tuned":
            rates = evaluation.rivals.rates(method)
            yield from (Step(method, rate=rate, adapter=lora, camels=network) for rate in rates)
            continue
        ks = evaluation.ks if method.whole else evaluation.selecting
        for k in ks if method.searches else (None,):
            constant = prefix if method.reader == "prefix" else None
            yield Step(method, k, prefix=constant, adapter=lora, camels=network)
    readers = {METHODS[name].reader for name in plan.methods}
    for external in evaluation.retrievers:
        for method in methods.by_encoder(external, readers):
            yield from (Step(method, k) for k in evaluation.selecting)


def _measured(evaluation: Evaluation, step: Step, name: str) -> dict[str, Any]:
    """Take the documents in as far as the method needs it, and answer all questions."""
    questions, method = evaluation.questions, step.method
    row: dict[str, Any] = {**step.key, **dict.fromkeys(ADAPTATION)}
    bank = None
    lm = evaluation.memory.lm
    if method.banked:
        bank = evaluation.bank
        if isinstance(method.retriever, External):
            row |= _taken_in_by(evaluation, method, method.retriever)
        else:
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
    either, nor where chunks are amortized late; then not even how large modulations are.
    """
    ingest = evaluation.ingest
    assert ingest is not None  # the bank is open
    dense = method.retriever in ("dense", "hybrid")
    looks = method.retriever == "hybrid" and evaluation.weights.likelihood > 0
    seconds, memory, device = ingest["seconds"], ingest["memory"], ingest["device_memory"]
    if method.modulated or looks:
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
    sizes = [ingest[name] for name in kept]
    octets = None if None in sizes else sum(sizes) / ingest["documents"]
    return dict(zip(ADAPTATION, (seconds, memory, device, octets), strict=True))


def _taken_in_by(evaluation: Evaluation, method: Method, external: External) -> dict[str, Any]:
    """Return what the bank cost a method that searches it by another encoder's embeddings."""
    bank, ingest = evaluation.bank, evaluation.ingest
    assert ingest is not None
    with (
        evaluation.bars(ingest["chunks"], "chunk", f"{method.name}: embed") as progress,
        peak(evaluation.on_cuda) as used,
    ):
        external.prepare(bank, progress)
    embedding, octets = external.cost(bank)
    seconds, memory = ingest["seconds"], used.process
    device = used.device
    if method.modulated and bank.late is not None:
        return dict.fromkeys(ADAPTATION)
    if method.modulated:
        octets += ingest["modulation_bytes"] + ingest["key_bytes"]
        memory = max(memory, ingest["memory"] or 0)
    else:
        octets += ingest["text_bytes"]
        seconds = None if seconds is None else seconds - ingest["amortize_seconds"]
    seconds = None if seconds is None else seconds + embedding
    each = octets / ingest["documents"]
    return dict(zip(ADAPTATION, (seconds, memory, device, each), strict=True))


def _embedding(evaluation: Evaluation, ingest: dict[str, Any]) -> float:
    """Return how long embedding all chunks takes, measured once."""
    if ingest["embed_seconds"] is None:
        bank = evaluation.bank
        with evaluation.bars(len(bank.chunks_of), "doc", "embed") as progress:
            ingest["embed_seconds"] = bank.embed_seconds(progress)
        evaluation.results.save()
    seconds: float = ingest["embed_seconds"]
    return seconds
