"""The studies of `mac eval` beside single methods, with tiny random networks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maccli.evaluation import methods
from models.evaluation import perplexity, questions
from models.evaluation.questions import Made

from .conftest import Ran

Mac = Callable[..., Ran]
pytestmark = pytest.mark.usefixtures("tiny")

DOCUMENTS = [
    ("The town of Varnholt opened a new bridge.", "Which town opened a new bridge?", "Varnholt"),
    ("The jury gave the prize to Tomas Reyl.", "Who got the prize?", "Tomas Reyl"),
    ("Heavy rain closed the northern road.", "What closed the northern road?", "Heavy rain"),
    ("Ida Brandt cut the ribbon at noon.", "Who cut the ribbon?", "Ida Brandt"),
    ("The poet was awarded a few words.", "Who was awarded a few words?", "The poet"),
]
ARTICLE = "The town opened a bridge. Rain closed the road. The jury met. The poet got a prize."


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def facts(path: Path, first: int = 0, last: int = 5) -> Path:
    return write(
        path,
        [
            {"id": f"q{n}", "doc_id": f"d{n}", "doc": doc, "question": asked, "answers": [answer]}
            for n, (doc, asked, answer) in enumerate(DOCUMENTS)
        ][first:last],
    )


def test_each_file_has_a_memory_of_its_own(
    mac: Mac, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [facts(work / "a.jsonl", 0, 3), facts(work / "b.jsonl", 3, 5)]
    options = ["eval", "--each", "--out", "each.json", "--method", "mac", "--method", "rag-bm25"]
    options += ["-k", "5", *(part for file in files for part in ("--data", str(file)))]
    real, calls = methods.answer, []

    def answer(*args: Any, **more: Any) -> Any:
        calls.append(args[2].name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **more)

    monkeypatch.setattr(methods, "answer", answer)
    assert mac(*options).code == 130
    kept = json.loads((work / "each.json").read_text())["each"]
    assert {name: len(part["rows"]) for name, part in kept.items()} == {"a.jsonl": 2, "b.jsonl": 1}
    ran = mac(*options, "--resume")
    assert ran.code == 0, ran.err
    assert len(calls) == 5
    result = json.loads((work / "each.json").read_text())
    assert {n: p["ingest"]["documents"] for n, p in result["each"].items()} == {
        "a.jsonl": 3,
        "b.jsonl": 2,
    }
    lines = [[cell.strip() for cell in line.split("|")] for line in ran.out.splitlines()]
    body = [(cells[1], cells[2], cells[3]) for cells in lines if len(cells) == 11][2:]
    assert body == [
        ("a.jsonl", "mac, k = 5", "3"),
        ("a.jsonl", "rag-bm25, k = 5", "3"),
        ("b.jsonl", "mac, k = 5", "2"),
        ("b.jsonl", "rag-bm25, k = 5", "2"),
        ("mean of files", "mac, k = 5", "5"),
        ("mean of files", "rag-bm25, k = 5", "5"),
    ]
    for part in result["each"].values():
        assert part["rows"][0]["found"] == 100
    (work / "below").mkdir()
    twice = facts(work / "below" / "a.jsonl")
    again = mac("eval", "--each", "--data", str(files[0]), "--data", str(twice))
    assert again.code == 2 and "Two of the data files are called a.jsonl" in again.err


def test_language_modelling(mac: Mac, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"doc_id": f"n{n}", "title": "T", "text": f"{n} towns. {ARTICLE}"} for n in range(4)]
    write(work / "news.jsonl", [*rows, {"doc_id": "short", "text": "One sentence."}])
    options = ["eval", "--language-modelling", "news.jsonl", "--out", "lm.json"]
    from maccli.evaluation.studies import language_modelling

    real, calls = perplexity.surprise, []

    def surprise(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(language_modelling, "surprise", surprise)
    assert mac(*options).code == 130
    assert mac(*options, "--resume", "--json").code == 0
    assert len(calls) == 5
    whole = json.loads((work / "lm.json").read_text())
    assert [one["id"] for one in whole["language-modelling"]["articles"]] == [
        "n0",
        "n1",
        "n2",
        "n3",
    ]
    assert whole["language-modelling"]["skipped"] == ["short"]
    contexts = [row["context"] for row in whole["rows"]]
    assert contexts == ["none", "constant", "mac", "text"]
    for row in whole["rows"]:
        low, high = row["perplexity_interval"]
        assert 1 < low <= row["perplexity"] <= high
        assert row["articles"] == 4
    shown = mac(*options, "--resume")
    assert "| constant tokens only " in shown.out and "| full context: its text " in shown.out
    assert mac(*options, "--resume", "--limit", "2").code == 2
    drawn = mac("eval", "--language-modelling", "news.jsonl", "--limit", "2", "--json").json
    assert drawn["rows"][0]["articles"] <= 2
    write(work / "short.jsonl", [{"text": "One sentence."}])
    none = mac("eval", "--language-modelling", "short.jsonl")
    assert none.code == 1 and "no article has two sentences" in none.err
    (work / "bad.jsonl").write_text('{"text": "A."}\n{"title": "B"}\n')
    bad = mac("eval", "--language-modelling", "bad.jsonl")
    assert bad.code == 1 and "bad.jsonl:2: 'text' is missing" in bad.err
    (work / "empty.jsonl").write_text("")
    empty = mac("eval", "--language-modelling", "empty.jsonl")
    assert empty.code == 1 and "no articles" in empty.err


def test_retention_at_several_moments(mac: Mac, work: Path) -> None:
    options = ["eval", "--data", str(facts(work / "a.jsonl")), "--out", "kept.json", "-k", "2"]
    options += ["--method", "mac", "--method", "uniform", "--retention", "1"]
    assert mac(*options).code == 0
    ran = mac(*options, "--moments", "3", "--resume")
    assert ran.code == 0, ran.err
    kept = json.loads((work / "kept.json").read_text())["retention"]
    assert [row["method"] for row in kept] == ["mac", "uniform"]
    for row in kept:
        assert [point["documents"] for point in row["curve"]] == [1, 3, 5]
        assert row["curve"][0]["f1"] == row["before"]["f1"]
        assert row["curve"][-1]["f1"] == row["after"]["f1"]
    assert "after more and more of the stream" in ran.out
    again = (work / "kept.json").read_bytes()
    assert mac(*options, "--moments", "3", "--resume").code == 0
    assert (work / "kept.json").read_bytes() == again


@pytest.fixture
def notes(work: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder of files, and a maker that asks who stands at a passage's beginning."""
    (work / "notes" / "sub").mkdir(parents=True)
    (work / "notes" / "a.txt").write_text("Varnholt opened a bridge. Heavy rain fell.")
    (work / "notes" / "sub" / "b.md").write_text("Reyl won the Ashgrove prize.")
    (work / "notes" / "c.bin").write_bytes(bytes(range(256)))
    made: list[str] = []

    def make(self: Any, text: str, most: int) -> list[Made]:
        made.append(text)
        self.verdicts["kept"] += 1
        word = text.split()[0]
        return [Made(f"Who is it that {text[len(word) + 1 : 20]}?", (word,), 0, len(word))][:most]

    monkeypatch.setattr(questions.QuestionMaker, "make", make)
    return made


