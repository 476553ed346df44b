"""The Unix socket of a store, in a folder that only the user can open."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from maccli import config


def path_of(store: Path) -> Path:
    """Return where a server of a store listens, if one does.

    The name is a digest, since the path of a socket has at most about a hundred bytes. Users of
    another `MAC_HOME` have other settings, and other sockets.

    Raises:
        OSError: there are no Unix sockets here, or no folder for them.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("there are no Unix sockets on this system")
    import platformdirs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says so where it falls back to a folder in /tmp
        folder = platformdirs.user_runtime_path("mac", appauthor=False)
    known = os.fsencode(config.home()) + b"\0" + os.fsencode(store.resolve())
    return folder / f"{hashlib.sha256(known).hexdigest()[:16]}.sock"


def find(store: Path) -> Path:
    """Return the socket at which a server of a store listens, or did until it was killed.

    Raises:
        OSError: there is none, or one that somebody else could have made.
    """
    path = path_of(store)
    _check_folder(path.parent)
    _check(path, stat.S_ISSOCK, 0o077)
    return path


@contextmanager
def listening(stores: Iterable[Path]) -> Iterator[list[socket.socket]]:
    """Provide the sockets of stores, which do not accept anybody yet, and remove them at the end.

    A store has none where none can be made, or where another server that runs has it.
    """
    with ExitStack() as stack:
        listeners = []
        for store in stores:
            with suppress(OSError):
                listeners.append(stack.enter_context(_listening(path_of(store))))
        yield listeners


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    from filelock import FileLock

    path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _check_folder(path.parent)
    with (
        FileLock(path.with_suffix(".lock"), timeout=0),  # its error is an OSError
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        path.unlink(missing_ok=True)  # who had it was killed, else it would be locked
        listener.bind(str(path))
        try:
            path.chmod(0o600)
            yield listener
        finally:
            with suppress(OSError):
                path.unlink()


def _check_folder(folder: Path) -> None:
    """Refuse a folder that others can open, or put another one in the place of."""
    for path, others in ((folder.parent, 0o022), (folder, 0o077)):
        _check(path, stat.S_ISDIR, others)


def _check(path: Path, is_kind: Callable[[int], bool], others: int) -> None:
    status = path.lstat()
    mine = status.st_uid == os.geteuid() and not status.st_mode & others
    if not (mine and is_kind(status.st_mode)):
        raise PermissionError(f"{path} is not the user's alone")
