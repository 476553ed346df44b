"""`mac study abstention`: how often a question is refused, wrongly and rightly."""

from __future__ import annotations

from dataclasses import replace

from maccli.errors import MacError
from maccli.evaluation.compare import label_row
from maccli.evaluation.evaluation import Evaluation
from maccli.evaluation.methods import METHODS
from maccli.evaluation.results import Row
from maccli.service.selection import answerable, support
from models.evaluation.answers import figure


def run(evaluation: Evaluation) -> None:
    """Ask every question with its document in the store, and without it, at every k.

    A question is refused where what it selects does not make it `answerable`, as in `mac ask`; that
    `mac ask` is not sure of an answer is not counted. Another document may hold the answer too, so
    not every question should be refused without its document.

    Raises:
        MacError: the checkpoint has no threshold.
        DataError, StoreError, WeightsError: as `maccli.evaluation.compare.run`.
    """
    threshold = evaluation.model.config.abstain_below
    if threshold is None:
        raise MacError(
            "This checkpoint never abstains: it has no threshold.",
            "Choose one: python -m benchmarks.settings --data FILE --checkpoint DIR --write",
        )
    for k in evaluation.selecting:
        row = label_row(evaluation, METHODS["mac"], Row("mac", k))
        if evaluation.results.find(row) is None:
            evaluation.results.add(_measured(evaluation, row, k, threshold))


def _measured(evaluation: Evaluation, row: Row, k: int, threshold: float) -> Row:
    store, questions = evaluation.store, evaluation.questions
    judge = evaluation.judge(METHODS["mac"])
    wrongly: list[float] = []
    rightly: list[float] = []
    with evaluation.bars(len(questions), "question", "abstention") as progress:
        for example in questions:
            right = store.chunks_of[example.document_id]
            for refused, without in ((wrongly, ()), (rightly, right)):
                selected = store.candidates(
                    example.question, k, "hybrid", evaluation.weights, without, judge
                )
                supported = support(store.store, example.question, selected, evaluation.weights)
                readings = store.readings(judge, example.question, selected) if judge else []
                refused.append(float(not answerable(supported, readings, threshold)))
            progress.advance(1)
    return replace(
        row,
        questions=len(questions),
        figures={"wrongly": list(figure(wrongly)), "rightly": list(figure(rightly))},
        costs={"threshold": threshold},
    )
