"""A store of another checkpoint amortized again, from the texts that it holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from maccli.errors import MacError
from maccli.output import NoProgress, Progress
from maccli.service.ingest import GROUP_TOKENS
from maccli.service.session import Session
from models.text import chunking
from store import rebuilding
from store.bank import Store
from store.errors import FingerprintMismatchError
from store.records import NewChunk

if TYPE_CHECKING:
    from pathlib import Path

    from store.records import Document

_Cut = tuple["Document", Sequence[chunking.Chunk]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rebuild would do.

    Attributes:
        documents: in the store.
        left: of them, those that an interrupted rebuild has not done yet.
        stored: fingerprint of the checkpoint that wrote the store.
    """

    documents: int
    left: int
    stored: str


def plan(session: Session) -> Plan:
    """Tell what `rebuild` would do, without loading the model.

    Raises:
        StoreError: there is no store, or it cannot be used.
    """
    with Store.open(session.place.store) as store:
        number = store.count()
        if store.fingerprint == session.fingerprint:
            return Plan(number, 0, store.fingerprint)
        try:
            draft = Store.open(_draft(session), fingerprint=session.fingerprint)
        except OSError:  # none, or one that cannot be gone on with
            return Plan(number, number, store.fingerprint)
        with draft:
            left = sum(1 for _ in _missing(store, draft))
        return Plan(number, left, store.fingerprint)


def rebuild(session: Session, progress: Progress | None = None) -> int:
    """Amortize every document again and put the result in the place of what was there.

    What is done is kept beside the store, so that a rebuild that was cut short goes on when it is
    run again; until the end the store stays as it was.

    Args:
        session: the store and the checkpoint that it shall be of.
        progress: is advanced by documents.

    Returns:
        how many documents were amortized now.

    Raises:
        StoreError: there is no store, or it cannot be written.
        WeightsError: the base weights cannot be had.
        MacError: there is no permission to write to it.
    """
    progress = progress or NoProgress()
    folder = _draft(session)
    done = 0
    with Store.open(session.place.store) as store:
        if not store.writable:
            raise MacError(
                f"No permission to write to the store {store.path}.",
                "Copy it and rebuild the copy: mac store copy DIR",
            )
        while store.fingerprint != session.fingerprint:
            with _open_draft(session, folder) as draft:
                for group in _groups(session, store, _missing(store, draft)):
                    _amortize(session, draft, group)
                    done += len(group)
                    progress.advance(len(group))
                # Not if another process changed a document meanwhile: then once more.
                if store.adopt(draft):
                    break
    clean(session)
    return done


def clean(session: Session) -> None:
    """Remove what a rebuild that died after its last step left beside the store."""
    shutil.rmtree(_draft(session), ignore_errors=True)


def _draft(session: Session) -> Path:
    return session.place.store / rebuilding.DRAFT


def _open_draft(session: Session, folder: Path) -> Store:
    config = session.memory.config
    try:
        return _create(session, folder, config.key_size, config.latent_size)
    except FingerprintMismatchError:  # begun for a third checkpoint
        shutil.rmtree(folder)
        return _create(session, folder, config.key_size, config.latent_size)


def _create(session: Session, folder: Path, key_size: int, latent_size: int) -> Store:
    return Store.open(
        folder,
        fingerprint=session.fingerprint,
        model=session.place.model,
        key_size=key_size,
        latent_size=latent_size,
        create=True,
    )


def _missing(store: Store, draft: Store) -> Iterator[Document]:
    for document in store.documents():
        made = draft.document(document.source)
        if made is None or made.content_hash != document.content_hash:
            yield document


def _groups(session: Session, store: Store, documents: Iterator[Document]) -> Iterator[list[_Cut]]:
    """Documents cut anew, as many at once as fill the amortizer's batches."""
    memory = session.memory
    group: list[_Cut] = []
    tokens = 0
    for document in documents:
        text = rebuilding.text(store.chunks(document.id))
        cut = chunking.split(text, memory.count_tokens, memory.config.chunk_tokens)
        group.append((document, cut))
        tokens += sum(chunk.tokens for chunk in cut)
        if tokens >= GROUP_TOKENS:
            yield group
            group, tokens = [], 0
    if group:
        yield group


def _amortize(session: Session, draft: Store, group: Sequence[_Cut]) -> None:
    texts = [chunk.text for _, cut in group for chunk in cut]
    made = iter(session.memory.amortize(texts) if texts else [])
    for document, cut in group:
        chunks = [
            NewChunk(c.start, c.end, c.text, m.latents, m.scales, m.key)
            for c, m in zip(cut, islice(made, len(cut)), strict=True)
        ]
        draft.put(
            document.source,
            content_hash=document.content_hash,
            chunking=session.memory.chunking,
            chunks=chunks,
        )
