"""The rows of `mac eval`'s table: every method, at every k, on the same questions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from maccli.evaluation import answering
from maccli.evaluation.evaluation import Evaluation
from maccli.evaluation.evaluation_store import EvaluationStore
from maccli.evaluation.methods import METHODS, Method
from maccli.evaluation.peak_memory import peak_memory
from maccli.evaluation.results import Row
from maccli.evaluation.rivals import adaptation, digests

if TYPE_CHECKING:
    from models.data.files import Example
    from models.rivals.finetune import Tuner

Step = tuple[Method, Row]
"""A method, and the row that it is to be measured for."""


def run(evaluation: Evaluation) -> None:
    """Measure every row of the plan that the results do not have yet; each is saved at once.

    Raises:
        DataError: the data cannot be used.
        CheckpointError: the checkpoint, or a file of `--with`, cannot be used.
        MacError, StoreError: the store cannot be used.
        WeightsError: the base weights cannot be downloaded or read.
    """
    results = evaluation.results
    todo = [step for step in steps(evaluation) if not results.find(step[1])]
    if todo and "questions" not in results.data and evaluation.part is None:
        questions = [
            {"id": e.id, "question": e.question, "answers": e.answers} for e in evaluation.questions
        ]
        results.keep("questions", questions)
    begun = time.perf_counter()
    for number, (method, row) in enumerate(todo, start=1):
        row = _measured(evaluation, method, row, f"{row.title} ({number} of {len(todo)})")
        results.add(row)
        words = f"{row.title}: EM {row.value('em'):.1f}, F1 {row.value('f1'):.1f}"
        if left := len(todo) - number:
            seconds = (time.perf_counter() - begun) / number * left
            words += f"; {left} of {len(todo)} rows left, about {seconds / 60:.0f} min"
        evaluation.note(words)


def steps(evaluation: Evaluation) -> Iterator[Step]:
    """Give the rows of the plan that are measured with this checkpoint.

    Raises:
        DataError: a file that a method is made with cannot be read.
        WeightsError: an encoder cannot be downloaded or read.
    """
    checkpoint = evaluation.checkpoint
    for method in evaluation.plan.methods:
        if not (method.uses_modulations or checkpoint.leads):
            continue
        files = digests(method, evaluation.plan.files)
        if method.encoder is not None:
            files["encoder"] = evaluation.shared.encoder(method.encoder).identity
        for k in evaluation.ks(method):
            yield method, label_row(evaluation, method, Row(method.name, k, files=files))


def label_row(evaluation: Evaluation, method: Method, row: Row) -> Row:
    """Return a row with the names of what it is measured with, where there are several."""
    checkpoint = evaluation.checkpoint
    if method.uses_modulations:
        return replace(row, checkpoint=checkpoint.name, at=evaluation.part)
    return replace(row, base_lm=checkpoint.base_lm, at=evaluation.part)


def storing_rows(evaluation: Evaluation) -> list[Step]:
    """Return the plan's rows that take documents in, each at its first k; `mac` if none do."""
    first: dict[str, Step] = {}
    for method, row in steps(evaluation):
        if method.searches or method.rate is not None:
            first.setdefault(method.name, (method, row))
    if not any(method.searches or method.rate is not None for method in evaluation.plan.methods):
        mac = METHODS["mac"]
        row = label_row(evaluation, mac, Row("mac", evaluation.ks(mac)[0]))
        return [(mac, row), *first.values()]
    return list(first.values())


def measure(
    evaluation: Evaluation,
    store: EvaluationStore,
    questions: Sequence[Example],
    method: Method,
    row: Row,
    title: str,
) -> Row:
    """Answer questions from a store by a method that needs one; return the row with its figures.

    Raises:
        CheckpointError, StoreError, WeightsError: as `run`.
    """
    with (
        evaluation.bars(2 * len(questions), "step", title) as progress,
        peak_memory(evaluation.on_cuda) as used,
    ):
        answered = answering.answer(
            store,
            questions,
            method,
            row.k or 1,
            evaluation.select(store, method),
            evaluation.readers(method),
            progress,
        )
    return _filled(row, answering.scored(questions, answered), used.process, used.device)


