"""What a failure looks like to the user: one line says what is wrong, one says what to do.

`MacError` is raised by this package. `explain` turns the exceptions of `store`, `models`, Python
and its libraries into one; its table is the only place that knows them all.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import models.errors

DONE, FAILED, USAGE, NOTHING_FOUND, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes. `FAILED` after an ingest means that some files failed and the others were kept."""


class MacError(Exception):
    """A failure with a message for the user, the next step if there is one, and an exit code."""

    def __init__(self, message: str, hint: str | None = None, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


def no_documents(folder: Path, *, exists: bool, exit_code: int = FAILED) -> MacError:
    """Return the error for a store that does not exist or is empty.

    Args:
        folder: of the store.
        exists: whether there is a store, but an empty one.
        exit_code: of `mac`; `NOTHING_FOUND` for a question.
    """
    message = f"The store {folder} is empty." if exists else f"There is no store in {folder}."
    return MacError(message, "Ingest something first: mac ingest FILES", exit_code)


def install_hint(extra: str) -> str:
    """Return how to install an extra of `maccli`, such as "watch"."""
    return f"Install the extra: {models.errors.install_hint(extra)}"


@dataclass(frozen=True, slots=True)
class _Explanation:
    """How an exception is explained. An error's own hint, if it has one, goes before `hint`.

    Attributes:
        hint: the next step.
        message: what is wrong; None takes the first line of the exception's own message.
        exit_code: of `mac`.
    """

    hint: str | None = None
    message: str | None = None
    exit_code: int = FAILED


_DISK_FULL = _Explanation(
    "What was finished before is kept. Free some space and run the same command again.",
    "The disk is full.",
)

# By class name, since looking an error up must not import the library that raised it. An exception
# is explained by the first of its classes, from the most special one on, that stands here.
_EXPLANATIONS: dict[str, _Explanation] = {
    # store
    "FingerprintMismatchError": _Explanation(
        "Use the model that wrote this store (-m MODEL), another store (--store DIR), or "
        "amortize the texts of this one again with this model: mac store rebuild"
    ),
    "StoreNotFoundError": _Explanation(
        "`mac ingest FILES` makes one; `mac store path` shows where."
    ),
    "StoreVersionError": _Explanation("Another version of mac wrote this store. Use that version."),
    "StoreCorruptError": _Explanation(
        "Run `mac store verify --repair`, restore the folder from a backup, or ingest the files "
        "again into another store (--store DIR)."
    ),
    "StoreBusyError": _Explanation(
        "Another mac is writing to this store. Try again when it is done."
    ),
    "ChunksGoneError": _Explanation(
        "Another process changed the document. Run the same command again."
    ),
    "ExportFormatError": _Explanation("`mac store export FILE` writes files that can be imported."),
    "StoreError": _Explanation(),
    # models
    "WeightsError": _Explanation(
        "Run `mac model pull` once with a network, or name a folder that has the weights."
    ),
    "CheckpointError": _Explanation(
        "`mac model ls` lists the models that work; choose one with -m."
    ),
    "UnsupportedModelError": _Explanation(
        "Choose a base model of another family (GPT-2, Llama, Mistral, Qwen, Gemma)."
    ),
    "HintedError": _Explanation(),
    # libraries
    "WatchfilesRustInternalError": _Explanation(
        "Watch fewer folders, or raise the system's limit "
        "(Linux: sysctl fs.inotify.max_user_watches)."
    ),
    "OutOfMemoryError": _Explanation("Compute on the processor instead: --device cpu"),
    "MemoryError": _Explanation(
        "Close other programs, or ingest fewer files at once.", "Not enough memory."
    ),
}

_EXTRAS = {
    "fastapi": "serve",
    "matplotlib": "plot",
    "mcp": "mcp",
    "peft": "rivals",
    "python_multipart": "serve",
    "sentence_transformers": "rivals",
    "usearch": "approximate",
    "uvicorn": "serve",
    "watchfiles": "watch",
}
"""The extra of `maccli` that installs each optional package."""


def may_pass(error: BaseException) -> bool:
    """Return whether the same work may succeed later, with nothing changed: a busy store, say."""
    never = {"FingerprintMismatchError", "StoreVersionError"}
    if never.intersection(cls.__name__ for cls in type(error).__mro__):
        return False
    return isinstance(error, OSError | sqlite3.Error | MemoryError)


def explain(error: BaseException) -> MacError | None:
    """Return what to tell the user about `error`; None if it is a bug rather than a failure."""
    if isinstance(error, MacError):
        return error
    own_hint = getattr(error, "hint", None)
    hint = own_hint if isinstance(own_hint, str) else None
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _explained(error, _DISK_FULL, None)
    if isinstance(error, sqlite3.Error) and "full" in str(error):
        return _explained(error, _DISK_FULL, None)
    for name in (cls.__name__ for cls in type(error).__mro__):
        if name in _EXPLANATIONS:
            return _explained(error, _EXPLANATIONS[name], hint)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in _EXTRAS:
            return MacError(f"{package} is not installed.", install_hint(_EXTRAS[package]))
    if isinstance(error, OSError):
        return _explain_os_error(error, hint)
    if hint is not None or (isinstance(error, ValueError) and _is_ours(error)):
        return _explained(error, _Explanation(), hint)
    return None


def bug(error: BaseException) -> str:
    """Return what to say of an error that `explain` does not know."""
    return f"bug in mac: {type(error).__name__}: {models.errors.first_line(error)}"


def _explained(error: BaseException, explanation: _Explanation, hint: str | None) -> MacError:
    return MacError(
        explanation.message or models.errors.first_line(error),
        hint or explanation.hint,
        explanation.exit_code,
    )


def _explain_os_error(error: OSError, hint: str | None) -> MacError:
    if error.errno is None:
        return MacError(models.errors.first_line(error), hint)
    where = error.filename
    reason = error.strerror or os.strerror(error.errno)
    if where is None and isinstance(error, FileNotFoundError):  # only getcwd() names no file
        return MacError("The current folder does not exist any more.", "Go to another one: cd")
    if where is None:
        return MacError(reason, hint)
    if isinstance(error, PermissionError):
        hint = hint or "Check who owns it and its permissions."
    return MacError(f"{os.fsdecode(where) if isinstance(where, bytes) else where}: {reason}", hint)


def _is_ours(error: ValueError) -> bool:
    return type(error).__module__.split(".")[0] in ("models", "store")
