"""`mac log`, and which questions are kept."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maccli import Mac as Memory
from maccli.plugins.tools import Tools

from ...conftest import FakeMemory, FakeStream, Ran, pipe

Mac = Callable[..., Ran]
QUESTION = "Who opened the bridge?"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mac-home" / "store"


def questions(mac: Mac, *args: str) -> list[str]:
    return [entry["question"] for entry in mac("log", "--json", *args).json]


def test_questions_are_shown_with_answers_and_sources(mac: Mac, stored: Path) -> None:
    mac("ask", QUESTION, "-k", "1")
    mac("ask", "Completely different words?")
    ran = mac("log")
    assert (ran.code, ran.err) == (0, "")
    first, answer, source, second, excuse, nearest = ran.out.splitlines()
    assert first[4] == "-" and first[16:] == f"  {QUESTION}"
    assert (answer, source) == ("  An answer from 1.", "  bridge.txt, line 1")
    assert second[16:] == "  Completely different words?"
    assert excuse == "  Nothing relevant found." and nearest.startswith("  ")


def test_the_log_as_json(mac: Mac, stored: Path) -> None:
    said = mac("ask", QUESTION, "--json").json
    (entry,) = mac("log", "--json").json
    assert entry["asked_at"].endswith("+00:00") and entry["seconds"] >= 0
    for name in ("question", "answer", "outcome", "probability", "model"):
        assert entry[name] == said[name]
    wanted = ("source", "heading", "place", "start", "end", "weight")
    by_weight = [{name: source[name] for name in wanted} for source in said["sources"]]
    assert entry["sources"] == by_weight
    mac("ask", "Who won the poetry prize?")
    lines = [json.loads(line) for line in mac("log", "--nl").out.splitlines()]
    assert [line["question"] for line in lines] == [QUESTION, "Who won the poetry prize?"]
    assert questions(mac, "-n", "1") == ["Who won the poetry prize?"]
    assert questions(mac, "--match", "BRIDGE") == [QUESTION]
    assert mac("log", "--match", "zebra").err == "No question matches.\n"


def test_twenty_are_shown_unless_more_are_asked_for(
    mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, "".join(f"Who opened bridge {n}?\n" for n in range(22)))
    assert mac("ask", "-", "--nl").code == 0
    assert questions(mac)[0] == "Who opened bridge 2?" and len(questions(mac)) == 20
    assert len(questions(mac, "--limit", "100")) == 22


def test_an_empty_log(mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mac("log").err == "The log is empty.\n"
    assert (mac("log", "--json").out, mac("log", "--nl").out) == ("[]\n", "")
    monkeypatch.setenv("MAC_LOG", "off")
    assert mac("log").err == "The log is empty, and off: see mac config show.\n"
    missing = str(stored / "none")
    ran = mac("log", "--store", missing)
    assert (ran.code, ran.err) == (0, f"There is no store in {missing}.\n")
    assert mac("log", "--json", "--store", missing).out == "[]\n"
    assert mac("log", "--clear", "--yes", "--store", missing).code == 0
    assert not (stored / "none").exists()


@pytest.mark.parametrize("how", ["variable", "file"])
def test_it_can_be_switched_off(
    mac: Mac, stored: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "file":
        (folder.parent / "config.toml").write_text('log = "off"')
    else:
        monkeypatch.setenv("MAC_LOG", "off")
    assert mac("ask", QUESTION).code == 0
    assert questions(mac) == []


def test_a_wrong_setting_is_refused_before_the_work(
    mac: Mac, stored: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.calls.clear()
    monkeypatch.setenv("MAC_LOG", "maybe")
    ran = mac("ask", QUESTION)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "Error: log must be one of on, off, not 'maybe' (from MAC_LOG).\n"
    assert memory.calls == []


def test_what_is_not_kept(
    mac: Mac, stored: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mac("search", QUESTION).code == 0
    assert mac("ask", " ").code == 2
    none = str(stored / "none")
    assert mac("ask", QUESTION, "--mode", "closed-book", "--store", none).code == 0
    assert questions(mac) == [] and not (stored / "none").exists()
    assert mac("ask", "Who are you?", "--mode", "closed-book").code == 0
    assert questions(mac) == ["Who are you?"]


def test_another_models_store_does_not_spoil_an_answer(
    mac: Mac, stored: Path, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"other weights")
    assert mac("ask", QUESTION).code == 1
    ran = mac("ask", QUESTION, "--mode", "closed-book")
    assert (ran.code, ran.err) == (0, "") and "An answer from 0." in ran.out
    assert questions(mac) == []


def test_a_busy_or_a_read_only_store_does_not_spoil_an_answer(
    mac: Mac, stored: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(folder / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        ran = mac("ask", QUESTION)
        assert (ran.code, ran.err) == (0, "") and "An answer from 2." in ran.out
        assert time.monotonic() - begun < 20  # the patience of other commands is 30 s
        other.execute("ROLLBACK")
    monkeypatch.setattr("store.index.connection._writable", lambda _: False)
    assert mac("ask", QUESTION).code == 0
    assert questions(mac) == []
    assert mac("log", "--clear", "--yes").code == 1


def test_other_ways_to_ask_are_kept_too(mac: Mac, stored: Path) -> None:
    with Memory() as memory:
        memory.ask("From Python: who opened the bridge?")
        Tools(memory).ask("From a larger model: who opened the bridge?")
        newest, oldest = memory.log()
        assert newest.question.startswith("From a larger model")
        assert memory.log(before=newest.id) == [oldest]
    assert len(questions(mac)) == 2


def test_the_plugin_for_llm_is_kept_too(mac: Mac, stored: Path) -> None:
    llm = pytest.importorskip("llm")
    from maccli.plugins.llm import MacModel

    assert isinstance(MacModel(), llm.Model)
    assert MacModel().prompt(QUESTION).text()
    assert questions(mac) == [QUESTION]


def test_the_source_that_says_the_answer_comes_first(
    mac: Mac, stored: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream: Any = lambda *_, **__: FakeStream(["Tomas Reyl"], [], 1)  # noqa: E731
    monkeypatch.setattr(memory, "answer", stream)
    mac("ask", QUESTION)
    (entry,) = mac("log", "--json").json
    first, second = entry["sources"]
    assert first["source"].endswith("prize.md") and first["weight"] < second["weight"]


def test_a_removed_document_is_still_named(mac: Mac, stored: Path) -> None:
    mac("ask", QUESTION, "-k", "1")
    mac("store", "rm", "bridge.txt", "--yes")
    assert "bridge.txt, line 1" in mac("log").out


def test_a_terminal_obeys_nothing_in_it(
    mac: Mac, stored: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "\x1b[2J\u202eevil\nmac rm\ttext"
    monkeypatch.setattr(memory, "answer", lambda *_, **__: FakeStream([evil], [], 1))
    (stored / "\x1b]0;name.txt").write_text("The tunnel was opened by Ada Holm.")
    mac("ingest", "\x1b]0;name.txt")
    mac("ask", "Who opened the \x1b[31mtunnel\nyesterday?")
    ran = mac("log")
    assert len(ran.out.splitlines()) == 3
    for out in (ran.out, mac("log", "--json").out, mac("log", "--nl").out):
        assert "\x1b" not in out and "\u202e" not in out
    assert mac("log", "--json").json[0]["answer"] == evil


def test_clearing_asks_first(mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mac("ask", QUESTION)
    refused = mac("log", "--clear")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.splitlines() == [
        "Error: Nothing was removed: there is no terminal to ask on.",
        "Hint: Add --yes to remove without asking.",
    ]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    for answer in ("n", "y"):
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda _, a=answer: a)
        assert len(questions(mac)) == 1
        ran = mac("log", "--clear")
        assert ran.code == (0 if answer == "y" else 130)
    assert ran.err.endswith("Removed 1 question from the log.\n")
    assert questions(mac) == []
    assert mac("log", "--clear", "--yes").err == "Removed 0 questions from the log.\n"


@pytest.mark.parametrize("more", [("--json",), ("--nl",), ("--match", "x"), ("-n", "1")])
def test_clearing_is_all_or_nothing(mac: Mac, stored: Path, more: tuple[str, ...]) -> None:
    mac("ask", QUESTION)
    ran = mac("log", "--clear", "--yes", *more)
    assert ran.code == 2 and "goes without other options" in ran.err
    assert len(questions(mac)) == 1


def test_a_damaged_log_is_one_line_and_can_be_cleared(mac: Mac, stored: Path, folder: Path) -> None:
    mac("ask", QUESTION)
    with closing(sqlite3.connect(folder / "index.db")) as connection, connection:
        connection.execute("UPDATE questions SET sources = 'x'")
    ran = mac("log")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        f"Error: The store {folder} is damaged: question 1 of its log cannot be read",
        "Hint: Empty the log: mac log --clear",
    ]
    assert mac("log", "--clear", "--yes").code == 0
    assert mac("log").err == "The log is empty.\n"


def test_an_export_leaves_it_out_unless_asked(mac: Mac, stored: Path, tmp_path: Path) -> None:
    mac("ask", QUESTION)
    assert mac("store", "export", "without.mac").code == 0
    assert mac("store", "export", "with.mac", "--with-log").code == 0
    assert QUESTION.encode() not in (stored / "without.mac").read_bytes()
    assert QUESTION.encode() in (stored / "with.mac").read_bytes()
    other = ("--store", str(tmp_path / "other"))
    assert mac("store", "import", "with.mac", *other).out == "2 documents: 2 added.\n"
    assert questions(mac, *other) == []
    assert mac("store", "copy", "copied").code == 0
    assert questions(mac, "--store", "copied") == [QUESTION]
    for command in ("verify", "vacuum", "stats"):
        assert mac("store", command).code == 0
    assert questions(mac) == [QUESTION]
