"""One run of `mac eval` or `mac study`: its checkpoints in turn, its results and its store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli.evaluation.checkpoints import line_up
from maccli.evaluation.evaluation import Evaluation, Shared
from maccli.evaluation.plan import Plan
from maccli.evaluation.results import Results
from maccli.service.session import Session

if TYPE_CHECKING:
    from maccli.evaluation.evaluation import Bars
    from models.weights.carriers import Transfer


def run(
    plan: Plan,
    measure: Callable[[Evaluation], None],
    *,
    models: Sequence[str],
    device: str,
    command: str,
    bars: Bars,
    note: Callable[[str], None],
    transfer: Transfer | None = None,
    out: Path | None = None,
    resume: bool = False,
    store: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Results:
    """Measure every checkpoint of a run and return the results.

    Args:
        plan: what is measured.
        measure: measures one checkpoint.
        models: the checkpoints' names or folders.
        device: "auto", "cpu", "cuda" or "mps".
        command: as the user typed it, for the results.
        bars: shows progress.
        note: tells the user something.
        transfer: told about downloads.
        out: the file of results; None keeps them in memory only.
        resume: whether to go on with the run in `out`.
        store: the folder of the store; None takes a temporary one.
        settings: what the results must have in common beyond the plan's own settings.

    Raises:
        CheckpointError, DataError, MacError, StoreError, WeightsError: as `compare.run`.
    """
    with _folder(store) as folder:
        checkpoints = line_up(models, folder, device, transfer)
        wanted = plan.settings(checkpoints) | dict(settings or {})
        results = Results.begin(out, wanted, command, resume=resume)
        shared = Shared(plan, results, bars, note, device, transfer)
        # One after the other, so that no checkpoint's models are in memory beside another's.
        for checkpoint in checkpoints:
            with (
                Session(checkpoint.choice, transfer=transfer) as session,
                Evaluation(session, checkpoint, shared) as evaluation,
            ):
                measure(evaluation)
            del session, evaluation
        return results


@contextmanager
def _folder(store: Path | None) -> Iterator[Path]:
    """Give the folder of the store, absolute; a temporary one is removed afterwards."""
    if store is not None:
        yield store.expanduser().absolute()
        return
    with tempfile.TemporaryDirectory(prefix="mac-eval-") as temporary:
        yield Path(temporary) / "store"
