"""Notices when followed folders have changed, as soon as a burst of changes has settled."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from maccli.reading.files import SKIPPED_FOLDERS, is_below
from maccli.reading.ignoring import IGNORE_FILES

SETTLED_MS = 500
"""A burst has ended when nothing has changed for this time."""
LONGEST_MS = 30_000
"""A burst that does not end is reported after this time."""
_WAKE_MS = 1000
_RETRY_SECONDS = 1.0


def bursts(folders: Sequence[str], store: str) -> Iterator[None]:
    """Yield once the folders are watched, then after every burst of changes, until it is stopped.

    What changes while the caller is at work is the next burst. A folder that disappears ends a
    burst, too; when it is back it is watched again.

    Args:
        folders: absolute paths.
        store: absolute path of the store, whose own changes do not count.

    Raises:
        ModuleNotFoundError: watchfiles is not installed.
        KeyboardInterrupt: on Ctrl-C.
    """
    import watchfiles

    def counts(_: object, path: str) -> bool:
        return not is_below(path, store) and not _is_skipped(path, folders)

    while True:
        watched = [_identity(folder) for folder in folders]
        if None in watched:
            time.sleep(_RETRY_SECONDS)
            continue
        begun = False
        try:
            for changes in watchfiles.watch(
                *folders,
                watch_filter=counts,
                step=SETTLED_MS,
                debounce=LONGEST_MS,
                rust_timeout=_WAKE_MS,
                yield_on_timeout=True,
                ignore_permission_denied=True,
            ):
                if [_identity(folder) for folder in folders] != watched:
                    break  # moved away, or another disk mounted: nothing is reported
                if changes or not begun:
                    begun = True
                    yield
        except FileNotFoundError:
            continue  # it went away just now
        yield


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_skipped(path: str, folders: Sequence[str]) -> bool:
    """Return whether a walk of the folders leaves this path out."""
    inside = next((path[len(f.rstrip(os.sep)) + 1 :] for f in folders if is_below(path, f)), "")
    parts = inside.split(os.sep)
    if parts[-1] in IGNORE_FILES:
        parts.pop()  # which files there are depends on them
    return any(part.startswith(".") or part in SKIPPED_FOLDERS for part in parts)
