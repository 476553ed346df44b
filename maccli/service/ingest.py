"""Files into the store: what is new is amortized, what is unchanged costs a hash.

Documents are collected into groups, amortized together (batches of equal length waste no padding)
and written one by one, each in a transaction of its own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from maccli import loaders
from maccli.files import Found, Unusable
from maccli.loaders import Loaded, Refused
from maccli.output import NoProgress, Progress
from maccli.service.session import Session
from models import chunking
from store.records import NewChunk

if TYPE_CHECKING:
    from models.modulation import Modulation

GROUP_TOKENS = 8192
"""Amortized together: enough for full batches, little enough to lose when interrupted."""

Status = Literal["added", "updated", "unchanged", "skipped", "failed"]
STATUSES: tuple[Status, ...] = ("added", "updated", "unchanged", "skipped", "failed")


@dataclass(frozen=True, slots=True)
class Piped:
    """Bytes that came from a pipe; without a name they are known by their content."""

    data: bytes
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file. `reason` says why it was skipped or has failed.

    `bytes` is the size of its modulations in the store.
    """

    source: str
    status: Status
    reason: str | None = None
    remark: str | None = None
    chunks: int = 0
    tokens: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Report:
    """What an ingest did. `chunks`, `tokens` and `bytes` count what was added and updated."""

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    def number(self, *statuses: Status) -> int:
        """Return how many documents have one of these statuses."""
        return sum(outcome.status in statuses for outcome in self.outcomes)

    @property
    def chunks(self) -> int:
        """Chunks written."""
        return sum(outcome.chunks for outcome in self.outcomes)

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
            "tokens": self.tokens,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "documents": [
                {
                    "source": outcome.source,
                    "status": outcome.status,
                    "reason": outcome.reason,
                    "chunks": outcome.chunks,
                    "tokens": outcome.tokens,
                    "bytes": outcome.bytes,
                }
                for outcome in self.outcomes
            ],
        }


@dataclass(slots=True, eq=False)
class _Pending:
    """A document whose chunks are being amortized."""

    source: str
    loaded: Loaded
    content_hash: str
    size: int
    chunks: list[chunking.Chunk]
    done: list[Modulation] = field(default_factory=list)
    advanced: int = 0


def ingest(
    session: Session,
    items: Iterable[Found | Unusable | Piped],
    *,
    encoding: str | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    tell: Callable[[Outcome], None] | None = None,
) -> Report:
    """Add, update or leave each file, and report what was done.

    A file that fails does not stop the others. Ctrl-C ends the work; finished documents are kept.

    Args:
        session: the store, made if there is none, and the model, loaded if anything has changed.
        items: what to ingest.
        encoding: of every file; None finds it out.
        name: the document's name in the store, if there is just one.
        progress: is advanced by the bytes of the files.
        tell: called with every outcome as soon as it is known.

    Raises:
        StoreError: the store cannot be used or written.
        WeightsError: the base weights cannot be had.
        ModelError: the model cannot be used.
    """
    run = _Ingest(session, encoding, name, progress or NoProgress(), tell or (lambda _: None))
    begun = time.perf_counter()
    try:
        for item in items:
            run.take(item)
        run.flush()
    except KeyboardInterrupt:
        run.report.interrupted = True
    run.report.seconds = time.perf_counter() - begun
    return run.report


