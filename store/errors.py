"""What can go wrong with a store, each as one clear line and, where there is one, the next step."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StoreError(OSError):
    """A store could not be opened, read or written.

    Args:
        message: one line saying what is wrong, with the offending value.
        hint: what the user can do about it, if anything.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class StoreNotFoundError(StoreError):
    """There is no store at this path (yet)."""


class StoreCorruptError(StoreError):
    """The store's files are damaged."""


class StoreVersionError(StoreError):
    """The store's schema is not one that this program can work with."""


class StoreBusyError(StoreError):
    """Another process held the store's write lock for too long."""


class ChunksGoneError(StoreError):
    """Chunks that are read, or that a write relies on, are not in the store (any more)."""


class DamagedRowError(Exception):
    """A row of the database is damaged; the message says which one and has no full stop."""


class ExportFormatError(StoreError):
    """A file is not an export of a store, is damaged, or is of a version that cannot be read."""


class FingerprintMismatchError(StoreError):
    """The store was written with another checkpoint than the one in use.

    Attributes:
        stored: fingerprint of the checkpoint that wrote the store.
        wanted: fingerprint of the checkpoint that the caller works with.
    """

    def __init__(
        self, message: str, *, stored: str = "", wanted: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.stored = stored
        self.wanted = wanted


_CORRUPT_HINT = (
    "`mac store verify --repair` rebuilds what can be rebuilt. Else restore the folder from a "
    "backup, or move it away and ingest the documents again."
)
_FULL_HINT = "Free some space and run the same command again; what was stored before is kept."
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_UNICODE = "index.db holds text that is not valid UTF-8"
# Our statements are right and keep every constraint, unless the schema or a row is not what it was.
_IMPOSSIBLE = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def corrupt(path: Path, what: str) -> StoreCorruptError:
    """Return the error for damage at `path`; `what` says which part, without a full stop."""
    return StoreCorruptError(f"The store {path} is damaged: {what}", hint=_CORRUPT_HINT)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into `StoreError`s that name the store."""
    try:
        yield
    except (StoreError, sqlite3.ProgrammingError):
        raise  # the latter is a mistake of the caller, such as using a closed store
    except sqlite3.Error as error:
        raise _from_sqlite(error, path) from error
    except UnicodeDecodeError as error:
        raise corrupt(path, _NOT_UNICODE) from error
    except DamagedRowError as error:
        raise corrupt(path, str(error)) from error
    except OSError as error:
        raise _from_os(error, path) from error


def _from_sqlite(error: sqlite3.Error, path: Path) -> StoreError:
    # An extended code (SQLITE_IOERR_WRITE, ...) carries its family in the low byte.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    text = " ".join(str(error).split())
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusyError(
            f"Another process is writing to the store {path} and did not finish in time",
            hint="Wait until it is done and run the same command again.",
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"No space left on the disk of the store {path}", hint=_FULL_HINT)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return forbidden(path)
    if text.endswith("because it is a view"):  # of an older store (`schema.present`)
        return forbidden(path)
    if code == sqlite3.SQLITE_NOTADB:
        return corrupt(path, "index.db is not a database")
    if code == sqlite3.SQLITE_CORRUPT:
        return corrupt(path, f"index.db: {text}")
    if text.startswith("no such module"):
        return StoreError(
            f"This Python's SQLite {sqlite3.sqlite_version} has {text}",
            hint="Use a Python whose SQLite was built with FTS5, as python.org's are.",
        )
    if text.startswith("Could not decode to UTF-8"):
        return corrupt(path, _NOT_UNICODE)
    if code in _IMPOSSIBLE:
        return corrupt(path, f"index.db: {text}")
    return StoreError(f"The store {path} could not be read or written: {text}")


def _from_os(error: OSError, path: Path) -> StoreError:
    if error.errno in _FULL:
        return StoreError(f"No space left on the disk of the store {path}", hint=_FULL_HINT)
    if error.errno in _FORBIDDEN:
        return forbidden(path)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return StoreError(
            f"{path} cannot be a store: part of this path is a file",
            hint="Give the path of a folder.",
        )
    return StoreError(f"The store {path} could not be read or written: {error.strerror or error}")


def forbidden(path: Path) -> StoreError:
    """Return the error for a store that may not be written."""
    return StoreError(
        f"No permission to write to the store {path}",
        hint="Change the folder's permissions, or choose another folder.",
    )
