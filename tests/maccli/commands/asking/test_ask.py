"""`mac ask`, from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maccli.output import Output
from models.errors import CheckpointError, ModelError

from ...conftest import FakeMemory, FakeStream, Ran, pipe

Mac = Callable[..., Ran]


def test_ask_writes_answer_and_sources(mac: Mac, stored: Path) -> None:
    ran = mac("ask", "Who", "opened", "the bridge?", "-k", "1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "An answer from 1.\n\nSource:\n  bridge.txt, line 1\n"
        "    Varnholt is small. The bridge was opened by Ida Brandt.\n"
    )
    assert mac("ask", "Who opened the bridge?", "--quiet").out == "An answer from 2.\n"
    timed = mac("ask", "Who opened the bridge?", "-v")
    assert timed.err.startswith("load 0.0") and "generate 0.0" in timed.err


def test_ask_as_json(mac: Mac, stored: Path) -> None:
    answer = mac("ask", "Who opened the bridge?", "--json").json
    assert list(answer) == [
        "question",
        "follows",
        "answer",
        "outcome",
        "probability",
        "threshold",
        "free",
        "request",
        "abstained",
        "sources",
        "prefix_tokens",
        "timings",
        "model",
    ]
    assert list(answer["sources"][0]) == [
        *("source", "title", "heading", "place", "chunk", "start", "end"),
        *("weight", "text", "passage", "marked", "stale", "also"),
    ]
    assert list(answer["timings"]) == ["load", "encode", "aggregate", "generate"]
    assert (answer["outcome"], answer["abstained"]) == ("answer", False)


def test_an_answer_says_how_likely_it_is_right(mac: Mac, stored: Path, memory: FakeMemory) -> None:
    rule = {"bias": 2.0, "surprise": 0.0, "support": 0.0, "lead": 0.0, "echo": 0.0, "above": 0.5}
    memory.config.confidence = rule
    sure = mac("ask", "Who opened the bridge?", "-k", "1")
    assert (sure.code, sure.out.splitlines()[:3]) == (
        0,
        ["An answer from 1.", "", "In its own words, 88 % sure. Source:"],
    )

    memory.config.confidence = rule | {"bias": -2.0}
    unsure = mac("ask", "Who opened the bridge?", "-k", "2")
    assert unsure.code == 0
    assert unsure.out.splitlines()[:3] == [
        "Not sure. This passage may hold it:",
        "  bridge.txt, line 1",
        "    Varnholt is small. The bridge was opened by Ida Brandt.",
    ]
    assert mac("ask", "Who opened the bridge?", "--strict").code == 3
    assert mac("ask", "Who opened the bridge?", "-q").out == "Not sure.\n"
    shown = mac("ask", "Who opened the bridge?", "--json").json
    assert (shown["outcome"], shown["answer"], shown["abstained"]) == ("not sure", "", True)
    assert (shown["probability"], shown["threshold"]) == (0.1192, 0.5)


def test_the_passage_is_the_one_that_says_the_answer(
    mac: Mac, stored: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: object, **__: object) -> FakeStream:
        return FakeStream(["Tomas Reyl"], [], 2)

    monkeypatch.setattr(memory, "answer", answer)
    lines = mac("ask", "Who opened the bridge?", "-k", "2").out.splitlines()
    assert lines[3:] == [
        '  prize.md, "Prizes", line 3',
        "    # Prizes",
        "    The poetry prize went to Tomas Reyl.",
        "",
        "Other passages:",
        "  bridge.txt, line 1  The bridge was opened by Ida Brandt.",
    ]
    said = mac("ask", "Who opened the bridge?", "-k", "2", "--json").json["sources"][1]
    low, high = said["marked"]
    assert said["passage"][low:high] == "Tomas Reyl"


def test_a_summary_is_not_invented(mac: Mac, stored: Path, memory: FakeMemory) -> None:
    asked = mac("ask", "Summarise prize.md")
    assert (asked.code, asked.out.splitlines()) == (
        0,
        [
            "I cannot summarise: I answer with words of one passage. The document says:",
            "  prize.md",
            "    line 3: The poetry prize went to Tomas Reyl.",
        ],
    )
    assert not [call for call in memory.calls if call[0] == "answer"]
    shown = mac("ask", "Give me an overview of who opened the bridge", "--json").json
    assert (shown["request"], shown["outcome"], shown["answer"]) == ("summary", "not sure", "")
    assert {Path(source["source"]).name for source in shown["sources"]} == {"bridge.txt"}
    assert mac("ask", "Summarise zebras.md").code == 3


def test_a_summary_of_what_has_no_sentences_shows_passages_with_their_names(
    mac: Mac, stored: Path, memory: FakeMemory
) -> None:
    (stored / "bridge.md").write_text("The bridge.")
    assert mac("ingest", "bridge.md").code == 0
    rule = {"bias": -9.0, "surprise": 0.0, "support": 0.0, "lead": 0.0, "echo": 0.0, "above": 0.5}
    memory.config.confidence = rule
    shown = mac("ask", "Summarise bridge.md", "--json").json
    assert (shown["request"], shown["outcome"]) == (None, "not sure")
    assert len({source["source"] for source in shown["sources"]}) > 1
    assert mac("ask", "Summarise bridge.md").out.startswith("Not sure. This passage may hold it:")


def test_a_comparison_shows_the_passages(mac: Mac, stored: Path) -> None:
    lines = mac("ask", "Compare the bridge and the poetry prize").out.splitlines()
    assert lines[0] == "I cannot compare: I answer with words of one passage. These may help:"
    assert [line.split(",")[0].strip() for line in lines if ", line" in line] == [
        "prize.md",
        "bridge.txt",
    ]


def test_one_thing_is_not_given_as_a_list(
    mac: Mac, stored: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = {"bias": 2.0, "surprise": 0.0, "support": 0.0, "lead": 0.0, "echo": 0.0, "above": 0.5}
    memory.config.confidence = rule
    said = ["Ida Brandt"]
    monkeypatch.setattr(memory, "answer", lambda *_, **__: FakeStream(said, [], 2))
    lines = mac("ask", "Which two people opened the bridge?").out.splitlines()
    assert lines[0] == "Not sure of all of them. This passage may hold them:"
    said[0] = "Ida Brandt and Otto Reyl"
    assert mac("ask", "Which two people opened the bridge?", "-q").out == f"{said[0]}\n"
    said[0] = "Ida Brandt"
    assert mac("ask", "Who opened the bridge?", "-q").out == "Ida Brandt\n"


def test_nothing_relevant_is_exit_code_3(mac: Mac, stored: Path) -> None:
    ran = mac("ask", "zebra okapi")
    assert ran.code == 3
    assert ran.out.startswith("Nothing relevant found in 2 documents.\n\nNearest passage:\n")
    ran = mac("ask", "zebra okapi", "--json")
    assert (ran.code, ran.json["abstained"], ran.json["answer"]) == (3, True, "")


@pytest.mark.parametrize("args", [("Who?",), ("-",), ("Who?", "--mode", "rag", "--json")])
def test_an_empty_store_is_told_before_anything_is_loaded(
    mac: Mac, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    pipe(monkeypatch, "Who?\nWhat?\n")
    ran = mac("ask", *args)
    assert ran.code == 3 and "Error" not in ran.out
    message, hint = ran.err.splitlines()
    assert message.startswith("Error: There is no store in ")
    assert hint == "Hint: Ingest something first: mac ingest FILES"
    assert memory.calls == []


def test_closed_book_needs_no_store(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("ask", "Who?", "--mode", "closed-book")
    assert (ran.code, ran.out, ran.err) == (0, "An answer from 0.\n", "")


def test_only_a_terminal_gets_the_answer_piece_by_piece(
    mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[str] = []
    text = Output.text

    def spy(self: Output, line: str = "", *, end: str = "\n", color: bool | None = None) -> None:
        pieces.append(line)
        text(self, line, end=end, color=color)

    monkeypatch.setattr(Output, "text", spy)
    piped = mac("ask", "Who opened the bridge?", "-q", "-k", "1").out
    assert pieces == ["An answer from 1."]
    pieces.clear()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert mac("ask", "Who opened the bridge?", "-q", "-k", "1").out == piped
    assert pieces[:3] == ["An", " answer", " from 1."]


def test_loading_is_told_on_a_terminal_only(
    mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Output, "_shows_bars", lambda self: not self.quiet)
    assert mac("ask", "Who opened the bridge?").err == "Loading the model ...\n"
    assert mac("ask", "Who opened the bridge?", "-q").err == ""


def test_options_come_from_the_settings(
    mac: Mac, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sources(*args: str) -> int:
        question = "Who opened the bridge and won the prize?"
        return len(mac("ask", question, "--json", *args).json["sources"])

    (tmp_path / "mac-home" / "config.toml").write_text("k = 1")
    assert sources() == 1
    monkeypatch.setenv("MAC_K", "2")
    assert sources() == 2
    assert sources("-k", "1") == 1
    monkeypatch.setenv("MAC_K", "many")
    ran = mac("ask", "Who?")
    assert (ran.code, ran.out) == (2, "")
    assert "Error: Invalid value for MAC_K: 'many' is not a valid integer range." in ran.err


@pytest.mark.parametrize("question", ["", "  ", "why so " * 10_000])
def test_questions_that_cannot_be_asked(mac: Mac, stored: Path, question: str) -> None:
    ran = mac("ask", question)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 2


def test_many_questions_load_the_model_once(
    mac: Mac, stored: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.calls.clear()
    pipe(monkeypatch, "Who opened the bridge?\n\n  \nWho won the poetry prize?")
    lines = mac("ask", "-", "--nl", "-k", "1").out.splitlines()
    assert [json.loads(line)["sources"][0]["chunk"] for line in lines] == [0, 0]
    assert memory.calls.count(("load", 1)) == 1
    pipe(monkeypatch, "Who opened the bridge?\nzebra okapi")
    ran = mac("ask", "-", "--json")
    assert ([answer["abstained"] for answer in ran.json], ran.code) == ([False, True], 0)
    pipe(monkeypatch, "")
    assert mac("ask", "-", "--json").json == []
    pipe(monkeypatch, "zebra okapi\n")
    assert mac("ask", "-").code == 3


def test_a_question_that_cannot_be_asked_does_not_stop_the_others(
    mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, f"{'why so ' * 9000}\nWho opened the bridge?\n")
    ran = mac("ask", "-", "-q")
    assert ran.code == 1
    assert ran.out.endswith("> Who opened the bridge?\nAn answer from 2.\n\n")
    assert ran.err.startswith("Error: The question has 62,999 characters")


@pytest.mark.parametrize("command", ["ask", "search", "chat"])
def test_a_question_that_the_model_refuses_does_not_stop_the_others(
    mac: Mac, stored: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    encode = memory.encode_question

    def refuse(question: str) -> Any:
        if "long" in question:
            raise ModelError("1,200 tokens are more than the 1,024 positions")
        if "broken" in question:
            raise CheckpointError("the checkpoint is damaged")
        return encode(question)

    monkeypatch.setattr(memory, "encode_question", refuse)
    many = () if command == "chat" else ("-",)
    pipe(monkeypatch, "How long is this?\nWho opened the bridge?\n")
    ran = mac(command, *many)
    assert (ran.code, ran.out.count("bridge.txt")) == (1, 1)
    assert ran.err.startswith("Error: 1,200 tokens are more than the 1,024 positions")
    pipe(monkeypatch, "Is it broken?\nWho opened the bridge?\n")
    ran = mac(command, *many)
    assert ran.code == 1 and "bridge.txt" not in ran.out
    pipe(monkeypatch, "")
    assert mac("search", "How long is this?").code == 1
