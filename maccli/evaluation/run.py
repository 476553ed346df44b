"""One run of `mac eval` or `mac study`: its checkpoints in turn, its results and its store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli.evaluation.checkpoints import Checkpoint, line_up
from maccli.evaluation.evaluation import Evaluation, Shared
from maccli.evaluation.plan import Plan
from maccli.evaluation.results import Results
from maccli.service.session import Session

if TYPE_CHECKING:
    from maccli.evaluation.evaluation import Bars
    from models.weights.carriers import Transfer


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where a run computes, what it keeps, and who is told.

    Attributes:
        models: the checkpoints' names or folders.
        device: "auto", "cpu", "cuda" or "mps".
        command: as the user typed it, for the results.
        bars: shows progress.
        note: tells the user something.
        transfer: told about downloads.
        out: the file of results; None keeps them in memory only.
        resume: whether to go on with the run in `out`.
        store: the folder of the store; None takes a temporary one.
    """

    models: Sequence[str]
    device: str
    command: str
    bars: Bars
    note: Callable[[str], None]
    transfer: Transfer | None = None
    out: Path | None = None
    resume: bool = False
    store: Path | None = None

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give the folder of the store, absolute; a temporary one is removed afterwards."""
        if self.store is not None:
            yield self.store.expanduser().absolute()
            return
        with tempfile.TemporaryDirectory(prefix="mac-eval-") as temporary:
            yield Path(temporary) / "store"

    def shared(
        self, plan: Plan, checkpoints: Sequence[Checkpoint], more: Mapping[str, Any] | None = None
    ) -> Shared:
        """Begin the results of a plan, or go on with them; return what all checkpoints share.

        Raises:
            DataError, MacError: the plan or the file cannot be used.
        """
        settings = plan.settings(checkpoints) | dict(more or {})
        results = Results.begin(self.out, settings, self.command, resume=self.resume)
        return Shared(plan, results, self.bars, self.note, self.device, self.transfer)


def run(plan: Plan, circumstances: Circumstances, measure: Callable[[Evaluation], None]) -> Results:
    """Measure every checkpoint of a run and return the results.

    Args:
        plan: what is measured.
        circumstances: everything else.
        measure: measures one checkpoint.

    Raises:
        CheckpointError, DataError, MacError, StoreError, WeightsError: as `compare.run`.
    """
    with circumstances.folder() as folder:
        checkpoints = line_up(circumstances.models, folder, circumstances.device)
        shared = circumstances.shared(plan, checkpoints)
        # One after the other, so that no checkpoint's models are in memory beside another's.
        for checkpoint in checkpoints:
            with (
                Session(checkpoint.place, transfer=circumstances.transfer) as session,
                Evaluation(session, checkpoint, shared) as evaluation,
            ):
                measure(evaluation)
            del session, evaluation
        return shared.results


def run_alone(
    plan: Plan,
    circumstances: Circumstances,
    measure: Callable[[Session, Checkpoint, Shared], None],
    more: Mapping[str, Any] | None = None,
) -> Results:
    """Measure the only checkpoint of a run and return the results.

    Args:
        plan: what is measured.
        circumstances: everything else.
        measure: measures the checkpoint.
        more: settings beyond the plan's own.

    Raises:
        CheckpointError, DataError, MacError, StoreError, WeightsError: as `run`.
    """
    with circumstances.folder() as folder:
        (checkpoint,) = line_up(circumstances.models, folder, circumstances.device)
        shared = circumstances.shared(plan, [checkpoint], more)
        with Session(checkpoint.place, transfer=circumstances.transfer) as session:
            measure(session, checkpoint, shared)
        return shared.results
