"""Recipes of `mac train --recipe`: TOML files that list phases, sources and where these stand.

A recipe in the folder `recipes` is known by its name; any other is a file of the user's.

    base             the base model that it is for, perhaps; --base takes another
    rank             latent size, perhaps
    [[phases]]       `steps`, `batch`, `lr` and `limit` as in the options of `mac train`, perhaps
                     `continuation`; `data` is a list of NAME:WEIGHT
    [sources.NAME]   `about` and `licence`; of one on the Hugging Face Hub also `hub`, `files` and
                     `format`, perhaps `revision` and `standalone`: see `models.data.hub.HubSource`

The file sources.toml describes the sources of our own recipes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.data.hub import HubSource

_FOLDER = Path(__file__).parent / "recipes"
_SOURCES = Path(__file__).parent / "sources.toml"
_TOP = {"base": str, "rank": int, "phases": list, "sources": dict}
_PHASE = {
    **{"steps": int, "batch": int, "lr": float, "limit": int},
    **{"continuation": float, "data": list},
}
_SOURCE = {
    **{"about": str, "licence": str, "hub": str, "files": str, "format": str},
    **{"revision": str, "standalone": bool},
}


@dataclass(frozen=True, slots=True)
class Phase:
    """A training run of a recipe; it starts from what the phase before has trained.

    Attributes:
        steps: optimiser steps.
        batch: questions a step.
        lr: peak learning rate.
        data: sources by name, and how often each is drawn from, relative to the others.
        limit: the most documents of a source; None: as many as the steps can use.
        continuation: see `models.training.settings.TrainConfig`; None: its default.
    """

    steps: int
    batch: int
    lr: float
    data: Mapping[str, float]
    limit: int | None = None
    continuation: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "lr", "limit"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        if not self.data:
            raise ValueError("data names no source")


@dataclass(frozen=True, slots=True)
class Source:
    """What a source is.

    Attributes:
        about: one line for people.
        licence: in words.
        hub: where it stands on the Hub; None if it has to be in the user's folder.
    """

    about: str
    licence: str
    hub: HubSource | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """Phases, and what their sources are.

    Attributes:
        name: by which it is known, or else the name of its file.
        path: the file.
        phases: in their order, at least one.
        sources: what is known of the sources, by name; of a user's own, nothing has to be.
        base: the base model; None: the default of `mac train`.
        rank: latent size; None: the default of `mac train`.
    """

    name: str
    path: Path
    phases: tuple[Phase, ...]
    sources: Mapping[str, Source] = field(default_factory=dict)
    base: str | None = None
    rank: int | None = None

    def names(self) -> list[str]:
        """Return the names of all sources that a phase draws from, in their order."""
        return list(dict.fromkeys(name for phase in self.phases for name in phase.data))

    def source(self, name: str) -> Source:
        """Return what a source is; a user's own is not described."""
        return self.sources.get(name, Source("not described", "not stated"))


def known() -> list[str]:
    """Return the names of the recipes that come with `mac`."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def read(name: str) -> Recipe:
    """Return a recipe, by the name of one that comes with `mac` or by its file.

    Raises:
        ValueError: there is none, or its file is not one; the message is one line.
        OSError: the file cannot be read.
    """
    path = _FOLDER / f"{name}.toml" if name in known() else Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"{name!r} is neither a recipe ({', '.join(known())}) nor a TOML file.")
    try:
        whole = tomllib.loads(path.read_text("utf-8"))
        _check(whole, _TOP, ("phases",))
        ours = tomllib.loads(_SOURCES.read_text("utf-8"))["sources"]
        sources = {**ours, **whole.get("sources", {})}
        return Recipe(
            name if name in known() else path.name,
            path,
            tuple(_phase(table, n) for n, table in enumerate(whole["phases"], start=1)),
            {key: _source(key, table) for key, table in sources.items()},
            whole.get("base"),
            whole.get("rank"),
        )
    except ValueError as error:  # of TOML and UTF-8, too
        raise ValueError(f"{path}: {error}") from error


def _phase(table: object, number: int) -> Phase:
    from models.data.files import parse_source

    try:
        checked = _check(table, _PHASE, ("steps", "batch", "lr", "data"))
        weighed = [parse_source(str(text)) for text in checked["data"]]
        data = {str(source.path): source.weight for source in weighed}
        if len(data) < len(weighed):
            raise ValueError("data names a source twice")
        for name in data:
            if Path(name).name != name:  # it names files, too
                raise ValueError(f"{name!r} is not the name of a source")
        return Phase(**{**checked, "data": data})
    except ValueError as error:
        raise ValueError(f"phase {number}: {error}") from error


def _source(name: str, table: object) -> Source:
    from models.data.hub import HubSource

    try:
        checked = _check(table, _SOURCE, ("about", "licence"))
        about, licence = checked.pop("about"), checked.pop("licence")
        hub = None
        if checked:
            _check(checked, _SOURCE, ("hub", "files", "format"))
            hub = HubSource(checked.pop("hub"), **checked)
        return Source(about, licence, hub)
    except ValueError as error:
        raise ValueError(f"source {name}: {error}") from error


def _check(table: object, kinds: Mapping[str, type], needed: Collection[str]) -> dict[str, Any]:
    """Return a copy of a table whose keys and types are right.

    Raises:
        ValueError: they are not; the message has the offending key and value.
    """
    if not isinstance(table, dict):
        raise ValueError(f"not a table: {table!r:.40}")
    for key in needed:
        if not table.get(key) and table.get(key) != 0:
            raise ValueError(f"{key} is missing")
    for key, value in table.items():
        if key not in kinds:
            raise ValueError(f"there is no setting {key!r}; there are {', '.join(kinds)}")
        kind = kinds[key]
        right = isinstance(value, (int, float) if kind is float else kind)
        if not right or (kind is not bool and isinstance(value, bool)):
            raise ValueError(f"{key} must be of type {kind.__name__}, not {value!r:.40}")
    return dict(table)
