"""`mac study retention`: what is left of the first documents' answers as more documents come in.

Retention is F1 on the questions about the first documents after all documents, divided by F1 on the
same questions right after the first ones (arXiv 2403.04317, section 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from maccli.errors import USAGE, MacError
from maccli.evaluation import compare
from maccli.evaluation.compare import Step
from maccli.evaluation.dataset import draw
from maccli.evaluation.evaluation import Evaluation
from maccli.evaluation.results import Row

if TYPE_CHECKING:
    from models.data.files import Example


def run(evaluation: Evaluation, first: int, moments: int) -> None:
    """Measure every method that takes documents in, at every moment not in the results yet.

    Args:
        evaluation: one checkpoint; its methods are measured at their first `k`, `mac` if none takes
            documents in.
        first: how many documents come first.
        moments: how often their questions are asked: right after them, at the end, and in between
            after equally many more documents each time.

    Raises:
        MacError: there are no more documents than that, or no questions about the first.
        DataError, StoreError, WeightsError: as `maccli.evaluation.compare.run`.
    """
    names = list(evaluation.documents)
    if first >= len(names):
        raise MacError(
            f"Retention after {first:,} documents needs more than that; there are {len(names):,}.",
            "Give a smaller number: --first 50",
            USAGE,
        )
    early = set(names[:first])
    about = [e for e in evaluation.shared.dataset.examples if e.document_id in early]
    if not about:
        raise MacError(f"No question is about the first {first:,} documents.")
    questions = draw(about, evaluation.plan.limit, evaluation.plan.seed)
    ends = [first + (len(names) - first) * i // (moments - 1) for i in range(moments)]
    ends = list(dict.fromkeys(ends))
    todo = [
        (method, row)
        for method, row in compare.storing_rows(evaluation)
        if not all(evaluation.results.find(replace(row, at=end)) for end in ends)
    ]
    searching = [step for step in todo if step[0].searches]
    if searching:
        _grow(evaluation, searching, ends, questions)
    for step in todo:
        if step[0].rate is not None:
            for row in _tune(evaluation, step, ends, questions):
                _keep(evaluation, row)


def _grow(
    evaluation: Evaluation, steps: Sequence[Step], ends: Sequence[int], questions: list[Example]
) -> None:
    """Ask at every moment of a store that takes the documents in one after the other."""
    documents = list(evaluation.documents.items())
    with evaluation.empty_store() as store:
        stored = 0
        for end in ends:
            with evaluation.bars(end - stored, "doc", "ingest") as progress:
                store.fill(dict(documents[stored:end]), progress)
            stored = end
            for method, step in steps:
                row = replace(step, at=end)
                if evaluation.results.find(row) is not None:
                    continue
                title = f"{row.title}, first {end:,} documents"
                _keep(
                    evaluation,
                    compare.measure(evaluation, store, questions, method, row, title),
                )


def _tune(
    evaluation: Evaluation, step: Step, ends: Sequence[int], questions: list[Example]
) -> Iterator[Row]:
    """Ask at every moment an LM that is tuned on the documents one after the other."""
    method, row = step
    tuner = evaluation.rivals.tuner(method)
    documents = list(evaluation.documents.values())
    for start, end in zip((0, *ends), ends, strict=False):
        part, title = documents[start:end], f"{row.title}, first {end:,} documents"
        with evaluation.bars(len(part), "doc", f"{title}: learns") as progress:
            tuner.learn(part, progress)
        measured = replace(row, at=end)
        if evaluation.results.find(measured) is None:
            yield compare.measure_tuned(evaluation, tuner, questions, measured, title)


def _keep(evaluation: Evaluation, row: Row) -> None:
    evaluation.results.add(row)
    evaluation.note(f"{row.title}, {row.at:,} documents: F1 {row.value('f1'):.1f}")
