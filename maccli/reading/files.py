"""Paths, globs and folders to the files that are meant, and to what is wrong with the others."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SKIPPED_FOLDERS = frozenset({"CVS", "_darcs", "__pycache__", "node_modules"})
"""Folders that a walk leaves out, as it does all hidden ones (.git, .hg, .svn, .venv ...)."""


@dataclass(frozen=True, slots=True)
class FileItem:
    """A file to read.

    Attributes:
        path: where it is.
        source: its name in the store.
        size: in bytes.
        walked: whether a walk of a folder met it, rather than that the user named it.
    """

    path: Path
    source: str
    size: int
    walked: bool


@dataclass(frozen=True, slots=True)
class Unusable:
    """A path that gives no file, and why, in words for the user."""

    size = 0

    path: str
    reason: str


def find(paths: Sequence[str]) -> list[FileItem | Unusable]:
    """Return the files that `paths` (files, globs, folders) mean, each once, in a stable order.

    A folder is taken with everything in it. A path that exists is taken as it is, even if it looks
    like a glob. Hidden files and folders and those of version control are skipped unless named.
    Nothing is read.
    """
    seen: set[str] = set()
    result: list[FileItem | Unusable] = []
    for path in paths:
        for item in _expand(path):
            key = item.source if isinstance(item, FileItem) else item.path
            if key not in seen:
                seen.add(key)
                result.append(item)
    return result


def below(folder: str) -> list[FileItem | Unusable]:
    """Return what is in a folder, as `find` does; it may be nothing."""
    return list(_walk(folder))


def is_below(path: str, folder: str) -> bool:
    """Return whether a path lies in a folder, both absolute."""
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def outermost(folders: Sequence[str]) -> list[str]:
    """Return the folders as absolute paths, without those that lie in another one."""
    absolute = dict.fromkeys(os.path.abspath(os.path.expanduser(folder)) for folder in folders)
    return [
        folder
        for folder in absolute
        if not any(other != folder and is_below(folder, other) for other in absolute)
    ]


def is_missing(path: str) -> bool:
    """Return whether no file is at `path` any more; not if it merely cannot be looked at."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False


def look(path: str) -> FileItem | Unusable:
    """Return the file at `path`, as a walk of its folder would."""
    return _look(path, walked=True)


def source_name(path: str | Path) -> str:
    """Return the name of a file in the store: its absolute path, as text that can be stored."""
    return printable(os.path.abspath(path))


def printable(name: str) -> str:
    r"""Return a file name without the bytes that are no text (shown as \\xNN)."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def displayed(source: str) -> str:
    """Return the name of a document as it is shown: relative if it lies below this folder."""
    here = os.getcwd()
    return source[len(here) + 1 :] if source.startswith(here.rstrip(os.sep) + os.sep) else source


def _expand(path: str) -> Iterator[FileItem | Unusable]:
    expanded = os.path.expanduser(path)
    if os.path.lexists(expanded):
        yield from _expand_path(expanded)
    elif glob.has_magic(expanded):
        matches = sorted(glob.glob(expanded, recursive=True))
        if not matches:
            yield Unusable(printable(path), "no file matches")
        for match in matches:
            # "docs/**" matches folders, and by itself what is in them.
            if "**" not in expanded or not os.path.isdir(match):
                yield from _expand_path(match)
    else:
        yield Unusable(printable(path), "no such file or folder")


def _expand_path(path: str) -> Iterator[FileItem | Unusable]:
    if os.path.isdir(path):
        yield from below(path) or [Unusable(printable(path), "no files in this folder")]
    else:
        yield _look(path, walked=False)


def _walk(folder: str) -> Iterator[FileItem | Unusable]:
    failures: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=failures.append):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS
        )
        for name in sorted(names):
            if not name.startswith("."):
                yield _look(os.path.join(parent, name), walked=True)
    for failure in failures:
        yield Unusable(printable(str(failure.filename)), _reason(failure))


def _look(path: str, *, walked: bool) -> FileItem | Unusable:
    try:
        status = os.stat(path)
    except OSError as error:
        return Unusable(printable(path), _reason(error))
    if not stat.S_ISREG(status.st_mode):
        return Unusable(printable(path), "not a regular file; use - to read from a pipe")
    return FileItem(Path(path), source_name(path), status.st_size, walked)


def _reason(error: OSError) -> str:
    return (error.strerror or "cannot be read").lower()
