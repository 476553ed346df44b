"""What can go wrong in this package; each error may carry the user's next step.

A message says in one line what is wrong, with the offending value; ``hint`` says what to do.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class HintedError(Exception):
    """Base of this package's errors: a one-line message and, where there is one, a next step."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ModelError(HintedError, ValueError):
    """A model, a checkpoint or a value handed to one cannot be used."""


class CheckpointError(ModelError):
    """A checkpoint is missing, damaged, or was trained for another base model."""


class UnsupportedModelError(ModelError):
    """A base model has an architecture, or is wanted on a device, that cannot be used here."""


class DataError(HintedError, ValueError):
    """Question-answering data cannot be read; the message names the file and the line."""


class WeightsError(HintedError, OSError):
    """A base model's weights cannot be found, reached or trusted."""


class MissingPackageError(HintedError, ImportError):
    """An optional package that the work at hand needs is not installed."""


def optional(package: str, extra: str) -> Any:
    """Import and return a package that only one of the extras of `maccli` installs.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"the package {package} is not installed", install_hint(extra)
        ) from error


def install_hint(extra: str) -> str:
    """Return how to install one of the extras of `maccli`."""
    return f"pip install 'maccli[{extra}]' (in a clone: pip install '.[{extra}]')"


def first_line(error: object) -> str:
    """Return the first line of an error's text, or its class where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
