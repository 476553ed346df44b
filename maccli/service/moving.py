"""Exports on their way to and from files and pipes."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from maccli.errors import USAGE, MacError

if TYPE_CHECKING:
    from store.moving.load import Imported, Policy
    from store.store import Store

Advance = Callable[[int], None]


def export(store: Store, target: str, *, force: bool = False) -> int | None:
    """Write a whole store to a file, which appears when it is whole, or to stdout ("-").

    Returns:
        the file's size; None for stdout.

    Raises:
        MacError: the file exists already, or stdout is a terminal.
        OSError: it cannot be written.
    """
    from store.moving.export import export as write

    if target != "-":
        path = Path(target).expanduser()
        if path.exists() and not force:
            raise MacError(f"{target} exists already.", "Add --force to replace it.")
        return write(store, path, force=force)
    if sys.stdout.isatty():
        raise MacError("An export is not text for a terminal.", "Name a file.", USAGE)
    with tempfile.TemporaryDirectory(prefix="mac-") as folder:
        path = Path(folder) / "export.mac"
        write(store, path)
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return None


def load(folder: Path, file: str, policy: Policy, advance: Advance | None = None) -> Imported:
    """Take an export from a file or stdin ("-") into the store in `folder`, created if need be.

    Args:
        folder: of the store.
        file: the export.
        policy: what to do with a document that is stored with another content.
        advance: see `store.moving.load.load`.

    Raises:
        StoreError: the store cannot be used, or is of another checkpoint than the export.
        ExportFormatError: the file is no export, or is damaged.
        OSError: it cannot be read.
    """
    from store.moving.load import load as take

    if file != "-":
        return take(folder, Path(file).expanduser(), policy, advance)
    with tempfile.TemporaryDirectory(prefix="mac-") as temporary:
        path = Path(temporary) / "standard input"  # error messages name it
        with path.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        return take(folder, path, policy, advance)
