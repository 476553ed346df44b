"""`mac ask`, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import FakeMemory, Ran, pipe

Mac = Callable[..., Ran]


def test_ask_writes_answer_and_sources(mac: Mac, stored: Path) -> None:
    ran = mac("ask", "Who", "opened", "the bridge?", "-k", "1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "An answer from 1.\n\nSources:\n"
        "  1.00  bridge.txt[19:55]  The bridge was opened by Ida Brandt.\n"
    )
    assert mac("ask", "Who opened the bridge?", "-k", "1", "--no-stream").out == ran.out
    assert mac("ask", "Who opened the bridge?", "--quiet").out == "An answer from 2.\n"
    timed = mac("ask", "Who opened the bridge?", "-v")
    assert timed.err.startswith("load 0.0") and "generate 0.0" in timed.err


def test_ask_as_json(mac: Mac, stored: Path) -> None:
    answer = mac("ask", "Who opened the bridge?", "--json", "--seed", "7").json
    assert list(answer) == [
        "question",
        "answer",
        "abstained",
        "sources",
        "prefix_tokens",
        "timings",
        "model",
        "seed",
    ]
    assert list(answer["sources"][0]) == ["source", "chunk", "start", "end", "weight", "text"]
    assert list(answer["timings"]) == ["load", "encode", "aggregate", "generate"]
    assert (answer["seed"], answer["abstained"]) == (7, False)


def test_an_adapter_is_exported_once(mac: Mac, stored: Path, memory: FakeMemory) -> None:
    question = "Who opened the bridge?"
    ran = mac("ask", question, "-k", "1", "--export-adapter", "adapter")
    assert (ran.code, ran.err) == (0, "The modulation is in adapter, as an adapter for peft.\n")
    assert ("export", 1) in memory.calls
    (stored / "adapter" / "mine.txt").touch()
    (stored / "file").touch()
    memory.calls.clear()
    for folder in ("adapter", "file"):
        ran = mac("ask", question, "--export-adapter", folder)
        assert ran.code == 2
        assert f"There is something in {folder} already." in ran.err
    assert memory.calls == []  # refused before the model is loaded
    for options in (("-",), (question, "--mode", "rag")):
        ran = mac("ask", *options, "--export-adapter", "other")
        assert ran.code == 2
        assert "--export-adapter is for one question with --mode mac." in ran.err
    assert mac("ask", "zebra okapi", "--export-adapter", "other").code == 3
    assert not (stored / "other").exists()


def test_without_documents_there_is_no_adapter(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("ask", "Who?", "--export-adapter", "adapter")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("Error: There is no modulation to export")


def test_nothing_relevant_is_exit_code_3(mac: Mac, stored: Path) -> None:
    ran = mac("ask", "zebra okapi")
    assert ran.code == 3
    assert ran.out.startswith("Nothing relevant found in 2 documents.\n\nNearest sources:\n")
    ran = mac("ask", "zebra okapi", "--json")
    assert (ran.code, ran.json["abstained"], ran.json["answer"]) == (3, True, "")


def test_an_empty_store_is_told(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("ask", "Who?")
    assert (ran.code, ran.out) == (0, "An answer from 0.\n")
    assert "is empty: this is the base model's own answer." in ran.err


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
