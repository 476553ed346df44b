"""The result of one ingest for each file, and the sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from maccli.output import count
from maccli.reading.files import displayed

Status = Literal[
    "added", "updated", "renamed", "removed", "partial", "unchanged", "skipped", "failed"
]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one file.

    Attributes:
        source: the document.
        status: "partial" if only some of its chunks were amortized before an interruption.
        reason: why it was skipped or removed, or has failed.
        remark: what the user should know about how it was read.
        chunks: how many were amortized for it.
        tokens: of these chunks.
        bytes: of their modulations.
        reused: how many chunks it took over from its stored version.
        total: how many chunks it has.
        was: the name that a renamed one had.
        trace: the traceback, if it has failed by a fault of this program.
    """

    source: str
    status: Status
    reason: str | None = None
    remark: str | None = None
    chunks: int = 0
    tokens: int = 0
    bytes: int = 0
    reused: int = 0
    total: int = 0
    was: str | None = None
    trace: str | None = None

    @property
    def percent(self) -> int:
        """How much of it is stored."""
        return 100 * (self.chunks + self.reused) // max(self.total, 1)


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Documents of a folder whose files are gone, so many that it looks like an accident.

    They stay until somebody agrees to remove them.

    Attributes:
        folder: the folder.
        documents: the sources, and why their files do not count; None if they are gone.
        reason: why it looks like an accident, to stand after the folder's name.
    """

    folder: str
    documents: Mapping[str, str | None]
    reason: str


@dataclass(slots=True)
class Report:
    """What an ingest did. `chunks`, `tokens` and `bytes` count what was amortized and written."""

    outcomes: list[Outcome] = field(default_factory=list)
    held_back: list[HeldBack] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False
    dry_run: bool = False

    def number(self, *statuses: Status) -> int:
        """Return how many documents have one of these statuses."""
        return sum(outcome.status in statuses for outcome in self.outcomes)

    @property
    def changed(self) -> bool:
        """Whether anything in the store was changed."""
        return bool(self.number("added", "updated", "renamed", "removed", "partial"))

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

    def interruption(self) -> str:
        """Return what an interrupted ingest has kept and how it is finished, in one line."""
        parts = [f"{count(self.number('added', 'updated', 'renamed'), 'document')} kept"]
        for outcome in self.outcomes:
            if outcome.status == "partial":
                parts.append(f"{displayed(outcome.source)} is amortized to {outcome.percent} %")
        return f"{', '.join(parts)}; run the same command to finish it"

    def as_dict(self) -> dict[str, Any]:
        """Return the report as `--json` shows it."""
        shown = ("source", "status", "reason", "was", "chunks", "reused", "total", "tokens")
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
                for held in self.held_back
            ],
            "documents": [
                {name: getattr(outcome, name) for name in (*shown, "bytes")}
                for outcome in self.outcomes
            ],
        }
