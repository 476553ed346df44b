"""Two processes ingest into one store at once; neither loses a document."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from maccli.reading.files import find
from maccli.service import session as session_module
from maccli.service.ingest import ingest
from maccli.service.session import Session, StoreAndModel

from ..conftest import FakeMemory, make_checkpoint


def _ingest(folder: str, store: Path, checkpoint: Path) -> int:
    session_module.load_model = lambda *_, **__: FakeMemory()  # type: ignore[assignment]
    with Session(StoreAndModel(store, checkpoint, "checkpoint")) as session:
        return ingest(session, find([folder])).number("added", "updated")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # these children use no threads
def test_two_ingest_at_once(tmp_path: Path, work: Path) -> None:
    for folder in ("a", "b"):
        (work / folder).mkdir()
        for n in range(40):
            (work / folder / f"{n}.txt").write_text(f"This is document {n} in {folder}.")
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    store = tmp_path / "store"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        jobs = [(str(work / folder), store, checkpoint) for folder in ("a", "b")]
        assert pool.starmap(_ingest, jobs) == [40, 40]
    with Session(StoreAndModel(store, checkpoint, "checkpoint")) as session:
        assert session.store is not None
        assert session.store.stats().documents == 80
        assert sum(len(ids) for ids, _ in session.store.keys()) == 80  # noqa: SIM118
