"""`mac study NAME` with tiny random networks."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maccli.evaluation import answering, compare
from maccli.evaluation.evaluation import Evaluation
from maccli.evaluation.evaluation_store import EvaluationStore
from maccli.evaluation.plan import Plan
from maccli.evaluation.studies.own_documents import OwnFiles, prepare
from maccli.reading.loaders import Loaded
from models.evaluation import perplexity, questions
from models.evaluation.questions import WrittenQuestion
from store.marks import Mark

from ..conftest import FakeMemory, Ran
from ..evaluation.facts import rows, write

Mac = Callable[..., Ran]
pytestmark = pytest.mark.usefixtures("tiny")

ARTICLE = "The town opened a bridge. Rain closed the road. The jury met. The poet got a prize."


def facts(path: Path, first: int = 0, last: int = 6) -> Path:
    return write(path, rows(first, last))


@pytest.fixture
def data(work: Path) -> str:
    return str(facts(work / "facts.jsonl"))


def test_every_file_has_a_store_of_its_own(
    mac: Mac, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [facts(work / "a.jsonl", 0, 3), facts(work / "b.jsonl", 3, 5)]
    options = ["study", "sources", "--out", "each.json", "--method", "mac", "--method", "rag-bm25"]
    options += ["-k", "5", *(part for file in files for part in ("--data", str(file)))]
    real, calls = answering.answer, []

    def answer(*args: Any) -> Any:
        calls.append(args[2].name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(answering, "answer", answer)
    assert mac(*options).code == 130
    kept = json.loads((work / "each.json").read_text())["rows"]
    assert [row["at"] for row in kept] == ["a.jsonl", "a.jsonl", "b.jsonl"]
    ran = mac(*options, "--resume")
    assert ran.code == 0, ran.err
    assert len(calls) == 5
    result = json.loads((work / "each.json").read_text())
    assert {name: taken["documents"] for name, taken in result["ingest"].items()} == {
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
    assert {row["costs"]["found"] for row in result["rows"] if row["method"] == "mac"} == {100}
    (work / "below").mkdir()
    twice = facts(work / "below" / "a.jsonl")
    again = mac("study", "sources", "--data", str(files[0]), "--data", str(twice))
    assert again.code == 2 and "Two of the data files are called a.jsonl" in again.err


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize("kind", ["sources", "abstention", "language-modelling"])
def test_a_picture_of_what_has_none_is_refused_before_anything_is_measured(
    mac: Mac, data: str, kind: str, suffix: str
) -> None:
    given = [data] if kind == "language-modelling" else ["--data", data]
    ran = mac("study", kind, *given, "--report", f"picture.{suffix}")
    assert ran.code == 2
    assert f"There is no picture of {kind}; write a page: --report FILE.html." in ran.err


def test_a_page_without_pictures_needs_no_matplotlib(
    mac: Mac, data: str, tiny: Any, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    tiny.config = replace(tiny.config, abstain_below=1e9)
    ran = mac("study", "abstention", "--data", data, "-k", "2", "--report", "page.html")
    assert ran.code == 0, ran.err
    assert "Answers that it is not sure of are not counted." in (work / "page.html").read_text()
    ran = mac("study", "retention", "--data", data, "--first", "2", "--report", "page.html")
    assert ran.code == 1 and "matplotlib is not installed" in ran.err


def test_language_modelling(mac: Mac, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    news = [{"doc_id": f"n{n}", "title": "T", "text": f"{n} towns. {ARTICLE}"} for n in range(4)]
    write(work / "news.jsonl", [*news, {"doc_id": "short", "text": "One sentence."}])
    options = ["study", "language-modelling", "news.jsonl", "--out", "lm.json"]
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
    measured = json.loads((work / "lm.json").read_text())["rows"]
    articles = [row["at"] for row in measured if row["method"] == "mac" and row["at"]]
    assert articles == ["n0", "n1", "n2", "n3"]
    whole = [row for row in measured if row["at"] is None]
    assert [row["method"] for row in whole] == ["none", "constant", "mac", "faint", "text"]
    for row in whole:
        value, low, high = row["figures"]["perplexity"]
        assert 1 < low <= value <= high
        assert row["questions"] == 4
    shown = mac(*options, "--resume")
    assert "| constant tokens only " in shown.out and "| full context: its text " in shown.out
    assert mac(*options, "--resume", "--limit", "2").code == 2
    drawn = mac("study", "language-modelling", "news.jsonl", "--limit", "2", "--json").json
    assert all(row["questions"] <= 2 for row in drawn["rows"])
    write(work / "short.jsonl", [{"text": "One sentence."}])
    none = mac("study", "language-modelling", "short.jsonl")
    assert none.code == 1 and "no article has two sentences" in none.err
    (work / "bad.jsonl").write_text('{"text": "A."}\n{"title": "B"}\n')
    bad = mac("study", "language-modelling", "bad.jsonl")
    assert bad.code == 1 and "bad.jsonl:2: 'text' is missing" in bad.err
    (work / "empty.jsonl").write_text("")
    empty = mac("study", "language-modelling", "empty.jsonl")
    assert empty.code == 1 and "no articles" in empty.err


def test_retention_at_several_moments(
    mac: Mac, work: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["study", "retention", "--data", data, "--out", "kept.json", "-k", "2"]
    options += ["--method", "mac", "--method", "uniform", "--first", "2"]
    ran = mac(*options)
    assert ran.code == 0, ran.err
    assert "after more and more" not in ran.out
    ran = mac(*options, "--moments", "3", "--resume")
    assert ran.code == 0, ran.err
    kept = json.loads((work / "kept.json").read_text())["rows"]
    moments = [(row["method"], row["at"]) for row in kept]
    assert sorted(moments) == [(name, at) for name in ("mac", "uniform") for at in (2, 4, 6)]
    for row in kept:
        assert [answer["id"] for answer in row["answers"]] == ["q0", "q1"]
    # Two documents were all there was, and both were found.
    (first,) = [row for row in kept if (row["method"], row["at"]) == ("mac", 2)]
    assert first["costs"]["found"] == 100
    assert "after more and more documents" in ran.out
    asked: list[int] = []
    real = compare.measure, compare.measure_tuned
    monkeypatch.setattr(compare, "measure", lambda *a: (asked.append(a[4].at), real[0](*a))[1])
    monkeypatch.setattr(
        compare, "measure_tuned", lambda *a: (asked.append(a[3].at), real[1](*a))[1]
    )
    assert mac(*options, "--moments", "2", "--resume").code == 0 and not asked
    saved = json.loads((work / "kept.json").read_text())
    saved["rows"] = [row for row in saved["rows"] if row["at"] != 4]
    (work / "kept.json").write_text(json.dumps(saved))
    assert mac(*options, "--moments", "3", "--resume").code == 0
    assert asked == [4, 4]
    again = (work / "kept.json").read_bytes()
    assert mac(*options, "--moments", "3", "--resume").code == 0
    assert (work / "kept.json").read_bytes() == again
    assert "there are 6" in mac("study", "retention", "--data", data, "--first", "6").err


def test_what_a_tuned_model_retains(mac: Mac, data: str) -> None:
    methods = ("--method", "uniform@0.03", "--method", "rag-bm25", "-k", "2", "--json")
    ran = mac("study", "retention", "--data", data, "--first", "2", *methods)
    assert ran.code == 0, ran.err
    kept = {(row["method"], row["k"], row["at"]): answers(row) for row in ran.json["rows"]}
    assert set(kept) == {
        (method, k, at) for method, k in (("uniform@0.03", None), ("rag-bm25", 2)) for at in (2, 6)
    }
    # After all documents it is the model that was tuned on all of them.
    whole = answers(mac("eval", "--data", data, *methods).json["rows"][0])
    late, early = (kept["uniform@0.03", None, at] for at in (6, 2))
    assert late == whole[:2] != early


def answers(row: Any) -> list[str]:
    return [answer["prediction"] for answer in row["answers"]]


def test_ever_larger_stores(mac: Mac, data: str, work: Path) -> None:
    write(work / "news.jsonl", [{"text": "A poet was hurt."}, {"text": "Rain in June."}])
    options = ("study", "bank-sizes", "--data", data, "--distractors", "news.jsonl", "-k", "2")
    ran = mac(*options, "--sizes", "8,3", "--out", "sizes.json", "--json")
    assert ran.code == 0, ran.err
    rows = ran.json["rows"]
    assert [(r["at"], r["questions"], r["method"]) for r in rows] == [(3, 3, "mac"), (8, 3, "mac")]
    assert [r["costs"]["chunks"] for r in rows] == [3, 8]
    # What is known is not measured again; another size is measured beside it.
    more = mac(*options, "--sizes", "8,3,5", "--out", "sizes.json", "--resume", "--json")
    assert more.code == 0, more.err
    assert [r["at"] for r in more.json["rows"]] == [3, 8, 5]
    assert more.json["rows"][:2] == rows
    assert "there are more" not in more.err
    for sizes, says in (("3,9", "than there are (8)"), ("3,x", "is not a list of numbers")):
        refused = mac(*options, "--sizes", sizes)
        assert refused.code == 2 and says in refused.err
    assert "-k all would read" in mac(*options, "--sizes", "3", "-k", "all").err


def test_abstention(mac: Mac, data: str, tiny: Any) -> None:
    options = ("study", "abstention", "--data", data, "-k", "2")
    refused = mac(*options)
    assert refused.code == 1 and "has no threshold" in refused.err
    tiny.config = replace(tiny.config, abstain_below=1e9)
    (row,) = mac(*options, "--json").json["rows"]
    assert (row["figures"]["wrongly"][0], row["figures"]["rightly"][0]) == (100, 100)
    tiny.config = replace(tiny.config, abstain_below=-1e9)
    none = mac(*options).out
    assert "| 0.0-0.0 " in none and "Percent of 6 questions" in none


class FakeJudge:
    def respelled(self, question: str, texts: list[str]) -> str:
        return question

    def read(self, question: str, texts: list[str], contexts: list[str]) -> list[Any]:
        return [SimpleNamespace(log_odds=-3.0) for _ in texts]


@pytest.mark.parametrize(
    "options",
    [("abstention",), ("prune-curve", "--strategy", "usage", "--percent", "50")],
)
def test_the_judge_reads_as_in_mac_ask(
    mac: Mac, data: str, tiny: Any, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    judge, judges = FakeJudge(), []
    candidates = EvaluationStore.candidates

    def spied(store: Any, question: str, k: int, how: Any, *args: Any, **more: Any) -> Any:
        found = inspect.signature(candidates).bind(store, question, k, how, *args, **more)
        judges.append(found.arguments.pop("judge"))
        return candidates(*found.args, **found.kwargs)

    monkeypatch.setattr(EvaluationStore, "candidates", spied)
    monkeypatch.setattr(Evaluation, "judge", lambda _, method: judge if method.judged else None)
    tiny.config = replace(tiny.config, abstain_below=1e9)
    ran = mac("study", *options, "--data", data, "-k", "2")
    assert ran.code == 0, ran.err
    assert judges and set(judges) == {judge}


def test_what_the_judge_is_sure_of_is_not_refused(
    mac: Mac, data: str, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        FakeJudge, "read", lambda *_: [SimpleNamespace(log_odds=odds) for odds in (-9.0, 3.0)]
    )
    monkeypatch.setattr(Evaluation, "judge", lambda *_: FakeJudge())
    candidates = EvaluationStore.candidates
    monkeypatch.setattr(
        EvaluationStore,
        "candidates",
        lambda *args: candidates(*args[:6]),  # without the judge
    )
    tiny.config = replace(tiny.config, abstain_below=1e9)
    [row] = mac("study", "abstention", "--data", data, "-k", "2", "--json").json["rows"]
    assert (row["figures"]["wrongly"][0], row["figures"]["rightly"][0]) == (0, 0)


def test_the_prune_curve(mac: Mac, data: str, work: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ("study", "prune-curve", "--data", data, "--store", "bank", "-k", "2")
    options += ("--strategy", "random", "--strategy", "usage", "--percent", "100")
    options += ("--percent", "50")
    ran = mac(*options, "--out", "curve.json", "--report", "curve.svg", "--json")
    assert ran.code == 0, ran.err
    measured = ran.json["rows"]
    assert [(r["method"], r["at"], r["costs"]["modulations"]) for r in measured] == [
        ("whole", 100, 6),
        ("random", 50, 3),
        ("usage", 50, 3),
    ]
    whole, pruned = (row["costs"]["modulation_bytes"] for row in measured[:2])
    assert whole > pruned > 0
    assert (work / "curve.svg").read_text().count("<svg") == 1
    assert mac("store", "stats", "--store", "bank", "--json").json["modulations"] == 6
    more = mac(*options, "--out", "curve.json", "--resume", "--strategy", "merge")
    assert more.code == 0, more.err
    assert len(json.loads((work / "curve.json").read_text())["rows"]) == 4
    assert "| of the whole store's F1 |" in more.out
    unknown = mac(*options, "--strategy", "guess")
    assert unknown.code == 2 and "'guess' is not a strategy." in unknown.err
    assert "takes one -k" in mac(*options, "-k", "1").err


@pytest.fixture
def notes(work: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder of files, and a maker that asks who stands at a passage's beginning."""
    (work / "notes" / "sub").mkdir(parents=True)
    (work / "notes" / "a.txt").write_text("Varnholt opened a bridge. Heavy rain fell.")
    (work / "notes" / "sub" / "b.md").write_text("Reyl won the Ashgrove prize.")
    (work / "notes" / "c.bin").write_bytes(bytes(range(256)))
    made: list[str] = []

    def make(self: Any, text: str, most: int) -> list[WrittenQuestion]:
        made.append(text)
        self.verdicts["kept"] += 1
        word = text.split()[0]
        return [
            WrittenQuestion(f"Who is it that {text[len(word) + 1 : 20]}?", (word,), 0, len(word))
        ][:most]

    monkeypatch.setattr(questions.QuestionMaker, "make", make)
    return made


