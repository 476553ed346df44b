"""`mac eval --each`: every data file a bank of its own, one table with a row a file and method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from maccli.errors import USAGE, MacError
from maccli.evaluation import compare
from maccli.evaluation.plan import Bars, Evaluation, Plan
from maccli.evaluation.results import Results
from maccli.service.session import Session

KIND = "each"


class Part(Results):
    """The results of one file: a part of the whole, saved with it."""

    def __init__(self, whole: Results, file: str) -> None:
        parts: dict[str, Any] = whole.data.setdefault(KIND, {})
        super().__init__(parts.setdefault(file, {"rows": []}), None)
        self._whole = whole

    def save(self) -> None:
        """Write the file of the whole, if there is one."""
        self._whole.save()


def run(
    session: Session,
    plan: Plan,
    results: Results,
    folder: Path,
    *,
    bars: Bars,
    note: Callable[[str], None],
) -> None:
    """Measure the plan's rows on every data file that the results do not have yet.

    Args:
        session: whose checkpoint is measured; each file gets a store of its own in `folder`.
        plan: of several files; limit and distractors count for each.
        results: whose settings are of this kind.
        folder: gets the stores.
        bars: shows progress.
        note: tells news.

    Raises:
        MacError: two files have the same name.
        DataError, CheckpointError, StoreError, WeightsError: as `maccli.evaluation.compare.run`.
    """
    names = [path.name for path in plan.data]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise MacError(
            f"Two of the data files are called {twice}.",
            "With --each the rows go by the files' names: rename one.",
            USAGE,
        )
    for number, path in enumerate(plan.data, start=1):
        name = path.name
        note(f"{name} ({number} of {len(names)})")
        with Evaluation(
            session,
            replace(plan, data=(path,)),
            Part(results, name),
            bars=bars,
            note=note,
            folder=folder / f"{number}-{name}",
        ) as evaluation:
            compare.run(evaluation)


def rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of all files, each with the name of its file as `file`."""
    parts: dict[str, Any] = results.get(KIND, {})
    return [{"file": name, **row} for name, part in parts.items() for row in part["rows"]]
