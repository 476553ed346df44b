"""The config of a judge."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from models.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """What a judge is and how it was trained.

    Attributes:
        encoder: the sentence encoder that it was tuned from, and whose embeddings it shares: a
            pinned name, a Hub id or a folder.
        encoder_sha256: of its weights, if it is known.
        max_tokens: the longest question and passage that are read at once.
        chunk_tokens: the longest passage that it was trained on, in tokens of the base LM.
        training: the settings and figures of the run.
    """

    encoder: str
    encoder_sha256: str | None = None
    max_tokens: int = 256
    chunk_tokens: int = 160
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_tokens < 16:
            raise CheckpointError(
                f"a judge's max_tokens must be at least 16, not {self.max_tokens}"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return what goes into config.json."""
        return asdict(self)
