"""A store of another checkpoint amortized again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from maccli.reading.items import Piped
from maccli.service import amortizing
from maccli.service.ingest import ingest
from maccli.service.rebuild import clean, plan, rebuild
from maccli.service.session import Session, StoreAndModel
from store.labels import Labels
from store.moving.rebuild import DRAFT

from ..conftest import FakeMemory, make_checkpoint

LONG = "\n\n".join(f"Sentence{n} {'word ' * 13}end." for n in range(6))


@pytest.fixture
def other(opened: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreAndModel:
    """A place whose store has a document and a part of another one, written by `opened`."""
    monkeypatch.setattr(amortizing, "GROUP_TOKENS", 30)
    ingest(opened, [Piped(b"The bridge was opened.", "a")], labels=Labels(tags=("red",)))
    checkpoint = make_checkpoint(tmp_path / "other", seed=1)
    return StoreAndModel(opened.choice.store, checkpoint, "other")


def interrupt(memory: FakeMemory, at: str) -> None:
    def raise_it(texts: Sequence[str]) -> None:
        if any(at in text for text in texts):
            raise KeyboardInterrupt

    memory.before_amortize = raise_it


def test_a_long_document_is_resumed_in_the_middle(
    opened: Session, other: StoreAndModel, memory: FakeMemory
) -> None:
    ingest(opened, [Piped(LONG.encode(), "long")])
    interrupt(memory, "Sentence4 ")
    with Session(other) as session:
        assert (plan(session).documents, plan(session).left) == (2, 2)
        with pytest.raises(KeyboardInterrupt):
            rebuild(session)
        assert plan(session).left == 1
        assert opened.store is not None and opened.store.fingerprint == opened.fingerprint
    memory.before_amortize = lambda texts: None
    memory.calls.clear()
    with Session(other) as session:
        assert rebuild(session) == 1
        assert [n for call, n in memory.calls if call == "amortize"] == [2]
        assert session.store is not None
        assert [(d.source, d.tags, d.partial) for d in session.store.documents()] == [
            ("a", ("red",), False),
            ("long", (), False),
        ]
        assert not (other.store / DRAFT).exists()
        assert plan(session).left == 0
        clean(session)


def test_a_part_of_a_document_stays_one(
    opened: Session, other: StoreAndModel, memory: FakeMemory
) -> None:
    interrupt(memory, "Sentence4 ")
    ingest(opened, [Piped(LONG.encode(), "long")])
    memory.before_amortize = lambda texts: None
    with Session(other) as session:
        assert rebuild(session) == 2
        assert session.store is not None
        document = session.store.document("long")
        assert document is not None and document.partial
        (outcome,) = ingest(session, [Piped(LONG.encode(), "long")]).outcomes
        assert (outcome.status, outcome.chunks, outcome.reused) == ("updated", 2, 4)
