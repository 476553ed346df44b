"""The phases of a recipe: where their data comes from, and how they are trained one by one.

The last phase is trained in the user's folder, the others in `phase-1`, `phase-2` and so on within
it, each from what the one before has trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli.errors import USAGE, MacError
from maccli.output import count
from maccli.service.session import silence_libraries
from maccli.training import train as training
from maccli.training.recipe import Recipe
from maccli.training.train import Callbacks, Run
from models.data import files, hub
from models.errors import CheckpointError
from models.memory import checkpoint

if TYPE_CHECKING:
    from models.training.settings import TrainConfig
    from models.training.trainer import StepReport
    from models.weights.carriers import Transfer

Planned = tuple[Run, "TrainConfig"]
"""A phase: what to train and from what, and the trainer's settings."""


@dataclass(frozen=True, slots=True)
class Tell:
    """How the user is told where data comes from.

    Attributes:
        note: tells a line.
        warn: tells a line that matters more.
        transfer: told about downloads.
    """

    note: Callable[[str], None]
    warn: Callable[[str], None]
    transfer: Transfer | None = None


def gather(recipe: Recipe, folder: Path | None, tell: Tell) -> dict[str, Path]:
    """Return the file of each source of a recipe that can be had, by its name.

    A source is taken from the user's folder, or else from the Hub. One that is in neither is left
    out with a warning, since nobody but its owner could ever run the recipe otherwise; one that
    cannot be downloaded is an error, so that a bad connection never changes what is trained.

    Args:
        recipe: names the sources.
        folder: the user's files, named like the sources; None if there are none.
        tell: told which sources come from where, under which licences, and which are left out.

    Raises:
        DataError: a source on the Hub cannot be had.
        MissingPackageError: one of them needs pyarrow.
    """
    names = recipe.names()
    found = {name: path for name in names if folder and (path := files.find(folder, name))}
    public = {
        name: source
        for name in names
        if name not in found and (source := recipe.source(name).hub) is not None
    }
    absent = [name for name in names if name not in found and name not in public]
    tell.note(
        f"Recipe {recipe.name}: {count(len(recipe.phases), 'phase')}, "
        f"{count(len(names), 'source')}; {len(found)} from your folder, {len(public)} from the "
        f"Hugging Face Hub, {len(absent)} left out."
    )
    if absent:
        where = f"{folder} nor" if folder else "a --data-folder nor"
        tell.warn(
            f"{count(len(absent), 'source')} of the recipe left out, neither in {where} on the "
            "Hub: what is trained will differ from what the recipe made."
        )
        for name in absent:
            about = recipe.source(name)
            tell.note(f"  left out: {name}, {about.about} ({about.licence})")
    new = [name for name, source in public.items() if not hub.converted(name, source).exists()]
    for name in new:
        tell.note(f"  to download: {name}, {public[name].repo} ({recipe.source(name).licence})")
    if new:
        silence_libraries()
    return found | hub.fetch_all(public, progress=tell.transfer)


def folders(out: Path, phases: int) -> list[Path]:
    """Return the folder of each of so many phases; the last has the user's."""
    return [*(out / f"phase-{number}" for number in range(1, phases)), out]


def plan(recipe: Recipe, phases: Sequence[Planned], paths: Mapping[str, Path]) -> list[Planned]:
    """Return the phases with their data, folders and starts, and what their cards are to say.

    Args:
        recipe: the recipe.
        phases: see `maccli.training.settings.understand_phases`.
        paths: see `gather`.

    Raises:
        MacError: a phase has no data.
    """
    planned = []
    start = None
    outs = folders(phases[-1][0].out, len(phases))
    rows = zip(recipe.phases, phases, outs, strict=True)
    for number, (phase, (run, config), out) in enumerate(rows, start=1):
        sources = [files.DataSource(paths[n], w) for n, w in phase.data.items() if n in paths]
        if not sources:
            raise MacError(
                f"No source of phase {number} of the recipe {recipe.name} can be had.",
                f"Put files named like its sources ({', '.join(list(phase.data)[:3])}, ...) into a "
                "folder, and name that with --data-folder.",
            )
        notes = _notes(recipe, number, paths)
        planned.append((replace(run, sources=sources, out=out, start=start, notes=notes), config))
        start = str(out)
    return planned


def _notes(recipe: Recipe, number: int, paths: Mapping[str, Path]) -> dict[str, str]:
    """Return what the card of a phase says of the recipe and the data."""
    weights = recipe.phases[number - 1].data
    used = [name for name in weights if name in paths]
    said = {
        "recipe": f"{recipe.name}, phase {number} of {len(recipe.phases)}",
        "data": " ".join(f"{name}:{weights[name]:g}" for name in used),
        "licences": "; ".join(f"{name}: {recipe.source(name).licence}" for name in used),
        "left_out": " ".join(f"{n}:{weight:g}" for n, weight in weights.items() if n not in paths),
    }
    return {key: value for key, value in said.items() if value}


def train(phases: Sequence[Planned], callbacks: Callbacks) -> Path:
    """Train the phases one after the other, and return the folder of the last.

    With `resume`, phases that are done are passed over, and the first one that is not goes on where
    it was saved. Steps are reported as of all phases together; each folder's log counts its own.

    Args:
        phases: see `plan`.
        callbacks: who is told what happens.

    Raises:
        MacError: a folder holds what another recipe or other data has trained.
        CheckpointError: there is nothing to go on with, or it had other settings.
        DataError: the data cannot be used.
        WeightsError: the base weights cannot be downloaded or read.
        ModelError: the base model or the settings cannot be used.
    """
    from accelerate import PartialState

    for run, _ in phases:
        if run.resume:
            _check_same(run)
    before = 0
    for number, (run, config) in enumerate(phases, start=1):
        if run.resume and _is_done(run, config):
            callbacks.note(f"phase {number} of {len(phases)} is done: {run.out}")
        else:
            # A phase that had not begun starts afresh; without the first there is no run at all.
            goes_on = run.resume and (number == 1 or (run.out / checkpoint.CONFIG).exists())
            callbacks.note(
                f"phase {number} of {len(phases)}: {count(config.steps, 'step')}, "
                f"{count(len(run.sources), 'source')}, learning rate {config.learning_rate:g}"
            )
            report = _shifted(callbacks.report, before)
            training.train(replace(run, resume=goes_on), config, replace(callbacks, report=report))
            # The process that writes the checkpoint is the last to be done with it.
            PartialState().wait_for_everyone()
        before += config.steps
    return phases[-1][0].out


def _shifted(report: Callable[[StepReport], None], before: int) -> Callable[[StepReport], None]:
    return lambda now: report(replace(now, step=before + now.step))


def _is_done(run: Run, config: TrainConfig) -> bool:
    """Return whether a phase has made its last step."""
    return int(_said(run.out).get("step", -1)) >= config.steps


def _check_same(run: Run) -> None:
    """Refuse to go on with what another recipe, or other data, has trained.

    Raises:
        MacError: it did.
    """
    for key in ("recipe", "data"):
        said, now = _said(run.out), run.notes[key]
        if said and said.get(key) != now:
            raise MacError(
                f"The run in {run.out} had {key} {said.get(key) or 'of no recipe'}, not {now}.",
                "Resume with the same recipe and data, or train into another folder (--out).",
                USAGE,
            )


def _said(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint says of its training; {} if there is none."""
    try:
        training = checkpoint.read_config(folder).get("training")
    except CheckpointError:
        return {}
    return training if isinstance(training, dict) else {}
