"""The store: documents, their chunks, and the chunks' modulations, in one folder.

T: tokens a modulation, R: latent size, E: key size.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from store import documents, reuse
from store.approximate import Approximate
from store.database import writing
from store.errors import StoreError, translated
from store.keyblock import discard
from store.labels import NO_CHANGE, Labels, write_labels
from store.opening import Wanted, check_unchanged, open_index
from store.reader import storable
from store.records import KeptChunk, NewChunk

if TYPE_CHECKING:
    from store.records import Document


class Store(Approximate):
    """A memory bank on disk. Open it with `Store.open`; it is a context manager.

    One object belongs to one thread; any number of processes may open the same folder. Methods
    raise `StoreError` or one of its subclasses: `StoreBusyError` if another process does not let
    go of the write lock, `StoreCorruptError` if the files are damaged.

    Attributes:
        path: the folder.
        writable: whether this process may write to it.
    """

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        fingerprint: str | None = None,
        model: str | None = None,
        key_size: int | None = None,
        latent_size: int | None = None,
        create: bool = False,
        timeout: float = 30.0,
    ) -> Self:
        """Open the store in the folder `path`. Reading works without permission to write.

        Args:
            path: the folder.
            fingerprint: of the checkpoint in use; None to look at a store whoever wrote it.
            model: the checkpoint's name, kept in a new store for people to read.
            key_size: E; checked, unless None.
            latent_size: R; checked, unless None.
            create: make the store if there is none; needs `fingerprint`, `key_size`, `latent_size`.
            timeout: seconds to wait for other processes' locks, here and in every later call.

        Raises:
            StoreNotFoundError: there is no store, and `create` is false.
            FingerprintMismatchError: another checkpoint wrote the store.
            StoreVersionError: the schema is newer than this program.
            StoreCorruptError: the files are damaged.
            StoreError: the path is a file, a folder of something else, or forbidden.
            ValueError: `create` without what it needs.
        """
        path = Path(path)
        wanted = Wanted(fingerprint, model, key_size, latent_size)
        with translated(path):
            connection, writable, identity = open_index(
                path, wanted, create=create, timeout=timeout
            )
        return cls(path, connection, identity, writable=writable)

    def close(self) -> None:
        """Close the store. It cannot be used afterwards."""
        with translated(self.path):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def put(
        self,
        source: str,
        *,
        content_hash: str,
        chunking: str,
        chunks: Sequence[NewChunk | KeptChunk],
        title: str | None = None,
        media_type: str = "text/plain",
        encoding: str = "utf-8",
        characters: int = 0,
        labels: Labels = NO_CHANGE,
    ) -> Literal["added", "updated"]:
        """Store a document, in place of the one with the same source, in one transaction.

        After an error, or if the process dies, the store is as it was before. An updated document
        keeps its tags and date, apart from what `labels` changes.

        Args:
            source: what identifies the document, such as its path.
            content_hash: of the document, kept to tell later whether it changed.
            chunking: how it was cut, kept for the same reason.
            chunks: in the order of the text; there may be none. A `KeptChunk` keeps the modulation
                that the stored version has.
            title: for people to read.
            media_type: of what the document was read from.
            encoding: of what the document was read from.
            characters: length of the document.
            labels: tags and date.

        Raises:
            ChunksGoneError: a `KeptChunk` is not the document's, or not any more.
            ValueError: an array has another dtype or shape than this store's, or is not finite.
            StoreError: a text cannot be stored, the disk is full, no permission to write.
        """
        for text in (source, title or "", *(chunk.text for chunk in chunks)):
            if not storable(text):
                raise StoreError(
                    f"{source!r} cannot be stored: its name or text is not valid Unicode",
                    hint="Rename the file, or convert it to UTF-8.",
                )
        fresh: dict[int, NewChunk] = {}
        kept: dict[int, KeptChunk] = {}
        for position, chunk in enumerate(chunks):
            if isinstance(chunk, KeptChunk):
                kept[position] = chunk
            else:
                fresh[position] = chunk
        added = list(fresh.values())
        blobs = [self._codec.encode(chunk.latents, chunk.scales, chunk.key) for chunk in added]
        new = documents.NewDocument(
            source, title, content_hash, chunking, media_type, encoding, characters
        )
        with translated(self.path):
            with writing(self._connection):
                check_unchanged(self._connection, self.path, self._identity)
                old = documents.find(self._connection, source)
                reuse.check(self._connection, old.id if old else None, kept)
                keep = {chunk.id for chunk in kept.values()}
                many_dead = old is not None and self._delete_chunks(old.id, keep)
                if old is not None and kept:
                    reuse.place(self._connection, old.id, kept)
                rewritten = self._key_block.prepare()
                document_id, ids = documents.write(self._connection, new, added, blobs, list(fresh))
                if kept:
                    documents.count_again(self._connection, source)
                self._label(document_id, old, labels)
                self._key_block.append(ids, [chunk.key for chunk in added])
                action: Literal["added", "updated"] = "added" if old is None else "updated"
                documents.record(self._connection, action, source)
            if rewritten:
                self._key_block.clean()
        if many_dead:
            self._rewrite_keys()
        return action

    def remove(self, source: str) -> bool:
        """Remove a document in one transaction. Returns whether it was there."""
        if not storable(source):
            return False
        with translated(self.path), writing(self._connection):
            old = documents.find(self._connection, source)
            if old is None:
                return False
            many_dead = self._remove(old)
        if many_dead:
            self._rewrite_keys()
        return True

    def rename(
        self,
        source: str,
        to: str,
        *,
        content_hash: str,
        title: str | None = None,
        media_type: str = "text/plain",
        encoding: str = "utf-8",
        labels: Labels = NO_CHANGE,
    ) -> bool:
        """Give a document another source, in one transaction; its modulations stay.

        A document that had that source before is removed.

        Args:
            source: of the document.
            to: its new source.
            content_hash: what the document must hold to be renamed.
            title: the document's title from now on.
            media_type: of what the document is read from now.
            encoding: of what the document is read from now.
            labels: what to change about its tags and date.

        Returns:
            whether the document was there and held that.

        Raises:
            StoreError: the new name cannot be stored, the disk is full, no permission to write.
        """
        for text in (to, title or ""):
            if not storable(text):
                raise StoreError(
                    f"{to!r} cannot be stored: its name or title is not valid Unicode",
                    hint="Rename the file, or convert it to UTF-8.",
                )
        many_dead = False
        with translated(self.path), writing(self._connection):
            old = documents.find(self._connection, source) if storable(source) else None
            if old is None or old.content_hash != content_hash:
                return False
            replaced = documents.find(self._connection, to)
            if replaced is not None and replaced.id != old.id:
                many_dead = self._remove(replaced)
            documents.rename(self._connection, old.id, to, title, media_type, encoding)
            self._label(old.id, old, labels)
            documents.record(self._connection, "renamed", to, was=source)
        if many_dead:
            self._rewrite_keys()
        return True

    def relabel(self, source: str, change: Labels) -> bool:
        """Change a document's tags and date in one transaction. Returns whether any differ now.

        Nothing is written, nor permission needed to, where nothing differs.
        """
        old = self.document(source)
        if old is None or not change.changes(old.tags, old.date):
            return False
        with translated(self.path), writing(self._connection):
            old = documents.find(self._connection, source)
            if old is None:
                return False
            self._label(old.id, old, change)
        return True

    def _label(self, document_id: int, old: Document | None, change: Labels) -> None:
        """Apply a change of tags and date, in the caller's transaction."""
        tags, day = (old.tags, old.date) if old else ((), None)
        if change.changes(tags, day):
            write_labels(self._connection, document_id, *change.applied(tags, day))

    def _remove(self, document: Document) -> bool:
        """Remove a document in the caller's transaction; returns what `_delete_chunks` does."""
        many_dead = self._delete_chunks(document.id)
        documents.record(self._connection, "removed", document.source)
        documents.delete(self._connection, document.id)
        return many_dead

    def _delete_chunks(self, document_id: int, keep: Container[int] = ()) -> bool:
        """Delete a document's chunks and their keys; whether the key file should be compacted."""
        ids = documents.delete_chunks(self._connection, document_id, keep=keep)
        return discard(self._connection, ids)