class _Ingest:
    """The state of one ingest."""

    def __init__(
        self,
        session: Session,
        encoding: str | None,
        name: str | None,
        progress: Progress,
        tell: Callable[[Outcome], None],
    ) -> None:
        self.report = Report()
        self._session = session
        self._encoding = encoding
        self._name = name
        self._progress = progress
        self._tell = tell
        self._pending: list[_Pending] = []
        self._tokens = 0
        self._amortized = 0
        self._begun = time.perf_counter()

    def take(self, item: Found | Unusable | Piped) -> None:
        """Read one item; amortize and write when enough has come together."""
        if isinstance(item, Unusable):
            self._end(Outcome(item.path, "failed", item.reason))
            return
        size = item.size if isinstance(item, Found) else len(item.data)
        source = self._source(item)
        try:
            loaded = self._load(item)
        except Refused as refusal:
            # What was found in a folder was not asked for by name: leave it out, without alarm.
            skipped = isinstance(item, Found) and item.walked
            self._end(Outcome(source, "skipped" if skipped else "failed", str(refusal)), size)
            return
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._end(Outcome(source, "failed", f"cannot be read: {reason}"), size)
            return
        content_hash = hashlib.sha256(loaded.text.encode("utf-8", "surrogatepass")).hexdigest()
        if self._is_stored(source, content_hash):
            self._end(Outcome(source, "unchanged", remark=loaded.remark), size)
            return
        memory = self._session.memory
        chunks = chunking.split(loaded.text, memory.count_tokens, memory.config.chunk_tokens)
        self._pending.append(_Pending(source, loaded, content_hash, size, chunks))
        self._tokens += sum(chunk.tokens for chunk in chunks)
        if self._tokens >= GROUP_TOKENS:
            self.flush()

    def flush(self) -> None:
        """Amortize what is pending, about `GROUP_TOKENS` at a time, and write each document."""
        queue = [(document, chunk) for document in self._pending for chunk in document.chunks]
        self._pending, self._tokens = [], 0
        start = 0
        while start < len(queue):
            end, tokens = start, 0
            while end < len(queue) and (end == start or tokens < GROUP_TOKENS):
                tokens += queue[end][1].tokens
                end += 1
            group, start = queue[start:end], end
            modulations = self._session.memory.amortize([chunk.text for _, chunk in group])
            for (document, _), modulation in zip(group, modulations, strict=True):
                document.done.append(modulation)
            self._amortized += tokens
            for document in dict.fromkeys(document for document, _ in group):
                self._advance(document)
                if len(document.done) == len(document.chunks):
                    self._write(document)
            speed = self._amortized / (time.perf_counter() - self._begun)
            self._progress.tell(f"{self.report.chunks} chunks, {speed:.0f} tokens/s")

    def _source(self, item: Found | Piped) -> str:
        if self._name is not None:
            return self._name
        if isinstance(item, Found):
            return item.source
        return item.name or f"stdin-{hashlib.sha256(item.data).hexdigest()[:12]}"

    def _load(self, item: Found | Piped) -> Loaded:
        if isinstance(item, Found):
            return loaders.load(item.path, self._encoding)
        return loaders.from_bytes(item.data, item.name or "", self._encoding)

    def _is_stored(self, source: str, content_hash: str) -> bool:
        store = self._session.store
        stored = store.document(source) if store else None
        # The store has the checkpoint's fingerprint, which covers the size of chunks: only the
        # rules of cutting remain to be compared. So an unchanged file needs no model.
        return (
            stored is not None
            and stored.content_hash == content_hash
            and stored.chunking.split(":")[0] == chunking.VERSION
        )

    def _advance(self, document: _Pending) -> None:
        reached = document.size * len(document.done) // len(document.chunks)
        self._progress.advance(reached - document.advanced)
        document.advanced = reached

    def _write(self, document: _Pending) -> None:
        store = self._session.create_store()
        loaded = document.loaded
        status = store.put(
            document.source,
            content_hash=document.content_hash,
            chunking=self._session.memory.chunking,
            chunks=[
                NewChunk(
                    chunk.start,
                    chunk.end,
                    chunk.text,
                    modulation.latents,
                    modulation.scales,
                    modulation.key,
                )
                for chunk, modulation in zip(document.chunks, document.done, strict=True)
            ],
            title=loaded.title,
            media_type=loaded.media_type,
            encoding=loaded.encoding,
            characters=len(loaded.text),
        )
        written = store.document(document.source)
        self._end(
            Outcome(
                document.source,
                status,
                remark=loaded.remark,
                chunks=len(document.chunks),
                tokens=sum(len(modulation.scales) for modulation in document.done),
                bytes=written.bytes if written else 0,
            )
        )

    def _end(self, outcome: Outcome, size: int = 0) -> None:
        self.report.outcomes.append(outcome)
        self._progress.advance(size)
        self._tell(outcome)
