"""Exports on their way to and from files and pipes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from maccli.errors import USAGE, MacError
from store.bank import Store
from store.exportfile import ExportFile

if TYPE_CHECKING:
    from store.importing import Imported, Policy

Advance = Callable[[int], None]


def export(bank: Store, target: str, *, force: bool, advance: Advance | None = None) -> int | None:
    """Write an export of `bank` to a file, which appears when it is whole, or to stdout ("-").

    Returns:
        the file's size; None for stdout.

    Raises:
        MacError: the file is there already, or stdout is a terminal.
        OSError: it cannot be written.
    """
    if target == "-":
        if sys.stdout.isatty():
            raise MacError("An export is no text for a terminal.", "Name a file.", USAGE)
        bank.export(sys.stdout.buffer, advance)
        sys.stdout.buffer.flush()
        return None
    path = Path(target)
    if path.exists() and not force:
        raise MacError(f"{target} is there already.", "Add --force to replace it.")
    with _appearing(path) as file:
        bank.export(file, advance)
    return path.stat().st_size


def load(folder: Path, origin: str, policy: Policy, advance: Advance | None = None) -> Imported:
    """Take an export from a file or stdin ("-") into the store in `folder`, made if need be.

    Raises:
        StoreError: the store cannot be used, or is of another checkpoint than the export.
        ExportFormatError: the export is none, or damaged.
        OSError: it cannot be read.
    """
    with _opened(origin) as file:
        export = ExportFile(file, "standard input" if origin == "-" else origin, advance)
        with _store_for(export, folder) as bank:
            return bank.load(export, policy)


def _store_for(export: ExportFile, folder: Path) -> Store:
    header = export.header
    if (folder / "index.db").exists():
        return Store.open(folder)
    return Store.open(
        folder,
        fingerprint=header.fingerprint,
        model=header.model,
        key_size=header.key_size,
        latent_size=header.latent_size,
        create=True,
    )


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its place if the block ends well."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _opened(origin: str) -> Iterator[IO[bytes]]:
    if origin == "-":
        yield sys.stdin.buffer
        return
    with open(origin, "rb") as file:
        yield file
