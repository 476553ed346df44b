"""What became of the files of one ingest, one by one and in sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["added", "updated", "renamed", "removed", "unchanged", "skipped", "failed"]
STATUSES: tuple[Status, ...] = (
    "added",
    "updated",
    "renamed",
    "removed",
    "unchanged",
    "skipped",
    "failed",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file. `reason` says why it was skipped, removed or has failed.

    `chunks`, `tokens` and `bytes` count what was amortized for it, `reused` the chunks that it took
    over from its stored version; `was` is the name that a renamed one had.
    """

    source: str
    status: Status
    reason: str | None = None
    remark: str | None = None
    chunks: int = 0
    tokens: int = 0
    bytes: int = 0
    reused: int = 0
    was: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """Documents of a folder whose files are gone, so many that it looks like an accident.

    They are kept until somebody says that they are to go. `documents` are their sources, and
    whether there is still a file, but without text; `reason` stands after the folder's name.
    """

    folder: str
    documents: Mapping[str, bool]
    reason: str


@dataclass(slots=True)
class Report:
    """What an ingest did. `chunks`, `tokens` and `bytes` count what was amortized and written."""

    outcomes: list[Outcome] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False
    dry_run: bool = False

    def number(self, *statuses: Status) -> int:
        """Return how many documents have one of these statuses."""
        return sum(outcome.status in statuses for outcome in self.outcomes)

    @property
    def changed(self) -> bool:
        """Whether anything in the store was changed."""
        return bool(self.number("added", "updated", "renamed", "removed"))

    @property
    def chunks(self) -> int:
        """Chunks amortized and written."""
        return sum(outcome.chunks for outcome in self.outcomes)

    @property
    def reused(self) -> int:
        """Chunks taken over from the stored versions of changed documents."""
        return sum(outcome.reused for outcome in self.outcomes)

    @property
    def tokens(self) -> int:
        """Tokens amortized and written."""
        return sum(outcome.tokens for outcome in self.outcomes)

    @property
    def bytes(self) -> int:
        """Bytes of modulations written."""
        return sum(outcome.bytes for outcome in self.outcomes)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as `--json` shows it."""
        return {
            **{status: self.number(status) for status in STATUSES},
            "chunks": self.chunks,
            "reused": self.reused,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "dry_run": self.dry_run,
            "held": [
                {"folder": held.folder, "reason": held.reason, "documents": list(held.documents)}
                for held in self.held
            ],
            "documents": [
                {
                    "source": outcome.source,
                    "status": outcome.status,
                    "reason": outcome.reason,
                    "was": outcome.was,
                    "chunks": outcome.chunks,
                    "reused": outcome.reused,
                    "tokens": outcome.tokens,
                    "bytes": outcome.bytes,
                }
                for outcome in self.outcomes
            ],
        }
