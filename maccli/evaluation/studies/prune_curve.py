"""What a smaller bank costs in answers: F1 at several sizes, for every strategy of pruning.

For every row the whole bank is copied, pruned with the product's own code, and asked the same
questions. `usage` needs answers to have been given before: a share of the questions is asked first,
and as many that are not scored; what they find counts as used.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli.evaluation import methods
from maccli.evaluation.bank import ALL, K
from maccli.evaluation.methods import METHODS
from maccli.evaluation.plan import Evaluation
from store.bank import Store
from store.pruning import STRATEGIES, Strategy
from store.target import Target

if TYPE_CHECKING:
    from models.data.files import Example

SIZES = (100, 75, 50, 25, 10)
"""Percent of the modulations that are left."""
WHOLE = "whole"
"""What stands in place of a strategy where all are left."""
ASKED_BEFORE = 0.5
"""The share of the questions that `usage` has been asked before."""


@dataclass(frozen=True, slots=True)
class _Questions:
    scored: list[Example]
    asked_before: list[str]


def run(
    evaluation: Evaluation, strategies: Sequence[Strategy] = (), sizes: Sequence[int] = ()
) -> None:
    """Measure every strategy at every size that the results do not have yet.

    Args:
        evaluation: whose first `k` is used, with the retriever `hybrid`.
        strategies: all if empty.
        sizes: percent left; `SIZES` if empty.

    Raises:
        DataError, CheckpointError, MacError, StoreError, WeightsError: as
            `maccli.evaluation.compare.run`.
    """
    sizes = sizes or SIZES
    k = evaluation.ks[0]
    steps: list[tuple[str, int]] = [(WHOLE, 100)] if 100 in sizes else []
    steps += [(s, p) for s in strategies or STRATEGIES for p in sizes if p < 100]
    results = evaluation.results
    name = evaluation.entrant.name
    todo = [s for s in steps if not results.find(strategy=s[0], percent=s[1], k=k, checkpoint=name)]
    for number, (strategy, percent) in enumerate(todo, start=1):
        title = f"{strategy}, {percent}% ({number} of {len(todo)})"
        row = _measured(evaluation, strategy, percent, k, title)
        results.add(row)
        evaluation.note(f"{strategy}, {percent}%: F1 {row['f1']:.1f}")


def _drawn(evaluation: Evaluation) -> _Questions:
    """Return the questions that are scored, and those that `usage` was asked before."""
    examples = list(evaluation.stream.examples)
    random.Random(evaluation.plan.seed).shuffle(examples)
    number = min(evaluation.plan.limit or len(examples), len(examples))
    known = int(number * ASKED_BEFORE)
    before = [*examples[:known], *examples[number : number + known]]
    return _Questions(examples[:number], [e.question for e in before])


def _measured(
    evaluation: Evaluation, strategy: str, percent: int, k: K, title: str
) -> dict[str, Any]:
    questions = _drawn(evaluation)
    bank, method = evaluation.bank, METHODS["mac"]
    with tempfile.TemporaryDirectory(prefix="mac-eval-") as folder:
        copy = Path(folder) / "store"
        bank.store.copy(copy)
        with Store.open(copy, fingerprint=bank.memory.fingerprint) as store:
            pruned = replace(bank, store=store)
            if strategy == "usage":
                for question in questions.asked_before:
                    many = evaluation.selecting[0] if k == ALL else k
                    found = pruned.candidates(question, many, "hybrid", evaluation.weights)
                    store.used({c.id: c.weight for c in found})
            begun = time.perf_counter()
            if strategy != WHOLE:
                target = Target(share=percent / 100)
                store.prune(strategy, target, seed=abs(evaluation.plan.seed))  # type: ignore[arg-type]
            seconds = time.perf_counter() - begun
            with evaluation.bars(2 * len(questions.scored), "step", title) as progress:
                answered = methods.answer(
                    pruned, questions.scored, method, k, evaluation.weights, progress=progress
                )
            stats = store.stats()
    return {
        "strategy": strategy,
        "percent": percent,
        "k": k,
        "checkpoint": evaluation.entrant.name,
        "modulations": stats.modulations,
        "bytes": stats.modulation_bytes,
        "prune_seconds": seconds,
        **methods.scored(questions.scored, answered),
    }
