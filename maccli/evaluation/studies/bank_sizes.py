"""`mac study bank-sizes`: the same questions asked of a store that grows.

Chunks are amortized when a question first selects them, so that large stores take minutes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from maccli.errors import USAGE, MacError
from maccli.evaluation import compare
from maccli.evaluation.evaluation import Evaluation


def run(evaluation: Evaluation, sizes: Sequence[int]) -> None:
    """Measure every method that searches at every size that the results do not have yet.

    The questions are those whose documents fit in the smallest store; the other documents are drawn
    at random, and a larger store holds those of all smaller ones.

    Args:
        evaluation: one checkpoint; its methods are measured at their first `k`.
        sizes: numbers of documents.

    Raises:
        MacError: there are fewer documents.
        DataError, StoreError, WeightsError: as `maccli.evaluation.compare.run`.
    """
    sizes = sorted(set(sizes))
    names = list(evaluation.documents)
    if sizes[-1] > len(names):
        raise MacError(
            f"A store of {sizes[-1]:,} documents needs more than there are ({len(names):,}).",
            "Give smaller sizes, or more --data or --distractors.",
            USAGE,
        )
    answering = dict.fromkeys(e.document_id for e in evaluation.questions)
    others = [name for name in names if name not in answering]
    random.Random(evaluation.plan.seed).shuffle(others)
    order = [*answering, *others]
    smallest = set(order[: sizes[0]])
    questions = [e for e in evaluation.questions if e.document_id in smallest]
    steps = [
        (method, replace(row, at=size, costs={"smallest": sizes[0]}))
        for size in sizes
        for method, row in compare.storing_rows(evaluation)
        if method.searches
    ]
    results = evaluation.results
    known = {row.key for row in results.rows if row.costs.get("smallest") == sizes[0]}
    if all(row.key in known for _, row in steps):
        return
    with evaluation.empty_store(lazy=True) as store:
        stored = 0
        for size in sizes:
            with evaluation.bars(size - stored, "doc", "ingest") as progress:
                new = {name: evaluation.documents[name] for name in order[stored:size]}
                store.fill(new, progress)
            stored, chunks = size, store.store.stats().chunks
            for method, row in steps:
                if row.at != size or row.key in known:
                    continue
                title = f"{row.title}, {size:,} documents"
                row = replace(row, costs={**row.costs, "chunks": chunks})
                row = compare.measure(evaluation, store, questions, method, row, title)
                results.add(row)
                evaluation.note(f"{title}: F1 {row.value('f1'):.1f}")
