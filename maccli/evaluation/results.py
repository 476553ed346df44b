"""The file that an evaluation's figures are kept in, written anew after every step of it."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from maccli.errors import USAGE, MacError
from models.memory import checkpoint

FORMAT, VERSION = "mac-eval", 1
_LIBRARIES = ("maccli", "torch", "transformers", "numpy")


class Results:
    """Figures of one evaluation: settings, what was measured, and on what.

    Attributes:
        data: what the file holds.
        path: the file; None keeps the figures in memory only.
    """

    def __init__(self, data: dict[str, Any], path: Path | None) -> None:
        self.data = data
        self.path = path

    @classmethod
    def begin(
        cls, path: Path | None, settings: Mapping[str, Any], command: str, *, resume: bool
    ) -> Results:
        """Start an empty file of results, or go on with one of the same settings.

        Raises:
            MacError: there is a file already and it is not to be gone on with, or it is no file of
                results, or of other settings.
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
            data = _read(path)
            _compare(path, data["settings"], settings)
            return cls(data, path)
        data = {
            "format": FORMAT,
            "version": VERSION,
            "command": command,
            "begun": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
            "hardware": _hardware(),
            "settings": settings,
            "rows": [],
        }
        return cls(data, path)  # written with the first figure: what fails before is no run

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows that are measured."""
        rows: list[dict[str, Any]] = self.data["rows"]
        return rows

    def find(self, **what: object) -> dict[str, Any] | None:
        """Return the measured row with these values, if there is one."""
        for row in self.rows:
            if all(row.get(name) == value for name, value in what.items()):
                return row
        return None

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.rows.append(row)
        self.save()

    def keep(self, name: str, value: Any) -> None:
        """Keep something that is no row."""
        self.data[name] = value
        self.save()

    def save(self) -> None:
        """Write the file, if there is one; a crash leaves the old one or the new one."""
        if self.path is not None:
            text = json.dumps(self.data, ensure_ascii=False, indent=1) + "\n"
            checkpoint.replace(self.path, text.encode("utf-8", "backslashreplace"))


def _read(path: Path) -> dict[str, Any]:
    hint = "Write into another file (--out)."
    try:
        data = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise MacError(f"{path} holds no results: {error}", hint) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise MacError(f"{path} holds no results of mac eval.", hint)
    if data.get("version") != VERSION:
        raise MacError(f"{path}: results of version {data.get('version')!r}, not {VERSION}.", hint)
    shaped = isinstance(data.get("settings"), dict) and isinstance(data.get("rows"), list)
    if not shaped or not all(isinstance(row, dict) for row in data["rows"]):
        raise MacError(f"{path}: the settings or rows are missing.", hint)
    return data


def _compare(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
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
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # mac itself, run from a checkout
            found[name] = "not installed"
    return found


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
