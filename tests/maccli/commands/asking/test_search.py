"""`mac search`, from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ...conftest import FakeMemory, Ran, make_checkpoint, pipe

Mac = Callable[..., Ran]
QUESTION = "Who opened the bridge?"


def test_passages_whole_with_their_place_and_score(mac: Mac, stored: Path) -> None:
    ran = mac("search", "Who", "opened", "the bridge?", "-k", "1")
    assert (ran.code, ran.err) == (0, "")
    place, text = ran.out.splitlines()
    assert place.startswith("bridge.txt, line 1  ")
    assert float(place.split()[-1]) != 0
    assert text == "Varnholt is small. The bridge was opened by Ida Brandt."
    both = mac("search", "bridge prize", "-k", "2").out
    assert both.startswith('prize.md, "Prizes", line 3  ') and "\n\nbridge.txt, line 1  " in both


def test_the_matching_part_is_marked_for_people(
    mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = "\x1b[1;4mThe bridge was opened by Ida Brandt.\x1b[0m"
    assert marked in mac("search", QUESTION, "-k", "1", "--color").out
    monkeypatch.setattr("maccli.output.sys.stdout", Terminal())
    for name in ("NO_COLOR", "CLICOLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert shown(mac) == marked
    for name, value in (("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert shown(mac) == "[The bridge was opened by Ida Brandt.]"
    assert shown(mac, "--no-color") == "The bridge was opened by Ida Brandt."


class Terminal:
    """What `sys.stdout` is when somebody looks at it, but what is written there is captured."""

    def isatty(self) -> bool:
        return True

    def __getattr__(self, name: str) -> object:
        return getattr(sys.__stdout__, name)


def shown(mac: Mac, *args: str) -> str:
    import click

    lines: list[str] = []
    echo = click.echo
    try:
        click.echo = lambda line="", **_: lines.append(str(line))  # type: ignore[assignment]
        mac("search", QUESTION, "-k", "1", *args)
    finally:
        click.echo = echo
    return lines[-1].rstrip("\n").removeprefix("Varnholt is small. ")


def test_json(mac: Mac, stored: Path) -> None:
    (passage,) = mac("search", QUESTION, "-k", "1", "--json").json
    assert list(passage) == [
        *("source", "title", "heading", "place", "chunk", "start", "end", "text"),
        *("score", "weight", "match_start", "match_end", "stale", "also"),
    ]
    assert passage["source"] == str(stored / "bridge.txt")
    part = passage["text"][passage["match_start"] : passage["match_end"]]
    assert part == "The bridge was opened by Ida Brandt."
    lines = mac("search", "bridge prize", "-k", "2", "--nl").out.splitlines()
    assert len(lines) == 2 and all(json.loads(line)["weight"] <= 1 for line in lines)


def test_many_questions(mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, f"{QUESTION}\n\nWho won the poetry prize?\n")
    ran = mac("search", "-", "--nl", "-k", "1")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["question"] for row in rows] == [QUESTION, "Who won the poetry prize?"]
    assert [Path(row["source"]).name for row in rows] == ["bridge.txt", "prize.md"]
    pipe(monkeypatch, QUESTION)
    assert mac("search", "-", "-k", "1").out.startswith(f"> {QUESTION}\nbridge.txt, line 1  ")
    pipe(monkeypatch, f"{'why so ' * 9000}\n{QUESTION}\n")
    ran = mac("search", "-", "--json", "-k", "1")
    assert (ran.code, len(ran.json)) == (1, 1)
    assert ran.err.startswith("Error: The question has 62,999 characters")


def test_nothing_found_is_exit_code_3(mac: Mac, stored: Path) -> None:
    ran = mac("search", QUESTION, "--tag", "nowhere")
    assert (ran.code, ran.out, ran.err) == (3, "", "Nothing found.\n")
    assert mac("search", QUESTION, "--until", "1999-01-01", "--json").out == "[]\n"


def test_an_empty_store_is_told(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("search", "Who?")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[1] == "Hint: Ingest something first: mac ingest FILES"
    assert memory.calls == []


def test_tags_choose(mac: Mac, stored: Path) -> None:
    assert mac("ingest", "prize.md", "--tag", "poetry").code == 0
    (passage,) = mac("search", QUESTION, "--tag", "poetry", "--json").json
    assert Path(passage["source"]).name == "prize.md"


def test_no_language_model_is_asked(mac: Mac, stored: Path, memory: FakeMemory) -> None:
    memory.calls.clear()
    assert mac("search", QUESTION).code == 0
    assert {name for name, _ in memory.calls} <= {"load"}


def test_several_stores_are_searched_as_one(mac: Mac, stored: Path) -> None:
    assert mac("ingest", "bridge.txt", "--store", "bridges").code == 0
    (stored / "elm.txt").write_text("The bridge over the Elm is long.")
    assert mac("ingest", "elm.txt", "--store", "rivers").code == 0
    both = ("--store", "bridges", "--store", "rivers", "--store", "bridges")
    found = mac("search", QUESTION, "--json", *both).json
    assert [passage["source"].split("/")[-1] for passage in found] == ["bridge.txt", "elm.txt"]
    ran = mac("search", QUESTION, "--store", "bridges", "--store", "none")
    assert ran.code == 1 and "none" in ran.err


def test_stores_of_another_checkpoint_are_not_searched_with_it(
    mac: Mac, stored: Path, tmp_path: Path
) -> None:
    other = make_checkpoint(tmp_path / "other", base_lm="another")
    assert mac("ingest", "prize.md", "--store", "prizes", "-m", str(other)).code == 0
    assert mac("ingest", "bridge.txt", "--store", "bridges").code == 0
    ran = mac("search", QUESTION, "--store", "bridges", "--store", "prizes")
    assert ran.code == 1 and "prizes was written with checkpoint" in ran.err
