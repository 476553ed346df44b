"""The log of questions: kept, bounded, cleared, and in the way of nothing."""

import os
import shutil
import sqlite3
import time
from contextlib import closing

import pytest

from store import Store, StoreCorruptError, StoreError, log
from store.care.repair import repair
from store.care.vacuum import vacuum
from store.care.verify import verify as problems_of
from store.index import schema
from store.moving.export import copy, export
from store.moving.load import load
from tests.store import samples
from tests.store.index.test_opening import sql
from tests.store.old import age
from tests.store.samples import put, verify

SOURCE = log.LogSource("notes.md", "Guide > Retention", "line 4", 10, 30, 0.75)


def ask(store, question="Who won?", answer="Tomas Reyl", **fields):
    values = {"outcome": "answer", "probability": 0.96, "model": "tiny", "seconds": 1.5}
    values |= {"sources": [SOURCE], **fields}
    log.record(store, question=question, answer=answer, **values)


def questions(store, **how):
    return [entry.question for entry in log.entries(store, **how)]


def holds(folder, text):
    """Whether a text stands in a folder's files, as bytes."""
    return any(text.encode() in file.read_bytes() for file in folder.iterdir())


def test_a_question_is_kept_with_its_answer_and_sources(store):
    ask(store)
    ask(store, "Où ?", "", outcome="not sure", probability=None, sources=[])
    newest, oldest = log.entries(store)
    assert (newest.question, newest.answer, newest.outcome) == ("Où ?", "", "not sure")
    assert (newest.probability, newest.sources) == (None, ())
    assert (oldest.question, oldest.answer, oldest.model) == ("Who won?", "Tomas Reyl", "tiny")
    assert (oldest.probability, oldest.seconds, oldest.sources) == (0.96, 1.5, (SOURCE,))
    assert oldest.id < newest.id and oldest.asked_at.endswith("+00:00")


def test_it_is_read_in_pages_and_searched(store):
    for n in range(5):
        ask(store, f"Question {n}?", f"ÄRGER {n}")
    assert questions(store, limit=2) == ["Question 4?", "Question 3?"]
    last = log.entries(store, limit=2)[-1].id
    assert questions(store, limit=2, before=last) == ["Question 2?", "Question 1?"]
    assert questions(store, match="QUESTION 3") == ["Question 3?"]
    assert questions(store, match="ärger 1") == ["Question 1?"]
    assert questions(store, match="%") == []
    assert questions(store, limit=0) == []


def test_the_oldest_go(store, monkeypatch):
    monkeypatch.setattr(log, "MOST", 3)
    for n in range(5):
        ask(store, str(n))
    assert questions(store) == ["4", "3", "2"]
    log.clear(store)
    ask(store, "5")
    assert questions(store) == ["5"]


def test_a_row_is_not_too_long_and_valid_unicode(store):
    many = [log.LogSource("n" * 9999, "", "half \ud800", n, n, 0.0) for n in range(50)]
    ask(store, "q" * 9999, "a\ud800", sources=many)
    (entry,) = log.entries(store)
    assert entry.question == "q" * 3999 + "…"
    assert entry.answer == "a?"
    assert [source.start for source in entry.sources] == list(range(12))
    assert entry.sources[0].source == "n" * 3999 + "…" and entry.sources[0].place == "half ?"


def test_a_removed_document_stays_in_it(store):
    put(store, "notes.md", count=2)
    ask(store)
    store.remove("notes.md")
    (entry,) = log.entries(store)
    assert entry.sources == (SOURCE,)


