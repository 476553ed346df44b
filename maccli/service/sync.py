"""Make the store follow folders: what was added, changed, renamed or removed on the disk.

What counts is what the files hold, not when they were written. Only documents below the followed
folders are ever removed. If so many files are gone that it looks like an accident (a disk that is
not mounted, a folder moved away), their documents are held back: they stay until somebody agrees.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maccli.reading import files
from maccli.reading.files import FileItem, Unusable
from maccli.reading.ignoring import Ignoring
from maccli.service.document import is_current
from maccli.service.ingest import ingest
from maccli.service.report import HeldBack, Outcome, Report
from store.labels import NO_CHANGE, Labels

if TYPE_CHECKING:
    from maccli.service.session import Session
    from models.memory.protocol import Progress

MANY_MISSING = 10
"""If at least this many documents and more than half of a folder's are gone at once, it looks like
an accident."""


@dataclass(slots=True)
class Folder:
    """A followed folder.

    Attributes:
        path: absolute, as documents' sources are.
        trouble: why it cannot be looked into, to stand after its name.
        files: how many there are in it.
        documents: how many in the store came from it.
        missing: those of them without a file (None), and those whose file does not count any more,
            with the reason.
    """

    path: str
    trouble: str | None
    files: int
    documents: int
    missing: dict[str, str | None] = field(default_factory=dict)


@dataclass(slots=True)
class Survey:
    """The files of the followed folders, and which of their documents have lost their files."""

    folders: list[Folder]
    items: list[FileItem | Unusable]
    # By content hash, the documents that a file of another name may be.
    _by_content: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(item.size for item in self.items if isinstance(item, FileItem))

    def claim(self, content_hash: str, source: str) -> str | None:
        """Take out a document with this content that is missing, at best of the same file name."""
        candidates = self._by_content.get(content_hash)
        if not candidates:
            return None
        name = os.path.basename(source)
        was = min(candidates, key=lambda other: (os.path.basename(other) != name, other))
        candidates.remove(was)
        for folder in self.folders:
            folder.missing.pop(was, None)
        return was

    def empty(self, source: str) -> None:
        """Count a document as missing because its file has no text any more."""
        for folder in self.folders:
            if files.is_below(source, folder.path):
                folder.missing[source] = "has no text any more"


def survey(session: Session, paths: Sequence[str], exclude: Sequence[str] = ()) -> Survey:
    """Look at folders and at the documents that came from them, without reading a file.

    A document whose file is ignored by now counts as missing, however the file once came in.

    Args:
        session: the store.
        paths: the folders; a missing one is remembered as such.
        exclude: patterns for what is left out, see `maccli.reading.ignoring`.
    """
    store = session.store
    own_folder = files.real_name(session.choice.store)
    result = Survey([], [])
    for path in files.outermost(paths):
        name = files.source_name(path)
        items: list[FileItem | Unusable] = []
        trouble = None
        if os.path.isdir(path):
            found = files.below(path, exclude)
            items = [item for item in found if not files.is_below(_name(item), own_folder)]
        else:
            trouble = "is missing" if files.is_missing(name) else "cannot be read"
        seen = {_name(item) for item in items}
        targets = seen | {item.target for item in items if isinstance(item, FileItem)}
        documents = store.below(name, os.sep) if store else []
        folder = Folder(name, trouble, 0, len(documents))
        rules = Ignoring(path, exclude)
        for source, content_hash, chunking in documents:
            if source in seen:
                continue
            if files.is_missing(source):
                folder.missing[source] = None
                if is_current(chunking):
                    result._by_content[content_hash].append(source)
                continue
            item = files.look(source)
            if rules.leaves_out_below(files.path_of(source)):
                folder.missing[source] = "is excluded now"
            elif isinstance(item, FileItem) and item.target and item.target in targets:
                folder.missing[source] = f"is another name of {files.displayed(item.target)}"
            else:
                items.append(item)  # a hidden file, say, that was ingested by its name
        folder.files = sum(isinstance(item, FileItem) for item in items)
        if trouble and not documents:
            result.items.append(Unusable(name, "no such folder"))
        result.folders.append(folder)
        result.items += items
    return result


def sync(
    session: Session,
    survey: Survey,
    *,
    encoding: str | None = None,
    labels: Labels = NO_CHANGE,
    certain: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    tell: Callable[[Outcome], None] | None = None,
) -> Report:
    """Add, update, rename and remove, so that the store holds what the folders do.

    Ctrl-C ends the work; what was written is kept, and nothing is removed then.

    Args:
        session: the store, created if there is none, and the model, loaded if anything has changed.
        survey: of the folders, taken just before.
        encoding: of every file; None finds it out.
        labels: what to change about the tags and dates of all files' documents.
        certain: remove whatever is missing, even if it looks like an accident.
        dry_run: only find out what would be done.
        progress: is advanced by the bytes of the files.
        tell: called with every outcome as soon as it is known.

    Raises:
        StoreError: the store cannot be used or written.
        WeightsError: the base weights cannot be downloaded or read.
        ModelError: the model cannot be used.
    """
    report = ingest(
        session,
        survey.items,
        encoding=encoding,
        labels=labels,
        missing=survey,
        dry_run=dry_run,
        progress=progress,
        tell=tell,
    )
    if report.interrupted:
        return report
    for folder in survey.folders:
        reason = None if certain else _suspicious(folder)
        if reason:
            report.held_back.append(
                HeldBack(folder.path, dict(sorted(folder.missing.items())), reason)
            )
        else:
            _remove(session, report, folder.missing, tell)
    return report


def remove_held_back(
    session: Session, report: Report, tell: Callable[[Outcome], None] | None = None
) -> None:
    """Remove the documents that `sync` held back, after somebody has agreed."""
    for held in report.held_back:
        _remove(session, report, held.documents, tell)
    report.held_back.clear()


def _remove(
    session: Session,
    report: Report,
    documents: Mapping[str, str | None],
    tell: Callable[[Outcome], None] | None,
) -> None:
    for source, reason in sorted(documents.items()):
        # A file that came back while the others were amortized is left to the next call.
        if reason is None and not files.is_missing(source):
            continue
        store = session.store
        if report.dry_run or (store is not None and store.remove(source)):
            outcome = Outcome(source, "removed", reason)
            report.outcomes.append(outcome)
            if tell:
                tell(outcome)


def _suspicious(folder: Folder) -> str | None:
    """Return why the loss of a folder's documents may be an accident; None if it is none."""
    if not folder.missing:
        return None
    if folder.trouble:
        return folder.trouble
    if not folder.files:
        return "has no files any more"
    if len(folder.missing) >= MANY_MISSING and 2 * len(folder.missing) > folder.documents:
        return f"has lost {len(folder.missing):,} of {folder.documents:,} documents"
    return None


def _name(item: FileItem | Unusable) -> str:
    return item.source if isinstance(item, FileItem) else item.path
