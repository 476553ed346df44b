"""What else a bank is judged by: retention, abstention, and how it bears growing."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli.errors import USAGE, MacError
from maccli.evaluation import compare, methods
from maccli.evaluation.bank import ALL, Bank
from maccli.evaluation.compare import Step
from maccli.evaluation.methods import METHODS
from maccli.evaluation.peak import peak
from maccli.evaluation.plan import Evaluation
from maccli.service.evidence import support
from models.evaluation.answers import figure

if TYPE_CHECKING:
    from models.data.files import Example


def retention(evaluation: Evaluation, first: int, moments: int = 2) -> None:
    """Measure what is left of the first documents' answers as the stream goes on.

    That is F1 on their questions after the whole stream, over F1 on the same questions right after
    these documents: for `mac`, or for those of the plan's methods that search or tune, at the first
    `k`. Kept in the results as `retention`, with F1 at the moments between as `curve`.

    Args:
        evaluation: the run.
        first: how many documents those are.
        moments: how often they are asked, the first and the last time included; as many documents
            come between one and the next.

    Raises:
        MacError: there are no more documents than that, or no questions about the first.
        DataError, StoreError, WeightsError: as `maccli.evaluation.compare.run`.
    """
    names = list(evaluation.stream.documents)
    if first >= len(names):
        raise MacError(
            f"Retention after {first:,} documents needs more than that; there are {len(names):,}.",
            "Give a smaller number: --retention 50",
            USAGE,
        )
    early = set(names[:first])
    asked = [e for e in evaluation.stream.examples if e.document_id in early]
    if not asked:
        raise MacError(f"No question is about the first {first:,} documents.")
    if evaluation.plan.limit is not None and evaluation.plan.limit < len(asked):
        asked = random.Random(evaluation.plan.seed).sample(asked, evaluation.plan.limit)
    rows: list[dict[str, Any]] = list(evaluation.results.data.get("retention", ()))
    ends = [first + (len(names) - first) * i // (moments - 1) for i in range(moments)]
    ends = list(dict.fromkeys(ends))
    for step in _lasting(evaluation):
        key = {**step.key, "documents": first}
        same = [row for row in rows if all(row.get(n) == value for n, value in key.items())]
        if any([point["documents"] for point in _curve(row)] == ends for row in same):
            continue
        if step.rate is not None:
            asked_then = _tuned(evaluation, step, ends, asked)
        else:
            asked_then = _searched(evaluation, step, ends, asked)
        before, after = asked_then[0], asked_then[-1]
        kept = after["f1"] / before["f1"] if before["f1"] else None
        curve = [
            {"documents": end, "f1": row["f1"], "f1_interval": row["f1_interval"]}
            for end, row in zip(ends, asked_then, strict=True)
        ]
        rows = [row for row in rows if row not in same]
        rows.append({**key, "before": before, "after": after, "retention": kept, "curve": curve})
        evaluation.results.keep("retention", rows)
        evaluation.note(f"{step.title}: F1 {before['f1']:.1f}, at the end {after['f1']:.1f}")


def _known(rows: Sequence[dict[str, Any]], key: dict[str, Any]) -> bool:
    """Tell whether there is a row with these values."""
    return any(all(row.get(name) == value for name, value in key.items()) for row in rows)


def _lasting(evaluation: Evaluation) -> list[Step]:
    """Return the plan's rows that take documents in, each at its first k; `mac` if none do."""
    methods_asked = [METHODS[name] for name in evaluation.plan.methods]
    found = {
        (step.method.name, step.rate): step
        for step in reversed(list(compare.steps(evaluation)))
        if step.rate is not None or step.method.searches
    }
    lasting = list(reversed(found.values()))
    if any(method.searches or method.reader == "tuned" for method in methods_asked):
        return lasting
    return [compare.named(evaluation, Step(METHODS["mac"], evaluation.ks[0])), *lasting]


