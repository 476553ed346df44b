"""Exports to and from files and pipes."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from maccli.errors import USAGE, MacError
from maccli.reading.items import Piped
from maccli.service.ingest import ingest
from maccli.service.moving import export, load
from maccli.service.session import Session
from store.errors import ExportFormatError
from store.store import Store


@pytest.fixture
def store(opened: Session) -> Store:
    ingest(opened, [Piped(b"The bridge was opened.", "a")])
    assert opened.store is not None
    return opened.store


def test_to_a_file_and_back(store: Store, work: Path) -> None:
    size = export(store, "notes.mac")
    assert size == (work / "notes.mac").stat().st_size
    with pytest.raises(MacError, match=r"notes\.mac exists already"):
        export(store, "notes.mac")
    assert export(store, "notes.mac", force=True) == size
    assert load(work / "other", "notes.mac", "replace").added == 1
    with Store.open(work / "other") as other:
        assert [document.source for document in other.documents()] == ["a"]


def pipes(monkeypatch: pytest.MonkeyPatch, given: bytes, *, tty: bool = False) -> io.BytesIO:
    """Put pipes in the place of stdin and stdout; returns what is written to stdout."""
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written)
    monkeypatch.setattr(stdout, "isatty", lambda: tty)
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    return written


def test_through_pipes(store: Store, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = pipes(monkeypatch, b"")
    assert export(store, "-") is None
    pipes(monkeypatch, written.getvalue())
    assert load(work / "other", "-", "skip").added == 1
    pipes(monkeypatch, b"no export")
    with pytest.raises(ExportFormatError, match="standard input"):
        load(work / "other", "-", "replace")


def test_not_onto_a_terminal(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pipes(monkeypatch, b"", tty=True)
    with pytest.raises(MacError) as caught:
        export(store, "-")
    assert caught.value.exit_code == USAGE
