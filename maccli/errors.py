"""What a failure looks like to the user: one line says what is wrong, one says what to do.

`MacError` is raised by this package. `explain` turns the exceptions of `store`, `models`, Python
and its libraries into one; it is the only place that knows them all.
"""

from __future__ import annotations

import errno
import os
import sqlite3

DONE, FAILED, USAGE, NOTHING_FOUND, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes. `FAILED` after an ingest means that some files failed and the others were kept."""


class MacError(Exception):
    """A failure with a message for the user, the next step if there is one, and an exit code."""

    def __init__(self, message: str, hint: str | None = None, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


_HINTS: dict[str, str] = {
    # By class name: looking an error up must not import the library that raised it.
    "FingerprintMismatchError": "Use the model that wrote this store (-m MODEL), "
    "ingest the files into another one (--store DIR), or amortize its texts again with this "
    "model: mac store rebuild",
    "StoreVersionError": "A newer mac wrote this store. Upgrade: pip install -U maccli",
    "StoreCorruptError": "Restore the folder from a backup, "
    "or ingest the files again into another one (--store DIR).",
    "StoreBusyError": "Another mac is writing to this store. Try again when it is done.",
    "WeightsError": "Bring them once with `mac model pull` (needs a network), "
    "or name a folder that has them.",
    "CheckpointError": "`mac model ls` shows the models that work; choose one with -m MODEL.",
    "UnsupportedModelError": "Choose a base model of another family "
    "(GPT-2, Llama, Mistral, Qwen, Gemma).",
    "WatchfilesRustInternalError": "Watch fewer folders, or raise the system's limit "
    "(Linux: sysctl fs.inotify.max_user_watches).",
    "OutOfMemoryError": "Use the processor instead: --device cpu",
}

_MISSING_EXTRAS = {
    "matplotlib": "pip install 'maccli[plot]'",
    "watchfiles": "pip install 'maccli[watch]'",
}


def explain(error: BaseException) -> MacError | None:
    """Return what to tell the user about `error`; None if it is no failure that a user can mend."""
    if isinstance(error, MacError):
        return error
    own_hint = getattr(error, "hint", None)
    hint = own_hint if isinstance(own_hint, str) else None
    for name in (cls.__name__ for cls in type(error).__mro__):
        if name in _HINTS:
            return MacError(_first_line(error), hint or _HINTS[name])
    if isinstance(error, sqlite3.Error) and "full" in str(error):
        return _no_space()
    if isinstance(error, ModuleNotFoundError) and error.name in _MISSING_EXTRAS:
        return MacError(f"{error.name} is not installed.", _MISSING_EXTRAS[error.name])
    if isinstance(error, OSError):
        return _explain_os_error(error, hint)
    if isinstance(error, MemoryError):
        return MacError(
            "Not enough memory.", "Close other programs, or ingest fewer files at once."
        )
    if hint is not None or (isinstance(error, ValueError) and _is_ours(error)):
        return MacError(_first_line(error), hint)
    return None


def _explain_os_error(error: OSError, hint: str | None) -> MacError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _no_space()
    if error.errno is None:
        return MacError(_first_line(error), hint)
    where = error.filename
    reason = error.strerror or os.strerror(error.errno)
    if where is None:
        return MacError(reason, hint)
    if isinstance(error, PermissionError):
        hint = hint or "Check who owns it and its permissions."
    return MacError(f"{os.fsdecode(where) if isinstance(where, bytes) else where}: {reason}", hint)


def _no_space() -> MacError:
    return MacError(
        "The disk is full.",
        "What was finished before is kept. Free some space and run the same command again.",
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _is_ours(error: ValueError) -> bool:
    return type(error).__module__.split(".")[0] in ("models", "store")
