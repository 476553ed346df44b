"""`from maccli import Mac`: the Python API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import rmtree

import pytest

import maccli
from maccli import Mac
from maccli.api import Passage
from maccli.errors import NOTHING_FOUND, USAGE, MacError
from maccli.reading.items import Piped
from models.errors import CheckpointError

from .conftest import FakeMemory

BRIDGE = "Varnholt is small. The bridge was opened by Ida Brandt."


@pytest.fixture
def notes(work: Path, memory: FakeMemory) -> Path:
    folder = work / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "bridge.txt").write_text(BRIDGE)
    (folder / "deep" / "prize.md").write_text("# Prizes\n\nThe poetry prize went to Tomas Reyl.")
    return folder


def test_from_files_to_an_answer(notes: Path) -> None:
    said: list[str] = []
    with Mac("memory", tell=said.append) as mac:
        report = mac.ingest("notes", tags=["Work"], date="2026-01-02")
        assert report.number("added") == 2
        pieces: list[str] = []
        answer = mac.ask("Who opened the bridge?", k=1, on_text=pieces.append)
        assert answer.answer == "An answer from 1." == "".join(pieces).strip()
        assert answer.sources[0].text == "The bridge was opened by Ida Brandt."
        (passage,) = mac.search("Who opened the bridge?", k=1)
        assert isinstance(passage, Passage) and passage.text == BRIDGE
        documents = list(mac.documents(tags="work"))
        assert [Path(document.source).name for document in documents] == ["bridge.txt", "prize.md"]
        assert {document.tags for document in documents} == {("work",)}
        assert mac.stats().documents == 2
        assert mac.search("poetry prize?", k=1, until="2025-12-31") == []
        assert mac.remove("notes/bridge.txt") and not mac.remove("notes/bridge.txt")
        assert [document.title for document in mac.documents()] == ["Prizes"]
    assert said == ["loading the model"]
    assert (notes.parent / "memory" / "index.db").exists()


def test_an_empty_store(memory: FakeMemory, work: Path) -> None:
    with Mac() as mac:
        assert list(mac.documents()) == []
        assert mac.remove("notes.txt") is False
        for attempt in (mac.ask, mac.search):
            with pytest.raises(MacError, match="There is no store in") as caught:
                attempt("Who?")
            assert caught.value.exit_code == NOTHING_FOUND
        with pytest.raises(MacError, match="There is no store in"):
            mac.stats()
        with pytest.raises(MacError, match="There is no store in"):
            mac.prune()
    assert memory.calls == []


def test_settings_count_where_nothing_is_given(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mac-home").mkdir()
    (tmp_path / "mac-home" / "config.toml").write_text('k = 1\nstore = "written"\n')
    with Mac() as mac:
        assert mac.session.choice.store == Path("written").absolute()
        mac.ingest(notes)
        assert len(mac.ask("Who opened the bridge?").sources) == 1
        assert len(mac.ask("Who opened the bridge?", k=2).sources) == 2
    monkeypatch.setenv("MAC_STORE", "environment")
    assert Mac().session.choice.store == Path("environment").absolute()
    assert Mac("given").session.choice.store == Path("given").absolute()
    assert Mac().session.choice.precision is None
    monkeypatch.setenv("MAC_PRECISION", "fp32")
    assert Mac().session.choice.precision == "fp32"
    with pytest.raises(CheckpointError):
        Mac(model="no such model")


def test_paths_of_every_kind(notes: Path) -> None:
    outcomes: list[str] = []
    with Mac() as mac:
        paths = [notes / "bridge.txt", "notes/deep/*.md"]
        report = mac.ingest(paths, on_outcome=lambda outcome: outcomes.append(outcome.status))
        assert outcomes == ["added", "added"]
        assert mac.ingest(str(notes)).number("unchanged") == 2
        assert report.chunks == 2
        named = mac.ingest(notes / "bridge.txt", name="bridge", dry_run=True)
        assert [(o.source, o.status) for o in named.outcomes] == [("bridge", "added")]
        with pytest.raises(MacError, match="A name is for one document") as caught:
            mac.ingest(notes, name="bridge")
        assert caught.value.exit_code == USAGE
        with pytest.raises(ValueError, match="a tag cannot hold a comma"):
            mac.ingest(notes, tags=["a,b"])


def test_bytes_that_are_at_hand(notes: Path) -> None:
    with Mac() as mac:
        assert mac.ingest(Piped(b"# Prizes\n\nNone.", "x.md"), name="prizes").number("added") == 1
        assert [(d.source, d.title) for d in mac.documents()] == [("prizes", "Prizes")]
        with pytest.raises(MacError, match="sync takes folders"):
            mac.ingest(Piped(b"text"), sync=True)


def test_sync_removes_what_is_gone(notes: Path) -> None:
    with Mac() as mac:
        mac.ingest(notes, sync=True)
        (notes / "bridge.txt").unlink()
        report = mac.ingest(notes, sync=True)
        assert (report.number("removed"), report.number("unchanged")) == (1, 1)
        report = mac.ingest(notes / "deep" / "prize.md", sync=True)
        assert [outcome.reason for outcome in report.outcomes] == ["no such folder"]
        with pytest.raises(MacError, match="sync takes folders"):
            mac.ingest(notes, name="notes", sync=True)


def test_prune_and_undo(notes: Path) -> None:
    with Mac() as mac:
        mac.ingest(notes)
        assert mac.prune("random", "1", dry_run=True).after == 1
        assert mac.stats().modulations == 2
        mac.prune("random", "1")
        assert mac.stats().modulations == 1
        planned = mac.undo_prune(dry_run=True)
        assert planned is not None and mac.stats().modulations == 1
        assert mac.undo_prune() == planned
        assert mac.stats().modulations == 2
        assert mac.undo_prune() is None


def test_what_is_held_is_removed_after_all(notes: Path) -> None:
    sizes: list[int] = []
    with Mac() as mac:
        mac.ingest(notes, sync=True, on_size=sizes.append)
        assert sizes == [sum(f.stat().st_size for f in notes.rglob("*.*"))]
        rmtree(notes)
        report = mac.ingest(notes, sync=True)
        assert len(report.held_back) == 1 and len(list(mac.documents())) == 2
        outcomes: list[str] = []
        mac.remove_held(report, on_outcome=lambda outcome: outcomes.append(outcome.status))
        assert outcomes == ["removed"] * 2 and not report.held_back
        assert list(mac.documents()) == []


def test_it_is_removed_at_once_if_that_is_certain(notes: Path) -> None:
    with Mac() as mac:
        mac.ingest(notes, sync=True)
        rmtree(notes)
        assert mac.ingest(notes, sync=True, certain=True).number("removed") == 2


def test_what_needs_no_model_works_with_any(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Mac() as mac:
        mac.ingest(notes)
    monkeypatch.setenv("MAC_MODEL", "no such model")
    with Mac() as mac:
        document = mac.document("notes/bridge.txt")
        assert document is not None and mac.document("nothing") is None
        assert [chunk.text for chunk in mac.chunks(document)] == [BRIDGE]
        size = mac.export("notes.mac")
        assert size == Path("notes.mac").stat().st_size
        mac.copy("copied")
        assert mac.remove("notes/bridge.txt")
        assert mac.vacuum(dry_run=True) >= 0 and mac.vacuum() >= 0
        assert mac.stats().documents == 1
        with pytest.raises(CheckpointError):
            mac.search("Who?")
    with Mac("copied") as mac:
        assert mac.stats().documents == 2


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, maccli; print([n for n in ('torch', 'numpy', 'click') if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
    code = "import sys; from maccli import Mac; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_other_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        maccli.Nothing  # noqa: B018
