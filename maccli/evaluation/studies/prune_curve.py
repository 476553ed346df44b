"""`mac study prune-curve`: F1 of smaller stores, for every strategy of `mac store prune`.

For every row the whole store is copied, pruned and asked the same questions. `usage` needs answers
to have been given before: half of the questions are asked first, and as many that are not scored;
what they select counts as used.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maccli.errors import USAGE, MacError
from maccli.evaluation import compare
from maccli.evaluation.evaluation import Evaluation
from maccli.evaluation.methods import ALL, METHODS
from maccli.evaluation.results import Row
from store.moving.export import copy
from store.pruning.prune import STRATEGIES, prune
from store.pruning.target import Target
from store.store import Store

if TYPE_CHECKING:
    from models.data.files import Example

SIZES = (100, 75, 50, 25, 10)
"""Percent of the modulations that are left."""
_WHOLE = "whole"
"""What stands in place of a strategy where all are left."""
_ASKED_BEFORE = 0.5


def run(evaluation: Evaluation, strategies: Sequence[str] = (), sizes: Sequence[int] = ()) -> None:
    """Measure every strategy at every size that the results do not have yet.

    Args:
        evaluation: one checkpoint, measured as `mac` at its first `k`.
        strategies: names of strategies; empty takes all.
        sizes: percentages left; empty takes `SIZES`.

    Raises:
        MacError: there is no such strategy.
        DataError, CheckpointError, StoreError, WeightsError: as `maccli.evaluation.compare.run`.
    """
    if unknown := next((name for name in strategies if name not in STRATEGIES), None):
        raise MacError(
            f"{unknown!r} is not a strategy.", f"There are {', '.join(STRATEGIES)}.", USAGE
        )
    sizes = sizes or SIZES
    first = Row(_WHOLE, evaluation.ks(METHODS["mac"])[0], evaluation.checkpoint.name)
    rows = [replace(first, at=100)] if 100 in sizes else []
    rows += [
        replace(first, method=strategy, at=percent)
        for strategy in strategies or STRATEGIES
        for percent in sizes
        if percent < 100
    ]
    todo = [row for row in rows if evaluation.results.find(row) is None]
    for number, row in enumerate(todo, start=1):
        words = f"{row.label}, {row.at}%"
        measured = _measured(evaluation, row, f"{words} ({number} of {len(todo)})")
        evaluation.results.add(measured)
        evaluation.note(f"{words}: F1 {measured.value('f1'):.1f}")


def _drawn(evaluation: Evaluation) -> tuple[list[Example], list[str]]:
    """Return the questions that are scored, and those that `usage` was asked before."""
    examples = list(evaluation.shared.dataset.examples)
    random.Random(evaluation.plan.seed).shuffle(examples)
    number = min(evaluation.plan.limit or len(examples), len(examples))
    known = int(number * _ASKED_BEFORE)
    before = [*examples[:known], *examples[number : number + known]]
    return examples[:number], [example.question for example in before]


def _measured(evaluation: Evaluation, row: Row, title: str) -> Row:
    questions, asked_before = _drawn(evaluation)
    whole = evaluation.store
    with tempfile.TemporaryDirectory(prefix="mac-eval-") as folder:
        copy(whole.store, Path(folder) / "store")
        with Store.open(Path(folder) / "store", fingerprint=whole.model.fingerprint) as store:
            pruned = replace(whole, store=store)
            if row.method == "usage":
                k = evaluation.selecting[0] if row.k == ALL or row.k is None else row.k
                weights, judge = evaluation.weights, evaluation.judge(METHODS["mac"])
                for question in asked_before:
                    selected = pruned.candidates(question, k, "hybrid", weights, judge=judge)
                    store.record_use({c.id: c.weight for c in selected})
            begun = time.perf_counter()
            if row.method != _WHOLE:
                target = Target(share=int(str(row.at)) / 100)
                seed = abs(evaluation.plan.seed)
                prune(store, row.method, target, seed=seed)  # type: ignore[arg-type]
            seconds = time.perf_counter() - begun
            stats = store.stats()
            costs = {
                "prune_seconds": seconds,
                "modulations": stats.modulations,
                "modulation_bytes": stats.modulation_bytes,
            }
            row = replace(row, costs=costs)
            return compare.measure(evaluation, pruned, questions, METHODS["mac"], row, title)
