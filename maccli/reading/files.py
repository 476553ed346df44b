"""Paths, globs and folders to the files that are meant, and to what is wrong with the others.

A file has one name in the store, whatever path it was reached by: paths and folders that are named
are followed through links. Hard links are files of their own.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maccli import output
from maccli.reading.ignoring import Ignoring

SKIPPED_FOLDERS = frozenset({"CVS", "_darcs", "__pycache__", "node_modules"})
"""Folders that a walk leaves out, as it does all hidden ones (.git, .hg, .svn, .venv ...)."""
_BYTE = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class FileItem:
    """A file to read.

    Attributes:
        path: where it is.
        source: its name in the store.
        size: in bytes.
        walked: whether a walk of a folder met it, rather than that the user named it.
        target: the name of the file that it is a link to; None if it is none.
    """

    path: Path
    source: str
    size: int
    walked: bool
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A path that gives no file, and why, in words for the user.

    Attributes:
        path: the path, as `printable` has it.
        reason: why.
        walked: whether a walk of a folder met it, rather than that the user named it.
    """

    size = 0

    path: str
    reason: str
    walked: bool = False


def find(paths: Sequence[str], exclude: Sequence[str] = ()) -> list[FileItem | Unusable]:
    """Return the files that `paths` (files, globs, folders) mean, each once, in a stable order.

    A folder is taken with everything in it, a glob with all that fits; a link to a folder elsewhere
    is only told of. A path that exists is taken as it is, even if it looks like a glob. Unless they
    are named themselves, hidden files and folders and those of version control are skipped, and
    what `Ignoring` leaves out. Nothing is read.

    Args:
        paths: what the user named.
        exclude: patterns for what is left out of folders and globs, see `Ignoring`.
    """
    return _once([item for path in paths for item in _expand(path, exclude)])


def below(folder: str, exclude: Sequence[str] = ()) -> list[FileItem | Unusable]:
    """Return what is in a folder, as `find` does; it may be nothing."""
    return _once(list(_walk(folder, Ignoring(folder, exclude))))


def is_below(path: str, folder: str) -> bool:
    """Return whether a path lies in a folder, both absolute."""
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def outermost(folders: Sequence[str]) -> list[str]:
    """Return the folders as absolute paths without links, without those that lie in another one."""
    absolute = dict.fromkeys(os.path.realpath(os.path.expanduser(folder)) for folder in folders)
    return [
        folder
        for folder in absolute
        if not any(other != folder and is_below(folder, other) for other in absolute)
    ]


def is_missing(source: str) -> bool:
    """Return whether a document's file is gone; not if it merely cannot be looked at."""
    try:
        return stat.S_ISDIR(os.lstat(path_of(source)).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False


def look(source: str) -> FileItem | Unusable:
    """Return the file of a document, as a walk of its folder would."""
    return _look(path_of(source), walked=True)


def source_name(path: str | Path) -> str:
    """Return the name of a file in the store: its absolute path, as text that can be stored."""
    return printable(os.path.abspath(path))


def source_names(path: str | Path) -> Iterator[str]:
    """Yield the names that a document may have that the user calls `path`, the likeliest first."""
    yield str(path)
    yield source_name(path)
    yield real_name(path)


def real_name(path: str | Path) -> str:
    """Return the name of a file in the store without links on the way to it."""
    return printable(os.path.realpath(path))


def printable(name: str) -> str:
    r"""Return a file name as text: a byte that is none is shown as \xNN.

    A backslash before what looks like that is shown so, too, and no two names look the same.
    """
    data = re.sub(rb"\\(?=x[0-9a-f]{2})", rb"\\x5c", os.fsencode(name))
    return data.decode("utf-8", "backslashreplace")


def path_of(source: str) -> str:
    """Return the path of the file whose name in the store is `source`."""
    data = source.encode("utf-8", "surrogateescape")
    return os.fsdecode(_BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), data))


def displayed(source: str) -> str:
    """Return the name of a document as it is shown: relative if it lies below this folder."""
    try:
        here = printable(os.getcwd()).rstrip(os.sep) + os.sep
    except OSError:  # the folder was removed
        return output.escaped(source)
    return output.escaped(source.removeprefix(here))


