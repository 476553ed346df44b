"""The identity of base models, by the content of their weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.errors import CheckpointError
from models.files import file_sha256
from models.weights.pinned import PINNED


def identity(name: str, folder: Path) -> str:
    """Return the SHA-256 of a base model's weights.

    That of a pinned model is known: it was checked when the model was put into the cache. That of
    any other is computed over the safetensors files in `folder`.
    """
    if name in PINNED:
        return PINNED[name].weights.sha256
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()


def check_identity(name: str, folder: Path, expected: str | None) -> None:
    """Make sure that a base model is the one a checkpoint was trained on; None accepts any.

    Raises:
        CheckpointError: with both hashes.
    """
    if expected is not None and (actual := identity(name, folder)) != expected:
        raise CheckpointError(
            f"the checkpoint was trained on {name} with SHA-256 {expected[:12]}..., this one has "
            f"{actual[:12]}...",
            hint="use the weights it was trained on, or train a checkpoint for these",
        )
