"""Files into the store: what is new is amortized, what is unchanged costs a hash."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from maccli.reading import files
from maccli.reading.encodings import Empty
from maccli.reading.files import FileItem, Unusable
from maccli.reading.items import Item, Page, load, source_of, why_not
from maccli.reading.loaders import Loaded
from maccli.service.amortizing import amortize_documents
from maccli.service.document import DocumentText, Written, holds
from maccli.service.report import Outcome, Report, Status
from store.labels import NO_CHANGE, Labels

if TYPE_CHECKING:
    from maccli.service.session import Session
    from models.memory.protocol import Progress
    from store.records import Document


class MissingFiles(Protocol):
    """Documents of followed folders whose files are gone; a file that was renamed is among them."""

    def claim(self, content_hash: str, source: str) -> str | None:
        """Take out, and return, a document that now goes by the name `source`."""

    def empty(self, source: str) -> None:
        """Add a document whose file still exists but has no text any more."""


def ingest(
    session: Session,
    items: Iterable[Item],
    *,
    encoding: str | None = None,
    name: str | None = None,
    labels: Labels = NO_CHANGE,
    missing: MissingFiles | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    tell: Callable[[Outcome], None] | None = None,
) -> Report:
    """Add, update or leave each file, and report what was done.

    Of a changed document only the chunks that its stored version does not have are amortized. A
    file that fails does not stop the others. Ctrl-C ends the work; what was written is kept, and
    the same call finishes a document of which a part was written.

    Args:
        session: the store, created if there is none, and the model, loaded if anything has changed.
        items: what to ingest.
        encoding: of every file; None finds it out.
        name: the document's name in the store, if there is just one.
        labels: what to change about the tags and dates of all of them.
        missing: documents of which a new file may be one, renamed.
        dry_run: only find out what would be done. Needs no model.
        progress: is advanced by the bytes of the files.
        tell: called with every outcome as soon as it is known.

    Raises:
        StoreError: the store cannot be used or written.
        WeightsError: the base weights cannot be downloaded or read.
        ModelError: the model cannot be used.
    """
    settings = _Settings(encoding, name, labels, missing, dry_run)
    run = _Ingest(session, settings, progress, tell or (lambda _: None))
    begun = time.perf_counter()
    try:
        run.write(run.read(items))
    except KeyboardInterrupt:
        run.report.interrupted = True
        run.end_partial()
    run.report.seconds = time.perf_counter() - begun
    return run.report


@dataclass(frozen=True, slots=True)
class _Settings:
    """What the caller of `ingest` asked for."""

    encoding: str | None
    name: str | None
    labels: Labels
    missing: MissingFiles | None
    dry_run: bool


@dataclass(slots=True)
class _File:
    """A file whose document is being amortized: its bytes, and how many the progress has got."""

    size: int
    remark: str | None
    advanced: int = 0


class _Ingest:
    """The state of one ingest."""

    def __init__(
        self,
        session: Session,
        settings: _Settings,
        progress: Progress | None,
        tell: Callable[[Outcome], None],
    ) -> None:
        self.report = Report(dry_run=settings.dry_run)
        self._session = session
        self._settings = settings
        self._advance = progress.advance if progress else lambda _: None
        self._tell = tell
        self._files: dict[DocumentText, _File] = {}
        self._partial: dict[DocumentText, Written] = {}

    def read(self, items: Iterable[Item]) -> Iterator[DocumentText]:
        """Yield the documents that are to be amortized; report the other items."""
        own_folder = files.real_name(self._session.choice.store)
        for item in items:
            walked = isinstance(item, FileItem | Unusable) and item.walked
            if isinstance(item, Unusable):
                if walked:
                    self._refuse(item.path, item.reason, walked=True)
                else:
                    self._end(Outcome(item.path, "failed", item.reason))
                continue
            source = self._settings.name or source_of(item)
            if walked and files.is_below(source, own_folder):
                self._advance(item.size)  # the store lies in a folder that is ingested
                continue
            if isinstance(item, Page) and self._settings.dry_run:
                self._end(Outcome(source, "added", remark="is not fetched in a dry run"))
                continue
            try:
                source, loaded = load(item, self._settings.encoding)
            except Exception as error:  # whatever it is, the others are read all the same
                reason, trace = why_not(error)
                if isinstance(item, Page):  # that it cannot be fetched does not make it another one
                    self._end(Outcome(source, "failed", reason, trace=trace))
                    continue
                empty = isinstance(error, Empty)
                self._refuse(source, reason, item.size, walked=walked, empty=empty, trace=trace)
                continue
            source = self._settings.name or source
            document = DocumentText.of(source, loaded, self._settings.labels)
            store = self._session.store
            stored = store.document(source) if store else None
            if stored is not None and holds(stored, document.content_hash):
                self._leave(stored, loaded, item.size)
            elif self._rename(document, loaded.remark, item.size):
                pass
            elif self._settings.dry_run:
                self._end(Outcome(source, "updated" if stored else "added"), item.size)
            else:
                self._files[document] = _File(item.size, loaded.remark)
                yield document

    def write(self, documents: Iterator[DocumentText]) -> None:
        """Amortize and store documents; without any, neither model nor store is needed."""
        first = next(documents, None)
        if first is None:
            return
        store = self._session.create_store()
        for written in amortize_documents(self._session.model, store, chain([first], documents)):
            document = written.document
            file = self._files[document]
            share = written.chunks / (written.total - written.reused or 1)
            done = file.size if written.complete else int(file.size * share)
            advanced = max(file.advanced, done)
            self._advance(advanced - file.advanced)
            file.advanced = advanced
            self._partial[document] = written
            if written.complete:
                self._end(self._outcome(self._partial.pop(document), written.status))
                del self._files[document]

    def end_partial(self) -> None:
        """Report the documents of which a part is stored."""
        for written in self._partial.values():
            self._end(self._outcome(written, "partial"))
        self._partial.clear()

    def _outcome(self, written: Written, status: Status) -> Outcome:
        return Outcome(
            written.document.source,
            status,
            remark=self._files[written.document].remark,
            chunks=written.chunks,
            tokens=written.tokens,
            bytes=written.bytes,
            reused=written.reused,
            total=written.total,
        )

    def _refuse(
        self,
        source: str,
        reason: str,
        size: int = 0,
        *,
        walked: bool,
        empty: bool = False,
        trace: str | None = None,
    ) -> None:
        """Report what cannot be a document; what it was before has to go, or is stale now."""
        store, missing = self._session.store, self._settings.missing
        # A file in a folder was not asked for by name: leave it out, without alarm.
        status: Status = "skipped" if walked and trace is None else "failed"
        if store is not None and store.document(source):
            if missing and empty:
                missing.empty(source)
            else:
                if not self._settings.dry_run:
                    store.mark_stale(source, reason)
                why = reason.removeprefix("cannot be read: ")
                why = reason if empty else f"cannot be read any more ({why})"
                status, reason = "failed", f"{why}; the store holds its older text"
        self._end(Outcome(source, status, reason, trace=trace), size)

    def _leave(self, stored: Document, loaded: Loaded, size: int) -> None:
        """Report a document that is stored as it is, after changing its tags and date."""
        store, labels = self._session.store, self._settings.labels
        relabelled = labels.changes(stored.tags, stored.date)
        if relabelled and store is not None and not self._settings.dry_run:
            store.relabel(stored.source, labels)
        if stored.stale and store is not None and not self._settings.dry_run:
            store.mark_stale(stored.source, None)
        status: Status = "updated" if relabelled else "unchanged"
        self._end(Outcome(stored.source, status, remark=loaded.remark), size)

    def _rename(self, document: DocumentText, remark: str | None, size: int) -> bool:
        """Rename the document that this one was before, if there is one.

        Returns:
            whether that is all: not where a part of it has yet to be amortized.
        """
        store, missing = self._session.store, self._settings.missing
        source, digest = document.source, document.content_hash
        was = missing.claim(digest, source) if missing and store else None
        if was is None or store is None:
            return False
        if not self._settings.dry_run:
            renamed = store.rename(
                was,
                source,
                content_hash=digest,
                title=document.title,
                media_type=document.media_type,
                encoding=document.encoding,
                labels=document.labels,
            )
            # Another process may have changed or removed it meanwhile.
            if not renamed or not holds(store.document(source), digest):
                return False
        self._end(Outcome(source, "renamed", remark=remark, was=was), size)
        return True

    def _end(self, outcome: Outcome, size: int = 0) -> None:
        self.report.outcomes.append(outcome)
        self._advance(size)
        self._tell(outcome)