def test_passages_end_where_parts_of_a_file_do(work: Path, memory: FakeMemory) -> None:
    first, second = "The town opened a bridge today.", "Rain closed the road. " * 4
    marks = (Mark(0, place="slide 1"), Mark(len(first) + 1, place="slide 2"))
    slides = Loaded(f"{first} {second}", None, "text/plain", "utf-8", marks=marks)
    shared: Any = SimpleNamespace(plan=Plan(), note=print)
    session: Any = SimpleNamespace(model=memory)
    plan = prepare(shared, session, OwnFiles({"a.pptx": slides}, []), work, None)
    lines = plan.distractors[0].read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [first, second.strip()]


def test_made_questions_are_kept_and_called_so(mac: Mac, work: Path, notes: list[str]) -> None:
    options = ["study", "own-documents", "notes", "--questions", "5", "--method", "mac", "-k", "1"]
    ran = mac(*options, "--keep", "asked.jsonl", "--json")
    assert ran.code == 0, ran.err
    assert "Only 2 questions could be made, not 5." in ran.err
    assert "Left out: notes/c.bin: is a binary file" in ran.err
    result = ran.json
    assert result["machine_made"] == {"questions.jsonl": 2}
    assert result["made"]["verdicts"] == {"kept": 2}
    assert result["ingest"]["store"]["documents"] == 2
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
    kept_file = ("--data", "asked.jsonl", "--method", "mac", "-k", "1")
    later = mac("study", "own-documents", "notes", *kept_file, "--report", "own.svg")
    assert later.code == 0, later.err
    assert "2 of the questions are machine-made" in later.out
    assert (work / "own.svg").read_text().startswith("<?xml")
    assert len(notes) == 2
    refused = mac(*options, "--keep", "asked.jsonl")
    assert refused.code == 2 and "There is a file asked.jsonl already." in refused.err
    plain = mac("eval", "--data", str(facts(work / "a.jsonl")), "--method", "closed-book")
    assert "machine-made" not in plain.out


