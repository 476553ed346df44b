"""Exports on their way to and from files and pipes: of a store, or of what answers a question."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from maccli.errors import NOTHING_FOUND, USAGE, MacError
from maccli.service.evidence import is_relevant, retrieve
from store.labels import EVERYTHING, Within

if TYPE_CHECKING:
    from maccli.service.session import Session
    from models.memory.answering import Answerer
    from store.moving.load import Imported, Policy
    from store.store import Store

Advance = Callable[[int], None]


def export(store: Store, target: str, *, force: bool = False, with_log: bool = False) -> int | None:
    """Write a whole store to a file, which appears when it is whole, or to stdout ("-").

    The questions that were asked are left out, unless it is `with_log`.

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
        return write(store, path, force=force, with_log=with_log)
    if sys.stdout.isatty():
        raise MacError("An export is not text for a terminal.", "Name a file.", USAGE)
    with tempfile.TemporaryDirectory(prefix="mac-") as folder:
        path = Path(folder) / "export.mac"
        write(store, path, with_log=with_log)
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


def export_adapter(
    session: Session, question: str, k: int | None, folder: Path, within: Within = EVERYTHING
) -> None:
    """Write the modulation that answers a question as a folder that the `peft` library loads.

    Args:
        session: the model and the store.
        question: one or several lines.
        k: how many chunks to draw from; None for as many as the model was trained with.
        folder: a new or an empty one.
        within: the documents that may be drawn from.

    Raises:
        MacError: there is something in the folder, or nothing in the store is relevant.
        StoreError: the store cannot be used.
        ModelError: an adapter cannot say what this modulation does.
        OSError: the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MacError(
            f"There is something in {folder} already.", "Name a new folder.", USAGE
        )  # before anything is loaded
    evidence = retrieve(session, question, k=k, within=within)
    if not is_relevant(evidence, session.model.config.abstain_below):
        raise MacError(
            "There is no modulation to export: nothing in the store answers this.",
            "`mac search` shows what is nearest to a question.",
            NOTHING_FOUND,
        )
    from models.export import export_adapter as write

    # Every model that is loaded is one; the protocol does not import what torch is needed for.
    write(cast("Answerer", session.model), evidence.wording, evidence.modulations(), folder)
