"""Files into the store: what is new is amortized, what is unchanged costs a hash.

Documents are collected into groups, amortized together (batches of equal length waste no padding)
and written one by one, each in a transaction of its own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from maccli.output import NoProgress, Progress
from maccli.reading import loaders
from maccli.reading.files import Found, Unusable
from maccli.reading.loaders import Empty, Loaded, Refused
from maccli.service import pending
from maccli.service.pending import Pending
from maccli.service.report import Outcome, Report, Status
from maccli.service.session import Session
from models.text import chunking
from store.errors import ChunksGoneError
from store.labels import NO_CHANGE, Labels

if TYPE_CHECKING:
    from store.records import Document

GROUP_TOKENS = 8192
"""Amortized together: enough for full batches, little enough to lose when interrupted."""


@dataclass(frozen=True, slots=True)
class Piped:
    """Bytes that came from a pipe; without a name they are known by their content."""

    data: bytes
    name: str | None = None


class Gone(Protocol):
    """Documents of followed folders whose files are gone; a file that was renamed is among them."""

    def claim(self, content_hash: str, source: str) -> str | None:
        """Take out, and return, a document that now goes by the name `source`."""

    def empty(self, source: str) -> None:
        """Add a document whose file is there but has no text any more."""


def ingest(
    session: Session,
    items: Iterable[Found | Unusable | Piped],
    *,
    encoding: str | None = None,
    name: str | None = None,
    labels: Labels = NO_CHANGE,
    gone: Gone | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    tell: Callable[[Outcome], None] | None = None,
) -> Report:
    """Add, update or leave each file, and report what was done.

    Of a changed document only the chunks that its stored version does not have are amortized.

    A file that fails does not stop the others. Ctrl-C ends the work; finished documents are kept.

    Args:
        session: the store, made if there is none, and the model, loaded if anything has changed.
        items: what to ingest.
        encoding: of every file; None finds it out.
        name: the document's name in the store, if there is just one.
        labels: what to change about the tags and dates of all of them.
        gone: documents of which a new file may be one, renamed.
        dry_run: only find out what would be done. Needs no model.
        progress: is advanced by the bytes of the files.
        tell: called with every outcome as soon as it is known.

    Raises:
        StoreError: the store cannot be used or written.
        WeightsError: the base weights cannot be had.
        ModelError: the model cannot be used.
    """
    how = _How(encoding, name, labels, gone, dry_run)
    run = _Ingest(session, how, progress or NoProgress(), tell or (lambda _: None))
    begun = time.perf_counter()
    try:
        for item in items:
            run.take(item)
        run.flush()
    except KeyboardInterrupt:
        run.report.interrupted = True
    run.report.seconds = time.perf_counter() - begun
    return run.report


@dataclass(frozen=True, slots=True)
class _How:
    """What the caller of `ingest` asked for."""

    encoding: str | None
    name: str | None
    labels: Labels
    gone: Gone | None
    dry_run: bool


class _Ingest:
    """The state of one ingest."""

    def __init__(
        self, session: Session, how: _How, progress: Progress, tell: Callable[[Outcome], None]
    ) -> None:
        self.report = Report(dry_run=how.dry_run)
        self._session = session
        self._how = how
        self._progress = progress
        self._tell = tell
        self._pending: list[Pending] = []
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
            self._refuse(item, source, refusal, size)
            return
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._end(Outcome(source, "failed", f"cannot be read: {reason}"), size)
            return
        content_hash = hashlib.sha256(loaded.text.encode("utf-8", "surrogatepass")).hexdigest()
        store = self._session.store
        stored = store.document(source) if store else None
        if stored is not None and _holds(stored, content_hash):
            self._leave(stored, loaded, size)
        elif not self._rename(source, loaded, content_hash, size):
            if self._how.dry_run:
                self._end(Outcome(source, "updated" if stored else "added"), size)
            else:
                self._cut(source, loaded, content_hash, size, stored)

    def flush(self) -> None:
        """Amortize what is pending, about `GROUP_TOKENS` at a time, and write each document."""
        queue = [(document, i) for document in self._pending for i in document.missing]
        self._pending, self._tokens = [], 0
        start = 0
        while start < len(queue):
            end, tokens = start, 0
            while end < len(queue) and (end == start or tokens < GROUP_TOKENS):
                document, i = queue[end]
                tokens += document.chunks[i].tokens
                end += 1
            group, start = queue[start:end], end
            texts = [document.chunks[i].text for document, i in group]
            modulations = self._session.memory.amortize(texts)
            for (document, i), modulation in zip(group, modulations, strict=True):
                document.done[i] = modulation
            self._amortized += tokens
            for document in dict.fromkeys(document for document, _ in group):
                self._progress.advance(document.advance())
                if document.complete:
                    self._write(document)
            speed = self._amortized / (time.perf_counter() - self._begun)
            self._progress.tell(f"{self.report.chunks} chunks, {speed:.0f} tokens/s")

    def _refuse(self, item: Found | Piped, source: str, refusal: Refused, size: int) -> None:
        """Report a file that cannot be a document; what it held before may have to go."""
        store, gone = self._session.store, self._how.gone
        if gone and isinstance(refusal, Empty) and store and store.document(source):
            gone.empty(source)
        # What was found in a folder was not asked for by name: leave it out, without alarm.
        skipped = isinstance(item, Found) and item.walked
        self._end(Outcome(source, "skipped" if skipped else "failed", str(refusal)), size)

    def _leave(self, stored: Document, loaded: Loaded, size: int) -> None:
        """Report a document that is stored as it is, after changing its tags and date."""
        store, labels = self._session.store, self._how.labels
        relabelled = labels.changes(stored.tags, stored.date)
        if relabelled and store is not None and not self._how.dry_run:
            store.relabel(stored.source, labels)
        status: Status = "updated" if relabelled else "unchanged"
        self._end(Outcome(stored.source, status, remark=loaded.remark), size)

    def _rename(self, source: str, loaded: Loaded, content_hash: str, size: int) -> bool:
        """Rename the document that this file was before, if there is one; whether there was."""
        store, gone = self._session.store, self._how.gone
        was = gone.claim(content_hash, source) if gone and store else None
        if was is None or store is None:
            return False
        if not self._how.dry_run and not store.rename(
            was,
            source,
            content_hash=content_hash,
            title=loaded.title,
            media_type=loaded.media_type,
            encoding=loaded.encoding,
            labels=self._how.labels,
        ):
            return False  # changed or removed by another process meanwhile
        self._end(Outcome(source, "renamed", remark=loaded.remark, was=was), size)
        return True

    def _cut(
        self, source: str, loaded: Loaded, content_hash: str, size: int, stored: Document | None
    ) -> None:
        """Cut a new or changed document into chunks and put it among those to be amortized."""
        memory = self._session.memory
        chunks = chunking.split(loaded.text, memory.count_tokens, memory.config.chunk_tokens)
        store = self._session.store
        old = store.chunks(stored.id) if store and stored and not stored.damaged else []
        kept = pending.kept(chunks, old)
        document = Pending(source, loaded, content_hash, size, chunks, kept)
        if document.complete:
            self._progress.advance(size)
            self._write(document)
            return
        self._pending.append(document)
        self._tokens += sum(chunks[i].tokens for i in document.missing)
        if self._tokens >= GROUP_TOKENS:
            self.flush()

    def _source(self, item: Found | Piped) -> str:
        if self._how.name is not None:
            return self._how.name
        if isinstance(item, Found):
            return item.source
        return item.name or f"stdin-{hashlib.sha256(item.data).hexdigest()[:12]}"

    def _load(self, item: Found | Piped) -> Loaded:
        if isinstance(item, Found):
            return loaders.load(item.path, self._how.encoding)
        return loaders.from_bytes(item.data, item.name or "", self._how.encoding)

    def _write(self, document: Pending) -> None:
        try:
            status = self._put(document)
        except ChunksGoneError:
            # Another process has replaced the version whose chunks were to be kept.
            positions = list(document.kept)
            document.kept.clear()
            texts = [document.chunks[i].text for i in positions]
            document.done |= zip(positions, self._session.memory.amortize(texts), strict=True)
            status = self._put(document)
        written = self._session.create_store().document(document.source)
        kept_bytes = sum(row.bytes for row in document.kept.values())
        self._end(
            Outcome(
                document.source,
                status,
                remark=document.loaded.remark,
                chunks=len(document.done),
                tokens=document.tokens,
                bytes=written.bytes - kept_bytes if written else 0,
                reused=len(document.kept),
            )
        )

    def _put(self, document: Pending) -> Literal["added", "updated"]:
        loaded = document.loaded
        return self._session.create_store().put(
            document.source,
            content_hash=document.content_hash,
            chunking=self._session.memory.chunking,
            chunks=document.as_stored(),
            title=loaded.title,
            media_type=loaded.media_type,
            encoding=loaded.encoding,
            characters=len(loaded.text),
            labels=self._how.labels,
        )

    def _end(self, outcome: Outcome, size: int = 0) -> None:
        self.report.outcomes.append(outcome)
        self._progress.advance(size)
        self._tell(outcome)


def _holds(stored: Document, content_hash: str) -> bool:
    """Tell whether a document is stored with this content, cut by today's rules."""
    # The store has the checkpoint's fingerprint, which covers the size of chunks: only the rules of
    # cutting remain to be compared. So an unchanged file needs no model.
    return stored.content_hash == content_hash and is_current(stored.chunking)


def is_current(rules: str) -> bool:
    """Tell whether a document's `chunking` names the rules that are in force."""
    return rules.split(":")[0] == chunking.VERSION
