"""Which base model a checkpoint stands on, told by content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.errors import CheckpointError
from models.weights.pinned import PINNED


def identity(name: str, folder: Path) -> str:
    """SHA-256 of a base model's weights: the pinned file's, or that of the safetensors in `folder`.

    A pinned model was checked against its hash when it was brought into the cache.
    """
    if name in PINNED:
        return PINNED[name].weights.sha256
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def check_identity(name: str, folder: Path, expected: str | None) -> None:
    """Make sure that a base model is the one a checkpoint was trained on.

    Raises:
        CheckpointError: with both hashes.
    """
    found = identity(name, folder)
    if expected is not None and found != expected:
        raise CheckpointError(
            f"the checkpoint was trained on {name} with SHA-256 {expected[:12]}..., this one has "
            f"{found[:12]}...",
            hint="use the weights it was trained on, or train a checkpoint for these",
        )