def _once(items: Sequence[FileItem | Unusable]) -> list[FileItem | Unusable]:
    """Return each file once: not the links to it, if it is there itself, else the first of them."""
    files = {item.source for item in items if isinstance(item, FileItem) and not item.target}
    seen: set[str] = set()
    result = []
    for item in items:
        name = item.path if isinstance(item, Unusable) else item.target or item.source
        if name in seen or (isinstance(item, FileItem) and item.target in files):
            continue
        seen.add(name)
        result.append(item)
    return result


def _expand(path: str, exclude: Sequence[str]) -> list[FileItem | Unusable]:
    expanded = os.path.expanduser(path)
    if os.path.isdir(expanded):
        root = os.path.realpath(expanded)
        items = list(_walk(root, Ignoring(root, exclude)))
        reason = "no files in this folder"
        if not items and any(True for _ in _walk(root)):
            reason = "every file in this folder is ignored"
    elif os.path.lexists(expanded):
        return [_look(expanded, walked=False)]
    elif glob.has_magic(expanded):
        matches = sorted(glob.glob(expanded, recursive=True))
        items = _matching(expanded, matches, exclude) if matches else []
        reason = "every file that matches is ignored" if matches else "no file matches"
    else:
        items, reason = [], "no such file or folder"
    return items or [Unusable(printable(path), reason)]


def _matching(
    pattern: str, matches: Sequence[str], exclude: Sequence[str]
) -> list[FileItem | Unusable]:
    """Return the files that match a glob, and what is in the folders that do."""
    root = pattern
    while glob.has_magic(root):
        root = os.path.dirname(root)
    rules = Ignoring(os.path.realpath(root or os.curdir), exclude)
    items: list[FileItem | Unusable] = []
    for match in matches:
        path, folder = os.path.realpath(match), os.path.isdir(match)
        inside = is_below(path, rules.root)
        if inside and rules.leaves_out_below(path, folder=folder):
            continue
        if not folder:
            items.append(_look(match, walked=False))
        elif "**" not in pattern:  # "docs/**" matches folders, and by itself what is in them
            items += _walk(path, rules if inside else Ignoring(path, exclude))
    return items


def _walk(folder: str, rules: Ignoring | None = None) -> Iterator[FileItem | Unusable]:
    failures: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=failures.append):
        folders[:] = sorted(name for name in folders if _is_met(parent, name, rules, folder=True))
        for path in (os.path.join(parent, name) for name in folders):
            if os.path.islink(path) and not is_below(os.path.realpath(path) + os.sep, folder):
                yield Unusable(
                    printable(path), "links to a folder; name it to take it", walked=True
                )
        for name in sorted(names):
            if _is_met(parent, name, rules):
                yield _look(os.path.join(parent, name), walked=True)
    for failure in failures:
        walked = failure.filename != folder
        yield Unusable(printable(str(failure.filename)), _reason(failure), walked)


def _is_met(parent: str, name: str, rules: Ignoring | None, *, folder: bool = False) -> bool:
    """Return whether a walk takes a file, or goes into a folder."""
    if name.startswith(".") or (folder and name in SKIPPED_FOLDERS):
        return False
    return rules is None or not rules.leaves_out(os.path.join(parent, name), folder=folder)


def _look(path: str, *, walked: bool) -> FileItem | Unusable:
    """Return the file at `path`; a link that was named is its target."""
    target = None
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            status = os.stat(path)
            target = os.path.realpath(path)
    except FileNotFoundError:
        reason = "links to nothing" if os.path.islink(path) else "no such file or folder"
        return Unusable(printable(path), reason, walked)
    except (OSError, ValueError) as error:
        return Unusable(printable(path), _reason(error), walked)
    if not stat.S_ISREG(status.st_mode):
        return Unusable(printable(path), "is not a regular file; use - to read from a pipe", walked)
    if not walked:
        path, target = os.path.realpath(path), None
    name = None if target is None else printable(target)
    return FileItem(Path(path), source_name(path), status.st_size, walked, name)


def _reason(error: OSError | ValueError) -> str:
    return f"cannot be read: {getattr(error, 'strerror', None) or error}".lower()
