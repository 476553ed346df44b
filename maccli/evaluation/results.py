"""The rows that are measured, and the file that they are kept in, written anew after every row."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from maccli.errors import USAGE, MacError
from maccli.evaluation.methods import K
from models.files import replace_file

FORMAT, VERSION = "mac-eval", 2
_LIBRARIES = ("maccli", "torch", "transformers", "numpy")


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one method under one set of circumstances.

    Attributes:
        method: its name; a strategy or a context in the studies of pruning and language modelling.
        k: how many chunks a question selected, if it selected any.
        checkpoint: the checkpoint's name, where a run has several.
        base_lm: the base LM's name, where a run has several.
        files: SHA-256 of each file and encoder that the method was made with.
        at: where in a study: a number of documents, a percentage, a data file, an article.
        questions: how many questions were asked.
        figures: name to value and 95 % interval [value, low, high]; percent, for shares.
        costs: other numbers: seconds, bytes, tokens; None where one is not known.
        answers: every question's id, prediction and scores.
    """

    method: str
    k: K | None = None
    checkpoint: str | None = None
    base_lm: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    at: int | str | None = None
    questions: int = 0
    figures: Mapping[str, list[float]] = field(default_factory=dict)
    costs: Mapping[str, float | None] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells the row from all others in a file of results."""
        files = tuple(sorted(self.files.items()))
        return (self.method, self.k, self.checkpoint, self.base_lm, files, self.at)

    @property
    def label(self) -> str:
        """The method, with its checkpoint or base LM where the run has several."""
        name = self.checkpoint or self.base_lm
        return f"{self.method} [{name}]" if name else self.method

    @property
    def title(self) -> str:
        """The label, with k."""
        return self.label if self.k is None else f"{self.label}, k = {self.k}"

    def value(self, figure: str) -> float:
        """Return a figure without its interval."""
        return self.figures[figure][0]


class Results:
    """The rows of one run, with what they were measured on.

    Attributes:
        data: everything else in the file: settings, versions, hardware, questions.
        rows: the rows so far.
        path: the file; None keeps the rows in memory only.
    """

    def __init__(self, data: dict[str, Any], rows: list[Row], path: Path | None) -> None:
        self.data, self.rows, self.path = data, rows, path

    @classmethod
    def begin(
        cls, path: Path | None, settings: Mapping[str, Any], command: str, *, resume: bool
    ) -> Results:
        """Start an empty file of results, or go on with one of the same settings.

        Raises:
            MacError: there is a file already and `resume` is not set, or it is not a file of
                results, or its settings differ.
            OSError: the file cannot be read.
        """
        settings = json.loads(json.dumps(settings))  # tuples become lists, as in the file
        if path is not None and path.exists():
            if not resume:
                raise MacError(
                    f"There is a file {path} already.",
                    "Go on with it (--resume), or write into another one (--out).",
                    USAGE,
                )
            data, rows = _read(path)
            _compare(path, data["settings"], settings)
            return cls(data, rows, path)
        data = {
            "format": FORMAT,
            "version": VERSION,
            "command": command,
            "begun": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
            "hardware": _hardware(),
            "settings": settings,
        }
        return cls(data, [], path)  # written with the first row: a run that fails before is none

    def find(self, row: Row) -> Row | None:
        """Return the measured row with the key of `row`, if there is one."""
        return next((known for known in self.rows if known.key == row.key), None)

    def add(self, row: Row) -> None:
        """Keep a row, in place of one with the same key."""
        self.rows = [known for known in self.rows if known.key != row.key] + [row]
        self.save()

    def keep(self, name: str, value: Any) -> None:
        """Keep something that is not a row."""
        self.data[name] = value
        self.save()

    def as_dict(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {**self.data, "rows": [asdict(row) for row in self.rows]}

    def save(self) -> None:
        """Write the file, if there is one; a crash leaves the old one or the new one."""
        if self.path is not None:
            text = json.dumps(self.as_dict(), ensure_ascii=False, indent=1) + "\n"
            replace_file(self.path, text.encode("utf-8", "backslashreplace"))


def _read(path: Path) -> tuple[dict[str, Any], list[Row]]:
    hint = "Write into another file (--out)."
    try:
        data = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise MacError(f"{path} holds no results: {error}", hint) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise MacError(f"{path} holds no results of mac eval.", hint)
    if data.get("version") != VERSION:
        raise MacError(f"{path}: results of version {data.get('version')!r}, not {VERSION}.", hint)
    rows = data.pop("rows", None)
    known = {f.name for f in fields(Row)}
    if (
        not isinstance(data.get("settings"), dict)
        or not isinstance(rows, list)
        or not all(isinstance(row, dict) and "method" in row and {*row} <= known for row in rows)
    ):
        raise MacError(f"{path}: the settings or rows are missing.", hint)
    return data, [Row(**row) for row in rows]


def _compare(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name in sorted({*stored, *wanted}):
        old, new = stored.get(name), wanted.get(name)
        if old != new:
            if name in ("data", "distractors", "documents"):
                what = f"other {name}"
            else:
                what = f"{name} {json.dumps(old)}, not {json.dumps(new)}"
            raise MacError(
                f"{path} holds results of other settings: {what}.",
                "Give the same options as then, or write into another file (--out).",
                USAGE,
            )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # mac itself, run from a checkout
            versions[name] = "not installed"
    return versions


def _hardware() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if cuda else None,
    }


def _processor() -> str:
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        except OSError:
            lines = []
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
