"""One `Mac` for several threads, and what is told of failures."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from maccli.errors import MacError
from maccli.plugins.sharing import exclusive, opened, sentence

from ..conftest import FakeMemory


def test_the_same_store_and_model_are_opened_once(
    memory: FakeMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened()
    assert opened(tmp_path / "mac-home" / "store") is first
    monkeypatch.setenv("MAC_STORE", str(tmp_path / "other"))
    assert opened().folder == tmp_path / "other"
    assert opened(model=tmp_path / "checkpoint") is opened()


def test_a_store_is_free_for_every_thread_after_an_error(stored: Path) -> None:
    with pytest.raises(KeyError), exclusive(opened()) as mac:
        assert len(list(mac.documents())) == 2
        raise KeyError
    passages: list[str] = []

    def work() -> None:
        with exclusive(opened()) as mac:
            passages.extend(passage.text for passage in mac.search("poetry prize?", k=1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(passages) == 1


def test_a_failure_is_one_sentence_or_two() -> None:
    assert sentence(MacError("It is broken.", "Mend it.")) == "It is broken. Mend it."
    assert sentence(ValueError("a tag cannot hold a comma")) == "a tag cannot hold a comma."
    assert sentence(KeyError("x")) == "bug in mac: KeyError: 'x'"
    assert sentence(UnicodeError("x")) == "bug in mac: UnicodeError: x"
