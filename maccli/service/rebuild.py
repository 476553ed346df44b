"""A store of another checkpoint amortized again, from the texts that it holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from maccli.errors import MacError
from maccli.service.amortizing import amortize_documents
from maccli.service.document import DocumentText
from store.errors import FingerprintMismatchError
from store.moving.rebuild import DRAFT, adopt, document_text
from store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from maccli.service.session import Session
    from models.memory.protocol import Progress
    from store.records import Document


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """What a rebuild would do.

    Attributes:
        documents: in the store.
        left: of them, those that an interrupted rebuild has not done yet.
        stored: fingerprint of the checkpoint that wrote the store.
    """

    documents: int
    left: int
    stored: str


def plan(session: Session) -> RebuildPlan:
    """Return what `rebuild` would do, without loading the model.

    Raises:
        StoreError: there is no store, or it cannot be used.
    """
    with Store.open(session.choice.store) as store:
        documents = store.count()
        left = 0 if store.fingerprint == session.fingerprint else documents
        if left:
            with (
                suppress(OSError),  # there is no draft, or it cannot be resumed
                Store.open(_draft(session), fingerprint=session.fingerprint) as draft,
            ):
                left = sum(1 for _ in _missing(store, draft))
        return RebuildPlan(documents, left, store.fingerprint)


def rebuild(session: Session, progress: Progress | None = None) -> int:
    """Amortize every document again and put the result in the place of what was stored.

    What is done is kept beside the store, so that an interrupted rebuild is resumed when it is run
    again; until the end the store stays as it was.

    Args:
        session: the store and the checkpoint that it shall be of.
        progress: is advanced by documents.

    Returns:
        how many documents were amortized now.

    Raises:
        StoreError: there is no store, or it cannot be written.
        WeightsError: the base weights cannot be downloaded or read.
        MacError: there is no permission to write to it.
    """
    done = 0
    with Store.open(session.choice.store) as store:
        if not store.writable:
            raise MacError(
                f"No permission to write to the store {store.path}.",
                "Copy it and rebuild the copy: mac store copy DIR",
            )
        while store.fingerprint != session.fingerprint:
            with _open_draft(session) as draft:
                texts = _texts(store, _missing(store, draft))
                for written in amortize_documents(session.model, draft, texts):
                    if written.complete:
                        done += 1
                        if progress:
                            progress.advance(1)
                # Not if another process changed a document meanwhile: then once more.
                if adopt(store, draft):
                    break
    clean(session)
    return done


def clean(session: Session) -> bool:
    """Remove what a rebuild that died after its last step left beside the store.

    Returns:
        whether nothing is left: what is not of this model is not touched.
    """
    draft = _draft(session)
    with suppress(OSError):  # there is none, or another model's
        Store.open(draft, fingerprint=session.fingerprint).close()
        shutil.rmtree(draft)
    return not draft.exists()


def _draft(session: Session) -> Path:
    return session.choice.store / DRAFT


def _open_draft(session: Session) -> Store:
    try:
        return _create(session)
    except FingerprintMismatchError:  # begun for a third checkpoint
        shutil.rmtree(_draft(session))
        return _create(session)


def _create(session: Session) -> Store:
    config = session.model.config
    return Store.open(
        _draft(session),
        fingerprint=session.fingerprint,
        model=session.choice.name,
        key_size=config.key_size,
        latent_size=config.latent_size,
        create=True,
    )


def _missing(store: Store, draft: Store) -> Iterator[Document]:
    """Yield the documents that the draft does not hold whole."""
    for document in store.documents():
        drafted = draft.document(document.source)
        if drafted is None or drafted.partial or drafted.content_hash != document.content_hash:
            yield document


def _texts(store: Store, documents: Iterator[Document]) -> Iterator[DocumentText]:
    for document in documents:
        chunks = store.chunks(document.id)
        marks = [
            replace(mark, start=chunk.start + mark.start)
            for chunk in chunks
            for mark in chunk.marks
        ]
        yield DocumentText(
            document.source, document_text(chunks), document.content_hash, document.title, marks
        )