def test_making_questions_goes_on_where_it_stopped(
    mac: Mac, work: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = questions.QuestionMaker.make

    def make(self: Any, text: str, most: int) -> list[WrittenQuestion]:
        if len(notes) == 1:
            monkeypatch.setattr(questions.QuestionMaker, "make", whole)
            raise KeyboardInterrupt
        return whole(self, text, most)

    monkeypatch.setattr(questions.QuestionMaker, "make", make)
    options = ["study", "own-documents", "notes", "--questions", "2", "--method", "closed-book"]
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
        ran = mac("study", "own-documents", *args)
        assert ran.code == code, ran.err
        return ran.err

    assert "Give --questions N to generate questions" in refused("notes")
    assert "Give --questions N" in refused("notes", "--questions", "3", "--data", file)
    assert "--keep needs generated questions" in refused("notes", "--data", file, "--keep", "x")
    nothing = refused("nowhere", "--questions", "3", code=1)
    assert "nothing to read in nowhere" in nothing and "no such file" in nothing
    monkeypatch.setattr(questions.QuestionMaker, "make", lambda *_: [])
    none = refused("notes", "--questions", "3", code=1)
    assert "Not one question could be made" in none


def test_a_study_that_was_probably_meant_is_suggested(mac: Mac) -> None:
    ran = mac("study", "banksizes")
    assert ran.code == 2 and "Did you mean mac study bank-sizes?" in ran.err