def measure_tuned(
    evaluation: Evaluation, tuner: Tuner | None, questions: Sequence[Example], row: Row, title: str
) -> Row:
    """Answer questions from the weights of a tuned LM; None takes the frozen one, few-shot.

    Raises:
        CheckpointError: an adapter cannot be used.
    """
    lm = evaluation.model.lm if tuner is None else tuner.lm
    if row.method == "qa-base":
        lm = evaluation.rivals.base
    with (
        evaluation.bars(2 * len(questions), "step", title) as progress,
        peak_memory(evaluation.on_cuda) as used,
    ):
        answered = answering.answer_without_documents(
            evaluation.model, lm, questions, progress, few_shot="qa-base" not in row.files
        )
    return _filled(row, answering.scored(questions, answered), used.process, used.device)


def _filled(row: Row, fields: dict[str, Any], memory: int, device: int | None) -> Row:
    costs = {**row.costs, **fields.pop("costs"), "memory": memory, "device_memory": device}
    return replace(row, costs=costs, **fields)


def _measured(evaluation: Evaluation, method: Method, row: Row, title: str) -> Row:
    """Take the documents in as far as the method needs it, and answer all questions."""
    questions = evaluation.questions
    if method.stores:
        store = evaluation.store
        costs = _store_costs(evaluation, method)
        return measure(evaluation, store, questions, method, replace(row, costs=costs), title)
    costs = adaptation(None, None, None, None)
    tuner = None
    if method.rate is not None:
        documents = list(evaluation.documents.values())
        with evaluation.bars(len(documents), "doc", f"{row.title} learns") as progress:
            tuner, costs = evaluation.rivals.tuned(method, documents, progress)
        if method.name.startswith("salient-spans"):
            evaluation.results.keep("tagger", evaluation.rivals.tagger[1])
    return measure_tuned(evaluation, tuner, questions, replace(row, costs=costs), title)


def _store_costs(evaluation: Evaluation, method: Method) -> dict[str, float | None]:
    """Return what the store cost, as far as this method needs it.

    What is read as text need not be amortized, only stored, and embedded where it is found by its
    embedding; unless `hybrid` takes a second look, which goes by the modulations and which no judge
    takes the place of. The peak memory was measured for all of it together. Of a store that was
    there before, neither is known.
    """
    ingest = evaluation.ingest
    seconds, memory, device = ingest["seconds"], ingest["memory"], ingest["device_memory"]
    weights = evaluation.weights
    judged = weights.judged and evaluation.judge(method) is not None
    looks = method.retriever == "hybrid" and weights.likelihood > 0 and not judged
    stored = 0
    if method.uses_modulations or looks:
        sizes = ["modulation_bytes", "key_bytes"]
        if method.reader != "modulations" or method.retriever in ("bm25", "hybrid"):
            sizes.append("text_bytes")
    else:
        dense = method.retriever in ("dense", "hybrid")
        sizes = ["text_bytes", "key_bytes"] if dense else ["text_bytes"]
        memory = device = None
        if method.retriever == "oracle":
            seconds = None
        elif seconds is not None:
            seconds -= ingest["amortize_seconds"]
            if dense:
                seconds += _embed_seconds(evaluation)
    if method.encoder is not None:
        encoder = evaluation.shared.encoder(method.encoder)
        with (
            evaluation.bars(ingest["chunks"], "chunk", f"{method.name}: embed") as progress,
            peak_memory(evaluation.on_cuda) as used,
        ):
            encoder.prepare(evaluation.store, progress)
        embedding, stored = encoder.cost(evaluation.store)
        seconds = None if seconds is None else seconds + embedding
        memory, device = max(used.process, memory or 0), used.device
    stored += sum(ingest[name] for name in sizes)
    return adaptation(seconds, memory, device, stored / ingest["documents"])


def _embed_seconds(evaluation: Evaluation) -> float:
    """Return how long embedding all chunks takes, measured once."""
    ingest = evaluation.ingest
    if ingest["embed_seconds"] is None:
        with evaluation.bars(ingest["chunks"], "chunk", "embed") as progress:
            ingest["embed_seconds"] = evaluation.store.embed_seconds(progress)
        evaluation.results.save()
    seconds: float = ingest["embed_seconds"]
    return seconds