def _curve(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the moments of a row; results of an older mac have none."""
    curve: list[dict[str, Any]] = row.get("curve", [])
    return curve


def _searched(
    evaluation: Evaluation, step: Step, ends: Sequence[int], asked: list[Example]
) -> list[dict[str, Any]]:
    """Return the figures of one method on banks of the first so many documents."""
    names = list(evaluation.stream.documents)
    rows = []
    for end in ends:
        title = f"{step.title}, first {end:,} documents"
        with _part(evaluation.bank, names[:end]) as small:
            rows.append(_row(evaluation, small, asked, step, title))
    return rows


def _tuned(
    evaluation: Evaluation, step: Step, ends: Sequence[int], asked: list[Example]
) -> list[dict[str, Any]]:
    """Return the figures of an LM tuned on the first so many documents, and so on."""
    assert step.rate is not None
    tuner = evaluation.rivals.tuner(step.method, step.rate)
    few_shot = step.adapter is None
    documents = list(evaluation.stream.documents.values())
    rows = []
    for start, end in zip((0, *ends), ends, strict=False):
        part, title = documents[start:end], f"{step.title}, first {end:,} documents"
        with evaluation.bars(len(part), "doc", f"{title}: learns") as progress:
            tuner.learn(part, lambda bar=progress: bar.advance(1))  # type: ignore[misc]
        with evaluation.bars(2 * len(asked), "step", title) as progress:
            answered = methods.closed_book(
                evaluation.memory, tuner.lm, asked, progress, few_shot=few_shot
            )
        rows.append(methods.scored(asked, answered))
    return rows


def abstention(evaluation: Evaluation) -> None:
    """Measure when a question is refused: with its document in the bank, and without it.

    A question is refused where the support of what it finds is below the checkpoint's threshold, as
    in `mac ask`. Another document may hold the answer, too; so not every question
    should be refused when its own is left out. Kept in the results as `abstention`.

    Raises:
        MacError: the checkpoint has no threshold.
        DataError, StoreError, WeightsError: as `maccli.evaluation.compare.run`.
    """
    k = evaluation.ks[0]
    name, kept = evaluation.entrant.name, evaluation.results.data.get("abstention", ())
    done: list[dict[str, Any]] = [kept] if isinstance(kept, dict) else list(kept)
    if any(row["k"] == k and row.get("checkpoint") == name for row in done):
        return
    # What is refused goes by what would be selected, also where everything is read.
    most = evaluation.selecting[0] if k == ALL else k
    threshold = evaluation.memory.config.abstain_below
    if threshold is None:
        raise MacError(
            "This checkpoint never abstains: it has no threshold.",
            "Choose one: python -m benchmarks.settings --data FILE --checkpoint DIR --write",
        )
    bank, questions = evaluation.bank, evaluation.questions
    there: list[bool] = []
    left_out: list[bool] = []
    with evaluation.bars(len(questions), "question", "abstention") as progress:
        for example in questions:
            own = bank.chunks_of[example.document_id]
            for refused, without in ((there, ()), (left_out, own)):
                found = bank.candidates(
                    example.question, most, "hybrid", evaluation.weights, without
                )
                supported = support(bank.store, example.question, found, evaluation.weights)
                refused.append(supported < threshold)
            progress.advance(1)
    wrongly, rightly = figure([float(r) for r in there]), figure([float(r) for r in left_out])
    row = {
        "k": k,
        "threshold": threshold,
        "questions": len(questions),
        "wrongly_abstained": wrongly.value,
        "wrongly_abstained_interval": [wrongly.low, wrongly.high],
        "rightly_abstained": rightly.value,
        "rightly_abstained_interval": [rightly.low, rightly.high],
    }
    if name is None:
        evaluation.results.keep("abstention", row)
    else:
        evaluation.results.keep("abstention", [*done, {"checkpoint": name, **row}])


def bank_sizes(evaluation: Evaluation, sizes: Sequence[int]) -> None:
    """Ask the same questions of ever larger banks. Kept in the results as `bank_sizes`.

    The questions are those drawn whose documents fit in the smallest bank; the other documents are
    drawn at random, and a larger bank holds those of all smaller ones.

    Args:
        evaluation: whose methods that search the bank are measured, at the first `k`.
        sizes: numbers of documents.

    Raises:
        MacError: there are fewer documents.
        DataError, StoreError, WeightsError: as `maccli.evaluation.compare.run`.
    """
    sizes = sorted(set(sizes))
    names = list(evaluation.stream.documents)
    if sizes[-1] > len(names):
        raise MacError(
            f"A bank of {sizes[-1]:,} documents needs more than there are ({len(names):,}).",
            "Give smaller sizes, or more --data.",
            USAGE,
        )
    asked_about = dict.fromkeys(e.document_id for e in evaluation.questions)
    others = [name for name in names if name not in asked_about]
    random.Random(evaluation.plan.seed).shuffle(others)
    order = [*asked_about, *others]
    fitting = set(order[: sizes[0]])
    asked = [e for e in evaluation.questions if e.document_id in fitting]
    rows: list[dict[str, Any]] = list(evaluation.results.data.get("bank_sizes", ()))
    searching = [step for step in _lasting(evaluation) if step.rate is None]
    for size in sizes:
        todo = [
            step
            for step in searching
            if not _known(rows, {**step.key, "size": size, "smallest": sizes[0]})
        ]
        if not todo:
            continue
        with _part(evaluation.bank, order[:size]) as bank:
            chunks = bank.store.stats().chunks
            for step in todo:
                title = f"{step.title}, {size:,} documents"
                row = {**step.key, "size": size, "smallest": sizes[0], "chunks": chunks}
                row |= _row(evaluation, bank, asked, step, title)
                rows.append(row)
                evaluation.results.keep("bank_sizes", rows)
                evaluation.note(f"{title}: F1 {row['f1']:.1f}")


def _row(
    evaluation: Evaluation, bank: Bank, asked: list[Example], step: Step, title: str
) -> dict[str, Any]:
    """Return the figures of one method on one bank."""
    prefix = evaluation.prefix if step.method.reader == "prefix" else None
    with (
        evaluation.bars(2 * len(asked), "step", title) as progress,
        peak(evaluation.on_cuda) as used,
    ):
        answered = methods.answer(
            bank,
            asked,
            step.method,
            step.k or 1,
            evaluation.weights,
            prefix=prefix,
            reader=evaluation.rivals.reader if step.method.reader == "lora" else None,
            progress=progress,
        )
    return {**methods.scored(asked, answered), "memory": used.process}


@contextmanager
def _part(bank: Bank, names: Sequence[str]) -> Iterator[Bank]:
    """Give a bank of some of the documents, in a folder that is deleted afterwards; of all: it."""
    if len(names) == len(bank.chunks_of):
        yield bank
        return
    with tempfile.TemporaryDirectory(prefix="mac-eval-") as folder:
        part = bank.part(Path(folder) / "store", names)
        try:
            yield part
        finally:
            part.store.close()