def test_made_questions_are_kept_and_called_so(mac: Mac, work: Path, notes: list[str]) -> None:
    options = ["eval", "--docs", "notes", "--make-questions", "5", "--method", "mac", "-k", "1"]
    ran = mac(*options, "--keep-questions", "asked.jsonl", "--json")
    assert ran.code == 0, ran.err
    assert "Only 2 questions could be made, not 5." in ran.err
    assert "Left out: notes/c.bin: is a binary file" in ran.err
    result = ran.json
    assert result["machine_made"] == 2 and result["made"]["verdicts"] == {"kept": 2}
    assert result["ingest"]["documents"] == 2
    assert [file["file"] for file in result["settings"]["documents"]] == [
        "notes/a.txt",
        "notes/sub/b.md",
    ]
    kept = [json.loads(line) for line in (work / "asked.jsonl").read_text().splitlines()]
    assert {row["source"] for row in kept} == {"machine-made"}
    for row in kept:
        assert re.fullmatch(r"notes/.*\[\d+:\d+\]", row["doc_id"])
        assert row["answers"][0] in row["doc"]
    # The kept file gives the same questions and, with the same files, the same memory.
    later = mac("eval", "--data", "asked.jsonl", "--docs", "notes", "--method", "mac", "-k", "1")
    assert later.code == 0, later.err
    assert "2 of the questions are machine-made" in later.out
    assert len(notes) == 2
    refused = mac(*options, "--keep-questions", "asked.jsonl")
    assert refused.code == 2 and "There is a file asked.jsonl already." in refused.err
    plain = mac("eval", "--data", str(facts(work / "a.jsonl")), "--method", "closed-book")
    assert "machine-made" not in plain.out


def test_making_questions_goes_on_where_it_stopped(
    mac: Mac, work: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = questions.QuestionMaker.make

    def make(self: Any, text: str, most: int) -> list[Made]:
        if len(notes) == 1:
            monkeypatch.setattr(questions.QuestionMaker, "make", whole)
            raise KeyboardInterrupt
        return whole(self, text, most)

    monkeypatch.setattr(questions.QuestionMaker, "make", make)
    options = ["eval", "--docs", "notes", "--make-questions", "2", "--method", "closed-book"]
    options += ["--out", "made.json"]
    assert mac(*options).code == 130
    kept = json.loads((work / "made.json").read_text())["made"]
    assert (kept["tried"], len(kept["questions"])) == (1, 1)
    ran = mac(*options, "--resume", "--json")
    assert ran.code == 0, ran.err
    assert len(notes) == len(set(notes)) == 2
    assert ran.json["made"]["verdicts"] == {"kept": 2}
    (work / "notes" / "a.txt").write_text("Else.")
    other = mac(*options, "--resume")
    assert other.code == 2 and "of other settings: other documents" in other.err


def test_study_options_that_cannot_be_used(
    mac: Mac, work: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(facts(work / "a.jsonl"))

    def refused(*args: str, code: int = 2) -> str:
        ran = mac("eval", *args)
        assert ran.code == code, ran.err
        return ran.err

    assert "Missing option '--data'" in refused()
    assert "Add --make-questions N" in refused("--docs", "notes")
    assert "needs the files to make them of" in refused("--make-questions", "3")
    both = ("--docs", "notes", "--make-questions", "3", "--data", file)
    assert "--data does not go with --make-questions" in refused(*both)
    assert "option of --make-questions" in refused("--data", file, "--keep-questions", "x")
    assert "--prune-curve does not go" in refused("--data", file, "--each", "--prune-curve")
    assert "option of --retention" in refused("--data", file, "--moments", "4")
    lm = ("--language-modelling", file)
    assert "--data does not go with --language" in refused(*lm, "--data", file)
    assert "-k" in refused(*lm, "-k", "1")
    nothing = refused("--docs", "nowhere", "--make-questions", "3", code=1)
    assert "nothing to read in nowhere" in nothing and "no such file" in nothing
    monkeypatch.setattr(questions.QuestionMaker, "make", lambda *_: [])
    none = refused("--docs", "notes", "--make-questions", "3", code=1)
    assert "Not one question could be made" in none
