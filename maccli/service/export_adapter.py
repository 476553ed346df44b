"""One answer's modulation as a folder that the `peft` library loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maccli.errors import USAGE, MacError

if TYPE_CHECKING:
    from maccli.service.session import Memory
    from models.memory.modulation import Selected


def require_empty(folder: Path) -> None:
    """Refuse a folder that an adapter would be mixed with something in.

    Raises:
        MacError: there is something in it, or it is a file.
    """
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken:
        raise MacError(
            f"There is something in {folder} already.",
            "Name a new folder (--export-adapter DIR).",
            USAGE,
        )


def export(memory: Memory, question: str, documents: Sequence[Selected], folder: Path) -> None:
    """Write the modulation that answers a question.

    Raises:
        MacError: there is none, since there are no documents.
        ModelError: an adapter cannot say what this modulation does.
        OSError: the folder cannot be written.
    """
    if not documents:
        raise MacError(
            "There is no modulation to export: nothing in the store answers this.",
            "Leave out --export-adapter, or `mac ingest` something first.",
        )
    require_empty(folder)
    memory.export_adapter(question, documents, folder)
