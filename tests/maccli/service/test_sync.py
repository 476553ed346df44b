"""The store follows folders: what is added, changed, renamed and removed on the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from maccli.reading.files import find
from maccli.service import sync as service
from maccli.service.ingest import ingest
from maccli.service.report import Report
from maccli.service.session import Session, StoreAndModel
from store.labels import Labels
from store.store import Store

from ..conftest import FakeMemory, text


def sync(session: Session, *folders: Path, **options: Any) -> Report:
    return service.sync(session, service.survey(session, [*map(str, folders)]), **options)


def stored(session: Session) -> dict[str, str]:
    """The texts of the documents by their sources below the working folder."""
    if session.store is None:
        return {}
    return {
        os.path.relpath(document.source): "\n".join(
            row.text for row in session.store.chunks(document.id)
        )
        for document in session.store.documents()
    }


def chunk_ids(store: Store) -> list[int]:
    return [chunk_id for ids, _ in store.keys() for chunk_id in ids.tolist()]  # noqa: SIM118


def numbers(report: Report) -> dict[str, int]:
    shown = ("added", "updated", "renamed", "removed", "unchanged", "skipped", "failed")
    return {name: value for name, value in report.as_dict().items() if name in shown and value}


def test_it_adds_updates_and_removes(opened: Session, docs: Path, memory: FakeMemory) -> None:
    assert numbers(sync(opened, docs)) == {"added": 3}
    (docs / "a.txt").write_text(text(7))
    (docs / "b.txt").unlink()
    (docs / "new.txt").write_text(text(8))
    memory.calls.clear()
    report = sync(opened, docs)
    assert numbers(report) == {"added": 1, "updated": 1, "removed": 1, "unchanged": 1}
    assert memory.calls == [("amortize", 2)]
    assert stored(opened) == {
        "docs/a.txt": text(7),
        "docs/deep/c.txt": text(2),
        "docs/new.txt": text(8),
    }
    with Session(opened.choice) as again:
        memory.calls.clear()
        assert numbers(sync(again, docs)) == {"unchanged": 3}
        assert memory.calls == []


def test_what_counts_is_the_content_not_the_time(opened: Session, docs: Path) -> None:
    sync(opened, docs)
    before = os.stat(docs / "a.txt")
    (docs / "a.txt").write_text(text(9))
    os.utime(docs / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(docs / "b.txt", (0, 0))
    assert numbers(sync(opened, docs)) == {"updated": 1, "unchanged": 2}


def test_nothing_outside_of_the_folders_is_removed(opened: Session, docs: Path, work: Path) -> None:
    for name in ("docs-2", "other"):
        (work / name).mkdir()
        (work / name / "x.txt").write_text(name)
    (work / "docs.txt").write_text("Beside it.")
    sync(opened, work)
    for name in ("docs-2", "other"):
        shutil.rmtree(work / name)
    (work / "docs.txt").unlink()
    assert numbers(sync(opened, docs)) == {"unchanged": 3}
    assert len(stored(opened)) == 6


@pytest.mark.parametrize(
    ("old", "new"),
    [("a.txt", "z.md"), ("deep/c.txt", "c.txt"), ("deep", "deeper"), ("b.txt", "B/b")],
)
def test_what_was_renamed_is_not_amortized_again(
    opened: Session, docs: Path, memory: FakeMemory, old: str, new: str
) -> None:
    sync(opened, docs, labels=Labels(tags=("kept",)))
    before = stored(opened)
    assert opened.store is not None
    ids = chunk_ids(opened.store)
    (docs / new).parent.mkdir(exist_ok=True)
    (docs / old).rename(docs / new)
    with Session(opened.choice) as again:
        memory.calls.clear()
        report = sync(again, docs)
        assert numbers(report) == {"renamed": 1, "unchanged": 2}
        assert memory.calls == []
        assert report.reused == report.chunks == 0
        assert sorted(stored(again).values()) == sorted(before.values())
        assert again.store is not None
        assert chunk_ids(again.store) == ids
        assert {document.tags for document in again.store.documents()} == {("kept",)}
        (renamed,) = [o for o in report.outcomes if o.status == "renamed"]
        assert os.path.relpath(renamed.was or "") in before


def test_a_file_moved_over_another_keeps_its_modulations(
    opened: Session, docs: Path, memory: FakeMemory
) -> None:
    sync(opened, docs)
    memory.calls.clear()
    (docs / "b.txt").rename(docs / "a.txt")
    assert numbers(sync(opened, docs)) == {"renamed": 1, "unchanged": 1}
    assert memory.calls == []
    assert stored(opened) == {"docs/a.txt": text(1), "docs/deep/c.txt": text(2)}


def test_of_files_with_the_same_content_each_is_claimed_once(
    opened: Session, docs: Path, memory: FakeMemory
) -> None:
    (docs / "deep" / "a.txt").write_text(text(0))
    sync(opened, docs)
    memory.calls.clear()
    (docs / "deep").rename(docs / "moved")
    (docs / "a.txt").rename(docs / "moved" / "other.txt")
    (docs / "moved" / "third.txt").write_text(text(0))
    report = sync(opened, docs)
    assert numbers(report) == {"renamed": 3, "added": 1, "unchanged": 1}
    pairs = {os.path.basename(o.was) + " " + Path(o.source).name for o in report.outcomes if o.was}
    assert pairs == {"a.txt a.txt", "c.txt c.txt", "a.txt other.txt"}


def test_moving_from_one_followed_folder_to_another(
    opened: Session, docs: Path, work: Path, memory: FakeMemory
) -> None:
    (work / "archive").mkdir()
    (work / "archive" / "old.txt").write_text("Old.")
    sync(opened, docs, work / "archive")
    memory.calls.clear()
    (docs / "a.txt").rename(work / "archive" / "a.txt")
    for folders in [(docs, work / "archive"), (work / "archive", docs)]:
        report = sync(opened, *folders)
        assert numbers(report)["unchanged"] in (3, 4)
    assert "archive/a.txt" in stored(opened)
    assert memory.calls == []


def test_a_document_whose_file_lost_its_text_is_removed(opened: Session, docs: Path) -> None:
    sync(opened, docs)
    (docs / "a.txt").write_text("")
    (docs / "b.txt").write_text(" \n")
    (docs / "never.txt").write_text("")
    for dry_run in (True, False):
        report = sync(opened, docs, dry_run=dry_run)
        assert numbers(report) == {"removed": 2, "unchanged": 1, "skipped": 3}
    assert list(stored(opened)) == ["docs/deep/c.txt"]


def stale(session: Session) -> dict[str, str]:
    assert session.store is not None
    documents = session.store.documents()
    return {os.path.relpath(d.source): d.stale for d in documents if d.stale is not None}


def test_what_cannot_be_read_any_more_is_kept_and_marked_as_stale(
    opened: Session, docs: Path
) -> None:
    sync(opened, docs)
    (docs / "a.txt").write_bytes(bytes(range(256)) * 9)
    (docs / "new.txt").write_bytes(bytes(range(256)) * 9)
    assert numbers(sync(opened, docs, dry_run=True)) == {"failed": 1, "skipped": 1, "unchanged": 2}
    assert stale(opened) == {}
    for _ in range(2):
        report = sync(opened, docs)
        assert numbers(report) == {"failed": 1, "skipped": 1, "unchanged": 2}
        (outcome,) = [o for o in report.outcomes if o.status == "failed"]
        assert outcome.reason == (
            "cannot be read any more (is a binary file); the store holds its older text"
        )
        assert stale(opened) == {"docs/a.txt": "is a binary file"}
    assert stored(opened)["docs/a.txt"] == text(0)


@pytest.mark.parametrize("content", [text(0), text(9)])
def test_a_document_whose_file_can_be_read_again_is_no_longer_stale(
    opened: Session, docs: Path, content: str
) -> None:
    sync(opened, docs)
    (docs / "a.txt").write_bytes(bytes(range(256)) * 9)
    sync(opened, docs)
    (docs / "a.txt").write_text(content)
    report = sync(opened, docs)
    assert report.number("failed") == 0
    assert stale(opened) == {} and stored(opened)["docs/a.txt"] == content


def test_a_document_whose_file_became_a_link_to_nothing_is_stale(
    opened: Session, docs: Path
) -> None:
    sync(opened, docs)
    (docs / "a.txt").unlink()
    (docs / "a.txt").symlink_to("nothing")
    (docs / "other").symlink_to("nothing")
    assert numbers(sync(opened, docs)) == {"failed": 1, "skipped": 1, "unchanged": 2}
    assert stale(opened) == {"docs/a.txt": "links to nothing"}


def test_what_is_ignored_by_now_is_removed(opened: Session, docs: Path) -> None:
    (docs / "a.txt~").write_text("A leftover.")
    ingest(opened, find([str(docs), str(docs / "a.txt~")]))
    (docs / ".gitignore").write_text("/b.txt")
    survey = service.survey(opened, [str(docs)], ["deep"])
    report = service.sync(opened, survey)
    assert numbers(report) == {"removed": 3, "unchanged": 1}
    assert {o.reason for o in report.outcomes if o.status == "removed"} == {"is excluded now"}
    assert list(stored(opened)) == ["docs/a.txt"]
    assert numbers(sync(opened, docs)) == {"added": 1, "unchanged": 1}


def test_excluding_nearly_everything_looks_like_an_accident(opened: Session, docs: Path) -> None:
    sync(opened, docs)
    report = service.sync(opened, service.survey(opened, [str(docs)], ["*"]))
    assert [held.reason for held in report.held_back] == ["has no files any more"]
    assert len(stored(opened)) == 3


def test_a_link_that_was_a_document_of_its_own_goes(opened: Session, docs: Path) -> None:
    (docs / "link.txt").write_text(text(0))
    sync(opened, docs)
    (docs / "link.txt").unlink()
    (docs / "link.txt").symlink_to("a.txt")
    report = sync(opened, docs)
    assert numbers(report) == {"removed": 1, "unchanged": 3}
    assert report.outcomes[-1].reason == "is another name of docs/a.txt"


def test_a_folder_is_the_same_by_a_link(opened: Session, docs: Path, work: Path) -> None:
    (work / "linked").symlink_to(docs, target_is_directory=True)
    assert numbers(sync(opened, work / "linked")) == {"added": 3}
    assert numbers(sync(opened, docs, work / "linked")) == {"unchanged": 3}


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"\\xe9.txt", b"\x5c\xe9.txt"])
def test_names_that_are_no_text_are_followed(opened: Session, docs: Path, name: bytes) -> None:
    path = docs / os.fsdecode(name)
    path.write_text("Odd.")
    (docs / "caf\\xe9.txt").write_text("Odder.")
    assert numbers(sync(opened, docs)) == {"added": 5}
    assert numbers(sync(opened, docs)) == {"unchanged": 5}
    path.unlink()
    assert numbers(sync(opened, docs)) == {"removed": 1, "unchanged": 4}


def lose(folder: Path, how: str) -> None:
    if how == "missing":
        folder.rename(folder.with_name("elsewhere"))
    elif how == "a file now":
        shutil.rmtree(folder)
        folder.write_text("no folder")
    else:
        shutil.rmtree(folder)
        folder.mkdir()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("missing", "is missing"),
        ("a file now", "cannot be read"),
        ("empty", "has no files any more"),
    ],
)
def test_a_folder_that_is_suddenly_gone_takes_nothing_with_it(
    opened: Session, docs: Path, how: str, reason: str
) -> None:
    sync(opened, docs)
    before = stored(opened)
    lose(docs, how)
    for dry_run in (False, True):
        report = sync(opened, docs, dry_run=dry_run)
        assert numbers(report) == {}
        assert [(held.folder, held.reason) for held in report.held_back] == [(str(docs), reason)]
        assert len(report.held_back[0].documents) == 3
    assert stored(opened) == before
    assert numbers(sync(opened, docs, certain=True)) == {"removed": 3}
    assert stored(opened) == {}


def test_losing_most_of_a_large_folder_looks_like_an_accident(opened: Session, docs: Path) -> None:
    shutil.rmtree(docs / "deep")
    for n in range(10, 23):
        (docs / f"{n}.txt").write_text(text(n))
    sync(opened, docs)
    for n in range(10, 20):
        (docs / f"{n}.txt").unlink()
    report = sync(opened, docs)
    assert numbers(report) == {"unchanged": 5}
    assert report.held_back[0].reason == "has lost 10 of 15 documents"
    (docs / "10.txt").write_text(text(10))
    assert numbers(sync(opened, docs)) == {"unchanged": 6, "removed": 9}


def test_held_documents_go_when_somebody_agrees(opened: Session, docs: Path) -> None:
    sync(opened, docs)
    shutil.rmtree(docs)
    report = sync(opened, docs)
    docs.mkdir()
    (docs / "b.txt").write_text("It came back meanwhile.")
    service.remove_held_back(opened, report)
    assert numbers(report) == {"removed": 2}
    assert report.held_back == []
    assert list(stored(opened)) == ["docs/b.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_keeps_its_documents(opened: Session, docs: Path) -> None:
    sync(opened, docs)
    (docs / "deep").chmod(0)
    try:
        report = sync(opened, docs)
    finally:
        (docs / "deep").chmod(0o700)
    assert numbers(report) == {"unchanged": 2, "skipped": 1, "failed": 1}
    assert stale(opened) == {"docs/deep/c.txt": "cannot be read: permission denied"}
    assert len(stored(opened)) == 3


def test_a_subfolder_that_cannot_be_listed_keeps_its_documents(
    opened: Session, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(opened, docs)
    real = os.scandir, os.lstat

    def scandir(path: Any) -> Any:
        if "deep" in os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real[0](path)

    def lstat(path: Any, **options: Any) -> os.stat_result:
        if "deep/" in os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real[1](path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        patch.setattr(os, "lstat", lstat)
        report = sync(opened, docs)
    assert numbers(report) == {"unchanged": 2, "skipped": 1, "failed": 1}
    assert stale(opened) == {"docs/deep/c.txt": "cannot be read: permission denied"}
    assert len(stored(opened)) == 3
    sync(opened, docs)
    assert stale(opened) == {}


def test_hidden_files_that_were_named_are_followed_too(
    opened: Session, docs: Path, work: Path
) -> None:
    (docs / ".hidden.txt").write_text("Hidden at first.")
    ingest(opened, find(["docs/.hidden.txt"]))
    assert numbers(sync(opened, docs)) == {"added": 3, "unchanged": 1}
    (docs / ".hidden.txt").write_text("Hidden and changed.")
    assert numbers(sync(opened, docs)) == {"updated": 1, "unchanged": 3}
    (docs / ".hidden.txt").unlink()
    assert numbers(sync(opened, docs)) == {"removed": 1, "unchanged": 3}


def test_the_store_itself_is_not_followed(memory: FakeMemory, docs: Path, tmp_path: Path) -> None:
    choice = StoreAndModel(docs / "bank", tmp_path / "checkpoint", "checkpoint")
    with Session(choice) as session:
        assert numbers(sync(session, docs)) == {"added": 3}
        assert numbers(sync(session, docs)) == {"unchanged": 3}


def test_folders_within_folders_count_once(opened: Session, docs: Path) -> None:
    assert numbers(sync(opened, docs / "deep", docs, docs)) == {"added": 3}
    (docs / "deep" / "c.txt").unlink()
    assert numbers(sync(opened, docs, docs / "deep")) == {"unchanged": 2, "removed": 1}


def test_a_folder_that_never_was(opened: Session, work: Path) -> None:
    report = sync(opened, work / "nowhere")
    assert [(o.status, o.reason) for o in report.outcomes] == [("failed", "no such folder")]
    assert not opened.choice.store.exists()


def test_nothing_is_removed_after_an_interruption(
    opened: Session, docs: Path, memory: FakeMemory
) -> None:
    sync(opened, docs)
    (docs / "a.txt").unlink()
    (docs / "b.txt").write_text(text(9))

    def interrupt(_: Sequence[str]) -> None:
        raise KeyboardInterrupt

    memory.before_amortize = interrupt
    report = sync(opened, docs)
    assert report.interrupted and not report.changed
    assert len(stored(opened)) == 3


def test_a_dry_run_tells_the_same_and_needs_no_model(
    opened: Session, docs: Path, memory: FakeMemory
) -> None:
    assert numbers(sync(opened, docs, dry_run=True)) == {"added": 3}
    assert memory.calls == [] and not opened.choice.store.exists()
    sync(opened, docs)
    (docs / "a.txt").rename(docs / "z.txt")
    (docs / "b.txt").write_text(text(9))
    (docs / "deep" / "c.txt").unlink()
    (docs / "new.txt").write_text(text(5))
    before = stored(opened)
    memory.calls.clear()
    dry = sync(opened, docs, dry_run=True)
    assert memory.calls == [] and stored(opened) == before
    assert dry.as_dict()["dry_run"] is True
    wet = sync(opened, docs)
    assert numbers(dry) == numbers(wet) == {"added": 1, "updated": 1, "renamed": 1, "removed": 1}


def test_a_document_that_another_process_renamed_first(
    opened: Session, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(opened, docs)
    (docs / "a.txt").rename(docs / "z.txt")
    survey = service.survey(opened, [str(docs)])
    with Store.open(opened.choice.store) as other:
        other.remove(str(docs / "a.txt"))
    assert numbers(service.sync(opened, survey)) == {"added": 1, "unchanged": 2}
