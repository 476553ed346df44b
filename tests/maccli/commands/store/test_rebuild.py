"""`mac store rebuild`, from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from maccli.reading.files import find
from maccli.service import amortizing, rebuild
from maccli.service.ingest import ingest
from maccli.service.session import Session, StoreAndModel
from store.store import Store

from ...conftest import FakeMemory, Ran, make_checkpoint

Mac = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mac-home" / "store"


def other_checkpoint(tmp_path: Path, memory: FakeMemory) -> Path:
    memory.config.latent_size = 4
    memory.chunking = "sentence-2:30"
    return make_checkpoint(tmp_path / "other-checkpoint", seed=1)


def test_rebuild_for_another_checkpoint(
    mac: Mac, stored: Path, memory: FakeMemory, tmp_path: Path, folder: Path
) -> None:
    before = mac("store", "ls", "--json").json
    same = mac("store", "rebuild")
    assert same.out.startswith("Nothing to do: ") and same.out.endswith(" wrote the store.\n")
    model = ["-m", str(other_checkpoint(tmp_path, memory))]
    for refused in (mac("ask", "Who?", *model), mac("ingest", "bridge.txt", *model)):
        assert refused.code == 1
        assert "mac store rebuild" in refused.err.splitlines()[1]
    assert mac("store", "rebuild", "--dry-run", *model).out.startswith(
        "Would amortize 2 documents of 2 again with "
    )
    memory.calls.clear()
    ran = mac("store", "rebuild", *model)
    assert ran.code == 0
    assert ran.out.startswith("2 documents, 2 amortized now with ")
    assert memory.calls == [("load", 1), ("amortize", 2)]
    assert not (folder / "rebuild").exists()
    after = mac("store", "ls", "--json").json
    assert [d["chunking"] for d in after] == ["sentence-2:30"] * 2
    kept = ("id", "source", "title", "content_hash", "added_at", "chunks")
    assert [[d[name] for name in kept] for d in after] == [
        [d[name] for name in kept] for d in before
    ]
    assert mac("store", "verify").code == 0
    assert "Ida Brandt" in mac("ask", "Who opened the bridge?", *model).out
    assert mac("ingest", "bridge.txt", *model).out.startswith("1 document: 1 unchanged.")
    assert mac("ask", "Who opened the bridge?").code == 1
    assert "Nothing to do" in mac("store", "rebuild", *model).out


def test_a_rebuild_that_was_interrupted_goes_on(
    mac: Mac,
    stored: Path,
    memory: FakeMemory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(amortizing, "GROUP_TOKENS", 1)
    model = ["-m", str(other_checkpoint(tmp_path, memory))]
    asked: list[int] = []

    def interrupt(texts: object) -> None:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt

    memory.before_amortize = interrupt
    ran = mac("store", "rebuild", *model)
    assert ran.code == 130 and "Run the same command again" in ran.err
    assert mac("ask", "Who opened the bridge?").code == 0  # still the old store
    assert "1 document of 2" in mac("store", "rebuild", "--dry-run", *model).out
    assert mac("store", "rebuild", *model).out.startswith("2 documents, 1 amortized now")
    assert mac("store", "verify").code == 0


def begin_rebuild(folder: Path) -> None:
    """What a rebuild by a third model has left beside the store."""
    Store.open(
        folder / "rebuild", fingerprint="third", key_size=9, latent_size=9, create=True
    ).close()


def test_a_rebuild_begun_for_a_third_checkpoint_is_begun_again(
    mac: Mac, stored: Path, memory: FakeMemory, tmp_path: Path, folder: Path
) -> None:
    begin_rebuild(folder)
    model = ["-m", str(other_checkpoint(tmp_path, memory))]
    assert mac("store", "rebuild", *model).out.startswith("2 documents, 2 amortized now")


def test_an_unfinished_rebuild_by_another_model_is_kept(
    mac: Mac, stored: Path, memory: FakeMemory, tmp_path: Path, folder: Path
) -> None:
    begin_rebuild(folder)
    ran = mac("store", "rebuild")
    assert ran.code == 0 and "another model's rebuild has done so far is kept" in ran.err
    assert (folder / "rebuild" / "index.db").exists()


def test_a_draft_that_a_finished_rebuild_left_is_removed(
    mac: Mac, stored: Path, memory: FakeMemory, opened: Session, folder: Path
) -> None:
    Store.open(
        folder / "rebuild", fingerprint=opened.fingerprint, key_size=9, latent_size=9, create=True
    ).close()
    assert mac("store", "rebuild", "--dry-run").code == 0
    assert (folder / "rebuild").exists()
    assert mac("store", "rebuild").err == ""
    assert not (folder / "rebuild").exists()


def test_rebuilt_texts_are_cut_as_ingested_ones(
    opened: Session, work: Path, memory: FakeMemory, tmp_path: Path
) -> None:
    text = "\n\n".join(
        f"# Part {n}\n\n" + " ".join(f"Sentence {n} {m} ends here." for m in range(7))
        for n in range(5)
    )
    (work / "long.md").write_text(text)
    ingest(opened, find(["long.md"]))
    memory.config.chunk_tokens = 50
    other = other_checkpoint(tmp_path, memory)
    with Session(StoreAndModel(opened.choice.store, other, "other")) as session:
        assert rebuild.rebuild(session) == 1
        assert session.store is not None
        rebuilt = [
            (c.start, c.end, c.text)
            for d in session.store.documents()
            for c in session.store.chunks(d.id)
        ]
    fresh = StoreAndModel(tmp_path / "fresh", other, "other")
    with Session(fresh) as session:
        ingest(session, find(["long.md"]))
        assert session.store is not None
        direct = [
            (c.start, c.end, c.text)
            for d in session.store.documents()
            for c in session.store.chunks(d.id)
        ]
    assert rebuilt == direct and len(direct) > 3
