"""`mac study sources`: every data file in a store of its own, a row for each file and method."""

from __future__ import annotations

from dataclasses import replace

from maccli.errors import USAGE, MacError
from maccli.evaluation import compare
from maccli.evaluation.evaluation import Evaluation


def run(evaluation: Evaluation) -> None:
    """Measure the plan's rows on every data file that the results do not have yet.

    Args:
        evaluation: one checkpoint, whose folder for a store gets one for each file, with a plan of
            several files; its limit and distractors count for each.

    Raises:
        MacError: two files have the same name.
        DataError, CheckpointError, StoreError, WeightsError: as `maccli.evaluation.compare.run`.
    """
    shared = evaluation.shared
    names = [path.name for path in shared.plan.data]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise MacError(
            f"Two of the data files are called {twice}.",
            "The rows go by the files' names: rename one.",
            USAGE,
        )
    for number, path in enumerate(shared.plan.data, start=1):
        shared.note(f"{path.name} ({number} of {len(names)})")
        alone = replace(shared, plan=replace(shared.plan, data=(path,)))
        store = evaluation.folder / f"{number}-{path.name}"
        with Evaluation(
            evaluation.session, evaluation.checkpoint, alone, folder=store, part=path.name
        ) as part:
            compare.run(part)
