"""What a walk of a folder leaves out: what the user excludes, .gitignore and .macignore name.

All patterns are written as in .gitignore, and the last one that fits decides. The user's go before
those of .macignore, and these before .gitignore; those of a deeper folder go before those above it.
What editors and systems leave behind is left out, unless a pattern with ! takes it in.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

IGNORE_FILES = (".macignore", ".gitignore")
"""The files with patterns; what the first one says goes before what the second does."""
_LEFTOVERS = ("*~", r"\#*#", "~$*", "~WR[DL]*.tmp", "4913", "[Tt]humbs.db", "[Dd]esktop.ini")
_MAX_BYTES = 1024 * 1024  # a longer file is no list of patterns
_ANY_FOLDER_BELOW = re.compile(r"/\*\*/\s*\Z")
# What the library finds for * and **, and for */ and **/.
_EVERYTHING = {".": ".+", "(?P<ps_d>/)": ".+/"}

_Rules = tuple[tuple["_Patterns", ...], tuple["_Patterns", ...]]


class Ignoring:
    """What is left out of one folder, which is taken itself even if a folder above ignores it.

    Attributes:
        root: the folder.
    """

    def __init__(self, root: str, exclude: Sequence[str] = ()) -> None:
        """Read the patterns that stand above a folder, up to the root of its repository.

        Args:
            root: the folder, as an absolute path without links.
            exclude: the user's patterns: relative to the folder, or paths that lead into it.
        """
        self.root = root
        self._exclude = _Patterns(root, [_relative(pattern, root) for pattern in exclude])
        self._leftovers = _Patterns(root, _LEFTOVERS)
        self._rules: dict[str, _Rules] = {}
        self._above: _Rules = ((), ())
        repository = _repository(root)
        if repository != root:
            outer = Ignoring(repository)
            if not outer.leaves_out_below(root, folder=True):
                self._above = outer._rules_in(os.path.dirname(root))

    def leaves_out(self, path: str, *, folder: bool = False) -> bool:
        """Return whether a file or folder is left out that lies in a folder that is not."""
        own, git = self._rules_in(os.path.dirname(path))
        for patterns in (self._exclude, *own, *git):
            verdict = patterns.verdict(path, folder)
            if verdict is not None:
                return verdict
        return not folder and self._leftovers.verdict(path, folder) is True

    def leaves_out_below(self, path: str, *, folder: bool = False) -> bool:
        """Return whether a file or folder is left out, or a folder between it and the root."""
        parent = os.path.dirname(path)
        if parent != self.root and self.leaves_out_below(parent, folder=True):
            return True
        return self.leaves_out(path, folder=folder)

    def _rules_in(self, folder: str) -> _Rules:
        """Return the patterns that count in a folder, its own ones first."""
        if folder not in self._rules:
            above = self._above if folder == self.root else self._rules_in(os.path.dirname(folder))
            own, git = (_read(folder, name) for name in IGNORE_FILES)
            self._rules[folder] = ((*own, *above[0]), (*git, *above[1]))
        return self._rules[folder]


class _Patterns:
    """The patterns of one file, or of the user."""

    def __init__(self, base: str, lines: Iterable[str]) -> None:
        self._start = len(base.rstrip(os.sep)) + 1
        self._patterns = list(_compiled(lines))

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def verdict(self, path: str, folder: bool) -> bool | None:
        """Return whether `path` is left out; None if no pattern fits."""
        entry = path[self._start :].replace(os.sep, "/") + ("/" if folder else "")
        for pattern, left_out in reversed(self._patterns):
            if pattern.fullmatch(entry):
                return left_out
        return None


def _compiled(lines: Iterable[str]) -> Iterator[tuple[re.Pattern[str], bool]]:
    """Yield an expression for each pattern, and whether what fits it is left out.

    The library's expressions also find what lies in a folder that fits. Here a whole path has to
    fit, a folder's with a slash at its end, since its folders have been decided on before.
    """
    for line in lines:
        try:
            pattern = GitIgnoreSpecPattern(_ANY_FOLDER_BELOW.sub("/**/?*/", line))
        except GitIgnorePatternError:
            continue  # as git does
        if pattern.regex is None or pattern.include is None:
            continue  # a comment
        expression = pattern.regex.pattern
        if expression in _EVERYTHING:
            expression = _EVERYTHING[expression]
        elif "(?P<" not in expression:  # docs/**
            expression += ".+"
        yield re.compile(expression, re.DOTALL), pattern.include


def _relative(pattern: str, root: str) -> str:
    """Return a user's pattern as it would stand in the root; it may be a path that leads there."""
    taken, glob = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    if glob.startswith("#"):
        return f"{taken}\\{glob}"
    if "/" in glob.rstrip("/"):
        path = os.path.join(_here(), os.path.expanduser(glob.removeprefix("./")))
        if path.startswith(root.rstrip(os.sep) + os.sep):
            return f"{taken}/{path[len(root.rstrip(os.sep)) + 1 :]}"
    return pattern


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _read(folder: str, name: str) -> list[_Patterns]:
    """Return the patterns of a file, if it has any."""
    path = os.path.join(folder, name)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return []
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES).removeprefix(codecs.BOM_UTF8)
    except OSError:
        return []
    patterns = _Patterns(folder, re.split(r"\r?\n", os.fsdecode(content)))
    return [patterns] if patterns else []


def _repository(folder: str) -> str:
    """Return the root of the repository that a folder lies in; without one the folder itself."""
    above = folder
    while not os.path.lexists(os.path.join(above, ".git")):
        if above == (above := os.path.dirname(above)):
            return folder
    return above
