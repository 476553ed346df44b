from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from maccli.reading.files import find
from maccli.reading.items import Piped
from maccli.service import amortizing, sync
from maccli.service.ask import Options, ask
from maccli.service.ingest import ingest
from maccli.service.session import Session, StoreAndModel
from models.text import chunking
from store.errors import FingerprintMismatchError
from store.labels import Labels
from store.store import Store

from ..conftest import FakeMemory, make_checkpoint


def paragraph(number: int, words: int = 15) -> str:
    return " ".join([f"Sentence{number}", *["word"] * (words - 2), "end."])


def group_tokens(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Amortize so many tokens together, however fast it goes."""
    monkeypatch.setattr(amortizing, "GROUP_TOKENS", number)


def write(work: Path, documents: int = 3, chunks: int = 2) -> list[str]:
    names = [f"doc{n}.txt" for n in range(documents)]
    for n, name in enumerate(names):
        (work / name).write_text("\n\n".join(paragraph(n * 100 + c) for c in range(chunks)))
    return names


def test_documents_are_added_with_their_chunks(opened: Session, work: Path) -> None:
    report = ingest(opened, find(write(work)))
    assert (report.number("added"), report.chunks, report.tokens) == (3, 6, 90)
    assert report.bytes > 0 and report.seconds > 0
    assert opened.store is not None
    document = opened.store.document(str(work / "doc1.txt"))
    assert document is not None
    text = (work / "doc1.txt").read_text()
    rows = opened.store.chunks(document.id)
    assert [text[row.start : row.end] for row in rows] == [row.text for row in rows]
    assert document.chunking == "sentence-2:20"


def test_unchanged_documents_need_no_model(opened: Session, work: Path, memory: FakeMemory) -> None:
    names = write(work)
    ingest(opened, find(names))
    with Session(opened.choice) as again:
        memory.calls.clear()
        report = ingest(again, find(names))
    assert report.number("unchanged") == 3
    assert memory.calls == []


def test_a_changed_document_is_updated_alone(
    opened: Session, work: Path, memory: FakeMemory
) -> None:
    names = write(work)
    ingest(opened, find(names))
    memory.calls.clear()
    (work / names[1]).write_text("It is new now.")
    report = ingest(opened, find(names))
    assert [outcome.status for outcome in report.outcomes] == ["unchanged", "unchanged", "updated"]
    assert memory.calls == [("amortize", 1)]
    assert opened.store is not None
    assert opened.store.search("Sentence100") == []


def test_only_changed_chunks_of_a_changed_document_are_amortized(
    opened: Session, work: Path, memory: FakeMemory
) -> None:
    names = write(work, 1, chunks=5)
    ingest(opened, find(names))
    assert opened.store is not None
    before = opened.store.stats().modulation_bytes
    parts = (work / names[0]).read_text().split("\n\n")
    parts[1] = paragraph(70)
    parts.insert(0, paragraph(71))
    (work / names[0]).write_text("\n\n".join(parts))
    memory.calls.clear()
    report = ingest(opened, find(names))
    assert memory.calls == [("amortize", 2)]
    assert (report.chunks, report.tokens, report.reused) == (2, 30, 4)
    assert report.bytes == opened.store.stats().modulation_bytes - before * 4 // 5
    document = opened.store.document(str(work / names[0]))
    assert document is not None
    rows = opened.store.chunks(document.id)
    text = (work / names[0]).read_text()
    assert [row.text for row in rows] == parts
    assert [text[row.start : row.end] for row in rows] == parts
    stored = opened.store.modulations([row.id for row in rows])
    keys = {i: key for ids, block in opened.store.keys() for i, key in zip(ids, block, strict=True)}  # noqa: SIM118
    for row, old, modulation in zip(rows, stored, memory.amortize(parts), strict=True):
        np.testing.assert_array_equal(old.latents, modulation.latents)
        np.testing.assert_array_equal(keys[row.id], modulation.key)


def test_a_document_that_lost_chunks_or_changed_their_order_needs_no_amortizing(
    opened: Session, work: Path, memory: FakeMemory
) -> None:
    names = write(work, 1, chunks=4)
    ingest(opened, find(names))
    parts = (work / names[0]).read_text().split("\n\n")
    (work / names[0]).write_text("\n\n".join([parts[3], parts[0], parts[2]]))
    memory.calls.clear()
    advanced: list[int] = []
    progress = SimpleNamespace(advance=advanced.append)
    report = ingest(opened, find(names), progress=progress)
    assert memory.calls == []
    assert (report.number("updated"), report.chunks, report.reused) == (1, 0, 3)
    assert report.bytes == 0
    assert sum(advanced) == (work / names[0]).stat().st_size


def test_chunks_that_another_process_took_away_are_amortized_after_all(
    opened: Session, work: Path, memory: FakeMemory
) -> None:
    names = write(work, 1, chunks=3)
    ingest(opened, find(names))
    parts = (work / names[0]).read_text().split("\n\n")
    (work / names[0]).write_text("\n\n".join([*parts, paragraph(70)]))
    memory.calls.clear()

    def take_away(_: Sequence[str]) -> None:
        memory.before_amortize = lambda texts: None
        with Store.open(opened.choice.store) as other:
            other.remove(str(work / names[0]))

    memory.before_amortize = take_away
    report = ingest(opened, find(names))
    assert memory.calls == [("amortize", 1), ("amortize", 3)]
    assert (report.number("added"), report.chunks, report.reused) == (1, 4, 0)
    assert opened.store is not None
    assert [i for ids, _ in opened.store.keys() for i in ids.tolist()] == [4, 5, 6, 7]  # noqa: SIM118


def test_tags_and_date_need_no_model(opened: Session, work: Path, memory: FakeMemory) -> None:
    items = find(write(work, 2))
    ingest(opened, items, labels=Labels(tags=("red",)))
    memory.calls.clear()
    with Session(opened.choice) as again:
        report = ingest(again, items, labels=Labels(tags=("red",), date="2026-01-01"), dry_run=True)
        assert report.number("updated") == 2
        report = ingest(again, items[:1], labels=Labels(tags=("blue",), date="2026-01-01"))
        assert (report.number("updated"), report.chunks, report.reused) == (1, 0, 0)
        assert ingest(again, items, labels=Labels(tags=("red",))).number("unchanged") == 2
        assert again.store is not None
        assert [(document.tags, document.date) for document in again.store.documents()] == [
            (("blue", "red"), "2026-01-01"),
            (("red",), None),
        ]
    assert memory.calls == []


def test_other_rules_of_cutting_count_as_a_change(
    opened: Session, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = write(work, 1)
    ingest(opened, find(names))
    monkeypatch.setattr(chunking, "VERSION", "sentence-3")
    report = ingest(opened, find(names))
    assert (report.number("updated"), report.reused) == (1, 2)


def test_many_documents_are_amortized_together_and_a_long_one_in_parts(
    opened: Session, work: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_tokens(monkeypatch, 60)
    names = write(work, documents=4, chunks=1)
    (work / "long.txt").write_text("\n\n".join(paragraph(c) for c in range(9)))
    report = ingest(opened, find([*names, "long.txt"]))
    assert [n for call, n in memory.calls if call == "amortize"] == [4, 4, 4, 1]
    assert (report.number("added"), report.chunks) == (5, 13)


def test_one_bad_file_does_not_stop_the_others(opened: Session, work: Path) -> None:
    names = write(work, 2)
    (work / "empty.txt").write_text("")
    (work / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9)
    (work / "huge.txt").touch()
    os.truncate(work / "huge.txt", 200 * 2**20)
    locked = work / "locked.txt"
    locked.write_text("secret")
    locked.chmod(0)
    asked = ["missing.txt", "empty.txt", "picture.png", "huge.txt", "locked.txt", *names]
    report = ingest(opened, find(asked))
    failed = {Path(o.source).name: o.reason for o in report.outcomes if o.status == "failed"}
    if os.geteuid() != 0:
        assert failed.pop("locked.txt") == "cannot be read: permission denied"
    assert failed == {
        "missing.txt": "no such file or folder",
        "empty.txt": "is empty",
        "picture.png": "is a picture: its text needs OCR first",
        "huge.txt": "is larger than 50 MB; split it into smaller files",
    }
    assert report.number("added") >= 2


def test_what_is_no_document_in_a_folder_is_skipped(opened: Session, work: Path) -> None:
    write(work, 1)
    (work / "picture.png").write_bytes(bytes(range(256)) * 9)
    report = ingest(opened, find(["."]))
    assert sorted((Path(o.source).name, o.status) for o in report.outcomes) == [
        ("doc0.txt", "added"),
        ("picture.png", "skipped"),
    ]


def test_the_store_in_a_folder_is_no_document(
    memory: FakeMemory, work: Path, tmp_path: Path
) -> None:
    write(work, 1)
    with Session(StoreAndModel(work / "store", tmp_path / "checkpoint", "checkpoint")) as session:
        assert len(ingest(session, find(["."])).outcomes) == 1
        assert [o.status for o in ingest(session, find(["."])).outcomes] == ["unchanged"]


def test_piped_text_is_known_by_its_name_or_its_content(opened: Session) -> None:
    assert ingest(opened, [Piped(b"Some text.", "note")]).outcomes[0].source == "note"
    first = ingest(opened, [Piped(b"Some text.")]).outcomes[0]
    assert first.source.startswith("stdin-") and first.status == "added"
    assert ingest(opened, [Piped(b"Some text.")]).outcomes[0].status == "unchanged"


def test_nothing_is_made_where_nothing_is_kept(opened: Session, work: Path) -> None:
    (work / "empty.txt").touch()
    ingest(opened, find(["empty.txt"]))
    assert not opened.choice.store.exists()


def test_ctrl_c_keeps_finished_documents(
    opened: Session, work: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_tokens(monkeypatch, 30)
    names = write(work, 4)

    def interrupt(texts: Sequence[str]) -> None:
        if any("Sentence200" in text for text in texts):
            raise KeyboardInterrupt

    memory.before_amortize = interrupt
    report = ingest(opened, find(names))
    assert report.interrupted
    assert (report.number("added"), report.number("partial")) == (2, 0)
    assert report.interruption() == "2 documents kept; run the same command to finish it"
    memory.before_amortize = lambda texts: None
    with Session(opened.choice) as again:
        report = ingest(again, find(names))
    assert (report.number("unchanged"), report.number("added")) == (2, 2)


def long_document(work: Path, chunks: int = 9) -> str:
    text = "\n\n".join(paragraph(c) for c in range(chunks))
    (work / "long.txt").write_text(text)
    return text


def interrupt_at(memory: FakeMemory, number: int) -> None:
    """Ctrl-C while the chunk of this number is amortized."""

    def interrupt(texts: Sequence[str]) -> None:
        if any(f"Sentence{number} " in text for text in texts):
            raise KeyboardInterrupt

    memory.before_amortize = interrupt


def test_ctrl_c_keeps_a_part_of_a_long_document_and_the_same_command_finishes_it(
    opened: Session, work: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_tokens(monkeypatch, 30)
    text = long_document(work)
    interrupt_at(memory, 6)
    report = ingest(opened, find(["long.txt"]), labels=Labels(tags=("book",)))
    (outcome,) = report.outcomes
    assert (outcome.status, outcome.chunks, outcome.reused, outcome.total) == ("partial", 6, 0, 9)
    assert report.interruption() == (
        "0 documents kept, long.txt is amortized to 66 %; run the same command to finish it"
    )
    assert report.as_dict()["partial"] == 1 and report.chunks == 6 and report.changed
    assert opened.store is not None
    document = opened.store.document(str(work / "long.txt"))
    assert document is not None and document.partial
    assert (document.chunks, document.expected, document.tags) == (6, 9, ("book",))
    rows = opened.store.chunks(document.id)
    assert [row.position for row in rows] == list(range(6))
    assert ask(opened, "What of Sentence3?", Options(k=1)).sources[0].chunk == 3
    memory.before_amortize = lambda texts: None
    memory.calls.clear()
    with Session(opened.choice) as again:
        assert ingest(again, find(["long.txt"]), dry_run=True).number("updated") == 1
        (outcome,) = ingest(again, find(["long.txt"])).outcomes
        assert (outcome.status, outcome.chunks, outcome.reused) == ("updated", 3, 6)
        assert [n for call, n in memory.calls if call == "amortize"] == [2, 1]
        assert again.store is not None
        document = again.store.document(str(work / "long.txt"))
        assert document is not None and not document.partial
        rows = again.store.chunks(document.id)
        assert [row.text for row in rows] == text.split("\n\n")
        assert ingest(again, find(["long.txt"])).number("unchanged") == 1


def test_a_document_that_changed_after_an_interruption_keeps_what_it_still_has(
    opened: Session, work: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_tokens(monkeypatch, 30)
    parts = long_document(work).split("\n\n")
    interrupt_at(memory, 4)
    ingest(opened, find(["long.txt"]))
    memory.before_amortize = lambda texts: None
    (work / "long.txt").write_text("\n\n".join([paragraph(50), *parts[1:]]))
    (outcome,) = ingest(opened, find(["long.txt"])).outcomes
    assert (outcome.status, outcome.chunks, outcome.reused) == ("updated", 6, 3)
    assert opened.store is not None and opened.store.stats().partial == 0
    assert opened.store.search("Sentence0") == []


def test_a_renamed_part_of_a_document_is_finished(
    opened: Session, work: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_tokens(monkeypatch, 30)
    (work / "docs").mkdir()
    long_document(work / "docs")
    interrupt_at(memory, 4)
    sync.sync(opened, sync.survey(opened, ["docs"]))
    memory.before_amortize = lambda texts: None
    (work / "docs" / "long.txt").rename(work / "docs" / "other.txt")
    report = sync.sync(opened, sync.survey(opened, ["docs"]))
    assert [(o.status, o.chunks, o.reused) for o in report.outcomes] == [("updated", 5, 4)]
    assert opened.store is not None
    (document,) = opened.store.documents()
    assert document.source == str(work / "docs" / "other.txt") and not document.partial


def test_another_process_that_writes_the_same_document_meanwhile(
    opened: Session, work: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_tokens(monkeypatch, 30)
    text = long_document(work)

    def meanwhile(texts: Sequence[str]) -> None:
        if any("Sentence6 " in text for text in texts):
            memory.before_amortize = lambda texts: None
            with Session(opened.choice) as other:
                ingest(other, find(["long.txt"]))

    memory.before_amortize = meanwhile
    report = ingest(opened, find(["long.txt"]))
    assert report.number("added", "updated") == 1
    assert opened.store is not None
    (document,) = opened.store.documents()
    assert not document.partial
    assert [row.text for row in opened.store.chunks(document.id)] == text.split("\n\n")


def test_a_store_of_another_checkpoint_is_refused_before_the_model_is_loaded(
    opened: Session, work: Path, memory: FakeMemory, tmp_path: Path
) -> None:
    names = write(work, 1)
    ingest(opened, find(names))
    memory.calls.clear()
    other = make_checkpoint(tmp_path / "other", seed=1)
    with (
        Session(StoreAndModel(opened.choice.store, other, "other")) as session,
        pytest.raises(FingerprintMismatchError),
    ):
        ingest(session, find(names))
    assert memory.calls == []


def test_progress_reaches_the_size_of_the_files(
    opened: Session, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_tokens(monkeypatch, 30)
    advanced: list[int] = []

    class Progress:
        def advance(self, amount: int) -> None:
            advanced.append(amount)

    items = find(write(work, 3, 5))
    (work / "empty.txt").touch()
    ingest(opened, items, progress=Progress())
    assert sum(advanced) == sum(path.stat().st_size for path in work.iterdir())
    assert min(advanced) >= 0
