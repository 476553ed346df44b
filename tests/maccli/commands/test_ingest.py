"""`mac ingest`, from the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from maccli.service import amortizing

from ..conftest import FakeMemory, Ran, pipe

Mac = Callable[..., Ran]


def test_ingest_tells_what_it_did(mac: Mac, work: Path, memory: FakeMemory) -> None:
    (work / "a.txt").write_text("One sentence.")
    (work / "b.txt").write_bytes("Über Straßen und Wälder.".encode("cp1252"))
    (work / "c.txt").touch()
    ran = mac("ingest", "a.txt", "b.txt", "c.txt", "d.txt")
    assert ran.code == 1
    assert ran.out.startswith("4 documents: 2 added, 2 failed. 2 chunks, 6 tokens, ")
    assert sorted(ran.err.splitlines()) == sorted(
        [
            "Error: d.txt: no such file or folder",
            "Error: c.txt: is empty",
            "Warning: b.txt is not UTF-8; read as cp1252 (else use --encoding)",
        ]
    )
    again = mac("ingest", "a.txt", "-v")
    assert again.code == 0
    assert again.out.startswith("1 document: 1 unchanged. Took ")
    assert again.err == "Unchanged a.txt\n"


def test_ingest_as_json(mac: Mac, work: Path, memory: FakeMemory) -> None:
    (work / "a.txt").write_text("One sentence.")
    report = mac("ingest", "a.txt", "--json").json
    assert report["added"] == report["chunks"] == 1
    assert report["tokens"] == 2
    assert report["documents"][0]["source"] == str(work / "a.txt")
    assert mac("ingest", "a.txt", "--quiet").out == ""


def test_ingest_from_a_pipe(mac: Mac, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, "<html><title>T</title><p>Some text.")
    assert mac("ingest", "-", "--name", "page.html").code == 0
    document = mac("store", "show", "page.html", "--json").json
    assert (document["title"], document["pieces"][0]["text"]) == ("T", "Some text.")


def test_a_name_is_for_one_document(mac: Mac, work: Path, memory: FakeMemory) -> None:
    (work / "a.txt").write_text("One.")
    (work / "b.txt").write_text("Two.")
    ran = mac("ingest", "a.txt", "b.txt", "--name", "x")
    assert ran.code == 2
    assert ran.err == "Error: A name is for one document, not for 2.\n"


def test_an_interrupted_ingest_says_so(mac: Mac, work: Path, memory: FakeMemory) -> None:
    (work / "a.txt").write_text("One sentence.")

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    memory.before_amortize = interrupt
    ran = mac("ingest", "a.txt")
    assert ran.code == 130
    assert ran.err.splitlines() == [
        "Warning: interrupted; 0 documents kept; run the same command to finish it."
    ]


def test_a_folder_is_taken_with_everything_in_it(mac: Mac, work: Path, memory: FakeMemory) -> None:
    (work / "docs" / "deep").mkdir(parents=True)
    (work / "docs" / "a.txt").write_text("One sentence.")
    (work / "docs" / "deep" / "b.txt").write_text("Another sentence.")
    assert mac("ingest", "docs").out.startswith("2 documents: 2 added. ")
    for option in ("-r", "--recursive"):
        assert mac("ingest", option, "docs").out.startswith("2 documents: 2 unchanged. ")


def test_a_document_that_is_finished_later(
    mac: Mac, work: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amortizing, "GROUP_TOKENS", 1)
    sentences = [f"Sentence number {n} of this book tells of one more thing." for n in range(12)]
    (work / "book.txt").write_text(" ".join(sentences))
    calls: list[int] = []

    def interrupt(_: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    memory.before_amortize = interrupt
    ran = mac("ingest", "book.txt", "-v")
    assert ran.code == 130
    assert re.search(r"book.txt is amortized to \d+ %; run the same command", ran.err)
    assert re.search(r"^Amortized \d+ % of book.txt \(\d+ chunks?\)$", ran.err, re.M)
    (listed,) = mac("store", "ls", "--json").json
    assert listed["partial"] and 0 < listed["chunks"] < listed["expected"]
    note = r"\d+ % amortized; run mac ingest book.txt to finish"
    assert re.search(rf"book.txt \({note}\)$", mac("store", "ls").out, re.M)
    assert re.search(rf"^partial +{note}$", mac("store", "show", "book.txt").out, re.M)
    assert mac("store", "show", "book.txt", "--json").json["partial"] is True
    assert "partial      1 document; run mac ingest FILE to finish\n" in mac("store", "stats").out
    assert mac("ingest", "book.txt").code == 0
    assert mac("store", "ls", "--json").json[0]["partial"] is False
    assert "to finish" not in mac("store", "ls").out + mac("store", "stats").out
