"""`mac ingest`, from the command line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from maccli import cli
from maccli.reading import items, loaders
from maccli.reading.encodings import Refused
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


# one bad file


def break_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A reader that has a fault, which one file brings to light."""
    real = loaders.load

    def load(path: Path, encoding: str | None = None) -> loaders.Loaded:
        if path.name == name:
            raise KeyError("colspan")
        return real(path, encoding)

    monkeypatch.setattr(loaders, "load", load)


def test_a_fault_of_ours_is_told_and_stops_nothing(
    mac: Mac, docs: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_on(monkeypatch, "b.txt")
    for command in (("ingest", "docs"), ("ingest", "--sync", "docs")):
        ran = mac(*command)
        assert ran.code == 1
        assert "2 added" in ran.out or "2 unchanged" in ran.out
        assert ran.err == (
            "Error: docs/b.txt: bug in mac: KeyError: 'colspan' (run with -v for the traceback)\n"
        )


def test_the_traceback_of_a_fault_is_shown_with_v(
    work: Path,
    memory: FakeMemory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (work / "b.txt").write_text("Some text.")
    break_on(monkeypatch, "b.txt")
    assert cli.run(["ingest", "b.txt", "-v"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "Error: b.txt: bug in mac: KeyError: 'colspan'"
    assert told[1] == "Traceback (most recent call last):"
    assert told[-1] == "KeyError: 'colspan'"


def test_a_document_that_cannot_be_read_any_more_is_told(
    mac: Mac, work: Path, memory: FakeMemory
) -> None:
    (work / "a.txt").write_text("One sentence.")
    mac("ingest", "a.txt")
    (work / "a.txt").write_bytes(bytes(range(256)) * 9)
    ran = mac("ingest", "a.txt")
    assert ran.code == 1
    assert ran.err == (
        "Error: a.txt: cannot be read any more (is a binary file); the store holds its older text\n"
    )
    (work / "a.txt").write_text("")
    assert mac("ingest", ".").err == ("Error: a.txt: is empty; the store holds its older text\n")
    assert mac("store", "ls", "--json").json[0]["stale"] == "is empty"
    (work / "a.txt").write_text("One sentence.")
    assert mac("ingest", "a.txt", "--dry-run").code == 0
    assert mac("store", "ls", "--json").json[0]["stale"] == "is empty"
    assert mac("ingest", "a.txt").out.startswith("1 document: 1 unchanged.")
    assert mac("store", "ls", "--json").json[0]["stale"] is None


def test_what_cannot_be_read_in_a_folder_is_named_without_alarm(
    mac: Mac, docs: Path, memory: FakeMemory
) -> None:
    (docs / "broken").symlink_to("nowhere")
    os.mkfifo(docs / "pipe")
    ran = mac("ingest", "docs")
    assert ran.code == 0
    assert sorted(ran.err.splitlines()) == [
        "Skipped docs/broken: links to nothing",
        "Skipped docs/pipe: is not a regular file; use - to read from a pipe",
    ]
    ran = mac("ingest", "docs/broken", "docs/pipe")
    assert (ran.code, ran.err.count("Error: ")) == (1, 2)


# which files


def test_exclusions_add_to_those_of_the_config_file(
    mac: Mac, docs: Path, memory: FakeMemory, tmp_path: Path
) -> None:
    (tmp_path / "mac-home").mkdir(exist_ok=True)
    (tmp_path / "mac-home" / "config.toml").write_text("exclude = ['b.*']")
    assert mac("ingest", "docs", "--exclude", "deep").out.startswith("1 document: 1 added.")
    assert mac("ingest", "docs/b.txt", "--exclude", "*").out.startswith("1 document: 1 added.")
    assert mac("ingest", "docs", "--exclude", "!b.txt").out.startswith(
        "3 documents: 1 added, 2 unchanged."
    )
    dry = mac("ingest", "--sync", "docs", "--exclude", "a.txt", "--dry-run")
    assert dry.out.splitlines()[:2] == [
        "Would remove docs/a.txt: is excluded now",
        "Would remove docs/b.txt: is excluded now",
    ]


def test_a_document_is_found_by_every_path_to_its_file(
    mac: Mac, docs: Path, memory: FakeMemory
) -> None:
    (docs / "link.txt").symlink_to("a.txt")
    assert mac("ingest", "docs/link.txt").out.startswith("1 document: 1 added.")
    assert mac("ingest", "docs").out.startswith("3 documents: 2 added, 1 unchanged.")
    for name in ("docs/link.txt", "docs/../docs/a.txt", str(docs / "link.txt")):
        assert mac("store", "show", name, "--json").json["source"] == str(docs / "a.txt")
    assert mac("store", "rm", "docs/link.txt", "--yes").code == 0
    assert len(mac("store", "ls", "--json").json) == 2


def test_names_that_are_no_text(mac: Mac, work: Path, memory: FakeMemory) -> None:
    odd = os.fsdecode(b"caf\xe9.txt")
    (work / odd).write_text("The pier of Cor is old.")
    (work / "caf\\xe9.txt").write_text("The pier of Hov is new.")
    assert mac("ingest", ".").out.startswith("2 documents: 2 added.")
    assert mac("ingest", "--sync", ".").out.startswith("2 documents: 2 unchanged.")
    names = [row["source"] for row in mac("store", "ls", "--json").json]
    assert sorted(map(os.path.basename, names)) == ["caf\\x5cxe9.txt", "caf\\xe9.txt"]
    for name in (odd, "caf\\xe9.txt"):
        (piece,) = mac("store", "show", name, "--json").json["pieces"]
        assert piece["text"] == (work / name).read_text()


@pytest.mark.parametrize("args", [(), ("--sync",)])
def test_a_name_must_not_be_empty(
    mac: Mac, work: Path, memory: FakeMemory, args: tuple[str, ...]
) -> None:
    (work / "a.txt").write_text("One sentence.")
    assert mac("ingest", "a.txt", "--name", "", *args).code == 2


def test_the_help_names_the_formats(mac: Mac) -> None:
    shown = " ".join(mac("ingest", "-h").out.split())
    assert loaders.FORMATS in shown


# pages of the web


@dataclass(frozen=True)
class Fetched:
    """As `maccli.reading.web.fetch` returns it."""

    data: bytes
    name: str
    url: str
    media_type: str = "text/html"
    encoding: str | None = None


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fetched]:
    """The pages that there are."""
    pages: dict[str, Fetched] = {}

    def fetch(url: str) -> Fetched:
        if url not in pages:
            raise Refused("cannot be fetched: 404 Not Found")
        return pages[url]

    monkeypatch.setitem(sys.modules, "maccli.reading.web", SimpleNamespace(fetch=fetch))
    monkeypatch.setattr("maccli.reading.web", sys.modules["maccli.reading.web"], raising=False)
    return pages


URL, FINAL = "http://example.com/old", "https://example.com/new"


def test_a_page_is_a_document_by_its_final_url(
    mac: Mac, memory: FakeMemory, web: dict[str, Fetched]
) -> None:
    web[URL] = Fetched(b"<title>T</title><p>Some text.", "new.html", FINAL)
    ran = mac("ingest", URL, "http://example.com/none")
    assert ran.code == 1 and ran.out.startswith("2 documents: 1 added, 1 failed.")
    assert ran.err == "Error: http://example.com/none: cannot be fetched: 404 Not Found\n"
    assert mac("store", "show", FINAL, "--json").json["pieces"][0]["text"] == "Some text."
    assert mac("ingest", URL).out.startswith("1 document: 1 unchanged.")
    web[URL] = Fetched(b"<p>Other text.", "new.html", FINAL)
    assert mac("ingest", URL, "--name", "page").out.startswith("1 document: 1 added.")
    assert mac("ingest", URL).out.startswith("1 document: 1 updated.")
    web.clear()
    ran = mac("ingest", FINAL)
    assert (ran.code, ran.err) == (1, f"Error: {FINAL}: cannot be fetched: 404 Not Found\n")
    assert mac("store", "show", FINAL, "--json").json["stale"] is None


def test_a_server_that_is_wrong_about_the_encoding(
    mac: Mac, memory: FakeMemory, web: dict[str, Fetched]
) -> None:
    web[URL] = Fetched("<p>Öl für Köln".encode("cp1252"), "new.html", FINAL, encoding="utf-8")
    assert mac("ingest", URL).code == 0
    assert mac("store", "show", FINAL, "--json").json["pieces"][0]["text"] == "Öl für Köln"
    ran = mac("ingest", URL, "--encoding", "utf-8")
    assert ran.code == 1
    assert ran.err.startswith(f"Error: {URL}: ") and ran.err.count("\n") == 1


def test_a_dry_run_fetches_nothing(mac: Mac, memory: FakeMemory, web: dict[str, Fetched]) -> None:
    ran = mac("ingest", URL, "--dry-run")
    assert ran.code == 0
    assert ran.out.startswith(f"Would add {URL}\n")
    assert ran.err == f"Warning: {URL} is not fetched in a dry run\n"


@pytest.mark.parametrize("option", ["--sync", "--watch"])
def test_pages_cannot_be_followed(mac: Mac, memory: FakeMemory, option: str) -> None:
    ran = mac("ingest", option, URL)
    assert ran.code == 2
    assert f"{option} takes folders; {URL} is not a folder." in ran.err


def test_a_file_may_have_a_name_like_a_url(work: Path) -> None:
    (work / "https:" / "x").mkdir(parents=True)
    assert not items.is_url("https://x") and items.is_url("HTTPS://example.com")