def test_a_busy_store_is_not_waited_for(store, path):
    store.connection.execute("PRAGMA busy_timeout = 20000")
    with closing(sqlite3.connect(path / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        ask(store, "lost")
        assert time.monotonic() - begun < 5
        other.execute("ROLLBACK")
    assert store.connection.execute("PRAGMA busy_timeout").fetchone() == (20000,)
    ask(store, "kept")
    with store.snapshot():
        ask(store, "in a snapshot")
    assert questions(store) == ["kept"]


def test_a_store_that_cannot_be_written_is_left_alone(path, monkeypatch):
    with samples.create(path) as store:
        ask(store, "before")
    monkeypatch.setattr("store.index.connection._writable", lambda _: False)
    with Store.open(path) as store:
        ask(store, "after")
        assert questions(store) == ["before"]
        with pytest.raises(StoreError, match="No permission to write"):
            log.clear(store)


def test_a_full_disk_does_not_matter(store):
    ask(store, "before")
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(20):
        ask(store, "q" * 3000)
    store.connection.execute("PRAGMA max_page_count = 100000")
    kept = len(questions(store))
    assert kept < 21
    ask(store, "after")
    assert len(questions(store)) == kept + 1


def test_clearing_leaves_no_trace_in_the_files(store, path):
    # Some builds of SQLite overwrite whatever is deleted; the log must not depend on that.
    store.connection.execute("PRAGMA secure_delete = OFF")
    put(store, "a", count=2)
    for n in range(40):
        ask(store, f"the secret of question {n}", "the hidden answer " * 100)
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    ask(store, "the secret of the last question")
    assert holds(path, "the secret") and holds(path, "the hidden")
    assert log.clear(store) == 41
    assert not holds(path, "the secret") and not holds(path, "the hidden")
    assert log.entries(store) == [] and log.clear(store) == 0
    assert store.connection.execute("PRAGMA secure_delete").fetchone() == (0,)
    assert verify(store) == {"a": 1}
    ask(store, "again")
    assert questions(store) == ["again"]


def test_the_oldest_leave_no_trace_either(store, path, monkeypatch):
    monkeypatch.setattr(log, "MOST", 2)
    store.connection.execute("PRAGMA secure_delete = OFF")
    for n in range(9):
        ask(store, f"the secret {n}", "filling " * 400)
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert [n for n in range(9) if holds(path, f"the secret {n}")] == [7, 8]


def test_caring_for_the_store_keeps_it(store, tmp_path):
    put(store, "a", count=3)
    put(store, "gone", count=3)
    ask(store)
    store.remove("gone")
    assert list(problems_of(store)) == []
    vacuum(store)
    repair(store)
    copy(store, tmp_path / "copy")
    assert questions(store) == ["Who won?"]
    with Store.open(tmp_path / "copy") as copied:
        assert questions(copied) == ["Who won?"]
        assert verify(copied) == {"a": 1}


@pytest.mark.parametrize("many", [1, 400])
def test_an_export_is_without_it_unless_that_is_wanted(store, tmp_path, many):
    put(store, "a", count=3)
    store.connection.execute("PRAGMA secure_delete = OFF")
    for n in range(many):
        ask(store, f"the secret of question {n}", "filling " * 200)
    export(store, tmp_path / "with", with_log=True)
    export(store, tmp_path / "without")
    assert b"the secret" in (tmp_path / "with").read_bytes()
    assert b"the secret" not in (tmp_path / "without").read_bytes()
    assert (tmp_path / "without").stat().st_size < 200_000
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bank", "with", "without"]
    for file in ("with", "without"):
        assert load(tmp_path / f"from {file}", tmp_path / file).added == 1
        with Store.open(tmp_path / f"from {file}") as imported:
            assert verify(imported) == {"a": 1}
            assert log.entries(imported) == []
    assert len(questions(store)) == many


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_store_gets_one(path, tmp_path, version, monkeypatch):
    with samples.create(path) as store:
        put(store, "a", count=3)
    age(path, version)
    shutil.copytree(path, tmp_path / "old")
    monkeypatch.setattr("store.index.connection._writable", lambda _: False)
    with Store.open(path) as store:
        assert store.stats().schema_version == version
        ask(store)
        assert log.entries(store) == [] and list(problems_of(store)) == []
        export(store, tmp_path / "exported")
        copy(store, tmp_path / "copy")
    monkeypatch.undo()
    assert load(tmp_path / "new", tmp_path / "exported").added == 1
    for folder in (path, tmp_path / "copy"):
        with Store.open(folder) as store:
            assert store.stats().schema_version == schema.VERSION == 3
            assert list(problems_of(store)) == []
            ask(store)
            assert questions(store) == ["Who won?"]
            assert verify(store) == {"a": 1}


def test_a_store_that_lost_it_is_damaged(path):
    samples.create(path).close()
    sql(path, "DROP TABLE questions")
    with pytest.raises(StoreCorruptError, match="lacks questions"):
        Store.open(path)


@pytest.mark.parametrize(
    "change",
    [
        "sources = 'no JSON'",
        "sources = 'null'",
        """sources = '[{"source": "a"}]'""",
        """sources = '["a"]'""",
        "sources = '" + "[" * 100_000 + "'",
        "sources = x'ff'",
        "seconds = 'long'",
        "seconds = 9e999",
        "probability = x'00'",
    ],
)
def test_a_row_that_another_program_wrote_is_refused(store, path, change):
    ask(store)
    sql(path, f"UPDATE questions SET {change}")
    with pytest.raises(StoreCorruptError, match="question 1 of its log cannot be read") as caught:
        log.entries(store)
    assert "mac log --clear" in caught.value.hint
    assert log.clear(store) == 1
    assert log.entries(store) == []


def test_bytes_in_place_of_a_text_are_shown_as_such(store, path):
    ask(store)
    sql(path, "UPDATE questions SET question = x'ff00'")
    assert questions(store) == [r"b'\xff\x00'"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_while_it_is_written_or_cleared(path):
    samples.create(path).close()
    for seconds in (0.02, 0.05, 0.1):
        child = os.fork()
        if not child:
            with Store.open(path) as store:
                for n in range(10**6):
                    ask(store, f"{n}")
                    if n % 7 == 6:
                        log.clear(store)
        time.sleep(seconds)
        os.kill(child, 9)
        os.waitpid(child, 0)
        with Store.open(path) as store:
            assert list(problems_of(store)) == []
            numbers = [int(question) for question in questions(store)]
            assert numbers == sorted(numbers, reverse=True)
