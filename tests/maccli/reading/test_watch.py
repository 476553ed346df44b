"""`mac ingest --watch`: bursts of changes, and the store that follows them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maccli.reading import watch
from maccli.reading.watch import bursts

from ..conftest import Ran

Mac = Callable[..., Ran]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def docs(work: Path) -> Path:
    folder = work / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("Document a tells of things.")
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SETTLED_MS", 50)
    monkeypatch.setattr(watch, "_WAKE_MS", 100)
    monkeypatch.setattr(watch, "_RETRY_SECONDS", 0.05)


def soon(*steps: Callable[[], object], pause: float = 0.2) -> threading.Thread:
    """Do something a little later, step by step."""

    def run() -> None:
        for step in steps:
            time.sleep(pause)
            step()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def expect(events: Iterator[None], *steps: Callable[[], object]) -> None:
    """The steps are noticed, as one burst or several; nothing else is."""
    thread = soon(*steps)
    next(events)
    thread.join()


@pytest.mark.usefixtures("quick")
def test_a_burst_is_told_when_it_has_settled(docs: Path, work: Path) -> None:
    events = bursts([str(docs)], str(docs / "bank"))
    next(events)  # watching has begun

    def write_many() -> None:
        for n in range(20):
            (docs / "deep" / f"{n}.txt").write_text("new")

    expect(events, write_many)
    assert len(list((docs / "deep").iterdir())) == 20
    expect(events, (docs / "a.txt").unlink)
    (docs / "b.txt").write_text("while the caller is at work")
    next(events)
    events.close()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("quick")
def test_what_a_walk_passes_by_and_the_store_are_no_news(docs: Path) -> None:
    for folder in ("bank", ".git", "node_modules"):
        (docs / folder).mkdir()
    events = bursts([str(docs)], str(docs / "bank"))
    next(events)
    seen = threading.Event()

    def wait() -> None:
        next(events)
        seen.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    for name in ("bank/index.db", ".git/HEAD", "node_modules/x.js", ".hidden"):
        (docs / name).write_text("noise")
    assert (docs / "a.txt").read_text()  # as every sync does
    assert not seen.wait(0.6)
    (docs / "deep" / ".gitignore").write_text("*.log")  # on which the files depend
    assert seen.wait(20)
    waiting.join()


@pytest.mark.usefixtures("quick")
def test_a_folder_that_goes_away_and_comes_back_is_watched_again(docs: Path) -> None:
    events = bursts([str(docs)], "/nowhere")
    next(events)
    away = docs.with_name("away")
    expect(events, lambda: docs.rename(away))
    assert not docs.exists()
    expect(events, lambda: away.rename(docs))
    assert docs.exists()
    expect(events, lambda: (docs / "new.txt").write_text("news"))
    assert (docs / "new.txt").exists()
