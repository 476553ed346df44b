"""A store of documents as methods of one class, as far as no model is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from maccli import config
from maccli.errors import no_documents
from maccli.reading import files
from store import log
from store.errors import StoreNotFoundError
from store.labels import Within, clean_tag
from store.log import LogEntry
from store.records import ChunkRow, Document, Stats
from store.store import Store

if TYPE_CHECKING:
    from models.memory.protocol import Progress
    from store.pruning.prune import Strategy
    from store.pruning.records import PruneRecord


class Bank:
    """A store of documents, whichever model wrote it. A context manager.

    Nothing is opened before it is needed.

    Attributes:
        folder: the store's folder; it need not exist yet.
    """

    def __init__(self, store: str | Path | None = None) -> None:
        """Choose a store: a folder, else that of the environment, of config.toml, the default.

        Raises:
            MacError: a setting is wrong.
        """
        self.folder = config.folder("store", store)
        self._store: Store | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()
            self._store = None

    @property
    def store(self) -> Store | None:
        """The store, whichever model wrote it; None if there is none."""
        if self._store is None:
            try:
                self._store = Store.open(self.folder)
            except StoreNotFoundError:
                return None
        return self._store

    def require_store(self) -> Store:
        """Return the store, whichever model wrote it.

        Raises:
            MacError: there is no store.
        """
        store = self.store
        if store is None:
            raise no_documents(self.folder, exists=False)
        return store

    def documents(
        self,
        *,
        match: str | None = None,
        limit: int | None = None,
        tags: Sequence[str] = (),
        since: str | None = None,
        until: str | None = None,
        after: str | None = None,
    ) -> Iterator[Document]:
        """Yield the documents in the order of their names; none if there is no store.

        Args:
            match: with `*` or `?` a pattern for the whole name, else a part of name or title.
            limit: at most that many.
            tags: only documents with at least one of these tags.
            since: only documents of that day or later, YYYY-MM-DD.
            until: only documents of that day or earlier.
            after: only documents whose name comes after this one.

        Raises:
            ValueError: a tag or a date is not valid.
        """
        within = Within(clean_tags(tags), since, until)
        if (store := self.store) is not None:
            yield from store.documents(match=match, limit=limit, within=within, after=after)

    def document(self, source: str | Path | int) -> Document | None:
        """Return a document by its name in the store, a path or its id; None if not stored."""
        if (store := self.store) is None:
            return None
        if isinstance(source, int):
            return store.document(source)
        return next(filter(None, map(store.document, files.source_names(source))), None)

    def chunks(self, document: Document) -> list[ChunkRow]:
        """Return the chunks that a document was cut into, in their order, with their texts."""
        return self.require_store().chunks(document.id)

    def remove(self, source: str | Path) -> bool:
        """Remove a document, given by its name in the store or by a path. Returns if it existed."""
        store = self.store
        return store is not None and any(map(store.remove, files.source_names(source)))

    def prune(
        self,
        strategy: Strategy = "merge",
        to: str = "50%",
        *,
        seed: int = 0,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PruneRecord:
        """Make the store smaller, at some cost in answers.

        Args:
            strategy: how to shrink, see `store.pruning`.
            to: what is left: a share (50%), a number of modulations (2000) or a size (20MB).
            seed: of strategies that choose at random.
            dry_run: only return what would be done.
            progress: is advanced by merged modulations.

        Raises:
            MacError: there is no store.
            ValueError: there is no such strategy, or `to` cannot be read.
        """
        from store.pruning import prune
        from store.pruning.target import Target

        return prune.prune(
            self.require_store(),
            strategy,
            Target.parse(to),
            seed=seed,
            dry_run=dry_run,
            progress=progress.advance if progress else None,
        )

    def undo_prune(self, *, dry_run: bool = False) -> PruneRecord | None:
        """Take back the last prune, and return it; None if there is none.

        Args:
            dry_run: only return which it is.

        Raises:
            MacError: there is no store.
            StoreError: no permission to write.
        """
        from store.pruning import prune

        store = self.require_store()
        return prune.undoable(store) if dry_run else prune.undo(store)

    def vacuum(self, *, dry_run: bool = False) -> int:
        """Free the space of removed documents, make prunes final, and return the freed bytes.

        Args:
            dry_run: only return about how many bytes that would be.

        Raises:
            MacError: there is no store.
        """
        from store.care import vacuum

        store = self.require_store()
        return vacuum.space(store).reclaimable if dry_run else vacuum.vacuum(store)

    def log(
        self, *, limit: int | None = None, match: str | None = None, before: int | None = None
    ) -> list[LogEntry]:
        """Return the questions that were asked, the newest first; none if there is no store.

        Args:
            limit: at most that many.
            match: only those with this in the question or the answer, in upper or lower case.
            before: only those that were asked before the one with this id.
        """
        store = self.store
        return log.entries(store, limit=limit, match=match, before=before) if store else []

    def clear_log(self) -> int:
        """Empty the log of questions, and return how many there were.

        Raises:
            StoreError: no permission to write.
        """
        return log.clear(self.store) if self.store else 0

    def export(
        self, file: str | Path, *, force: bool = False, with_log: bool = False
    ) -> int | None:
        """Write the whole store into one file, and return its size in bytes.

        Args:
            file: "-" is standard output, for which None is returned.
            force: replace a file that exists.
            with_log: also write the questions that were asked.

        Raises:
            MacError: there is no store, the file exists, or standard output is a terminal.
            OSError: it cannot be written.
        """
        from maccli.service import moving

        return moving.export(self.require_store(), str(file), force=force, with_log=with_log)

    def copy(self, folder: str | Path) -> None:
        """Copy the store, its log included, into a folder that does not exist yet.

        Raises:
            MacError: there is no store.
            OSError: the folder exists, or cannot be written.
        """
        from store.moving.export import copy

        copy(self.require_store(), Path(folder).expanduser())

    def stats(self) -> Stats:
        """Return how much is in the store, and its sizes on disk.

        Raises:
            MacError: there is no store.
        """
        return self.require_store().stats()


def clean_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return tags as they are stored; a single string is one tag."""
    return tuple(dict.fromkeys(map(clean_tag, [tags] if isinstance(tags, str) else tags)))
