"""`mac eval` with real networks, tiny and random: what they answer is nonsense, but scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maccli.commands import eval_options as command
from maccli.evaluation import methods
from models.evaluation.metrics import exact_match, f1
from models.rivals.text_prefix import TENSOR

from .conftest import Ran

Mac = Callable[..., Ran]

DOCUMENTS = [
    "The town of Varnholt opened a new bridge over the Elm in March.",
    "The jury gave the prize of 40,000 crowns to the poet Tomas Reyl.",
    "Heavy rain closed the northern road for 3 days.",
    "Ida Brandt cut the ribbon at noon.",
    "The mayor opened the town in June. No one was hurt.",
    "The poet was awarded a few words by the mayor.",
]
QUESTIONS = [
    ("Which town opened a new bridge?", "Varnholt"),
    ("To whom was the prize of the jury awarded?", "Tomas Reyl"),
    ("What closed the northern road?", "Heavy rain"),
    ("Who cut the ribbon?", "Ida Brandt"),
    ("Who opened the town in June?", "The mayor"),
    ("Who was awarded a few words?", "The poet"),
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def data(work: Path) -> Path:
    rows = [
        {"id": f"q{n}", "doc_id": f"d{n}", "doc": text, "question": asked, "answers": [answer]}
        for n, (text, (asked, answer)) in enumerate(zip(DOCUMENTS, QUESTIONS, strict=True))
    ]
    rows.append({**rows[0], "id": "q9", "question": "And what is it?", "standalone": False})
    return write(work / "facts.jsonl", rows)


def row(result: Any, method: str, k: int | None = None) -> Any:
    (found,) = [r for r in result["rows"] if (r["method"], r["k"]) == (method, k)]
    return found


def test_the_commands_methods_are_the_services() -> None:
    assert tuple(methods.METHODS) == command.METHODS
    assert set(command.DEFAULT_METHODS) <= set(command.METHODS)


def test_methods_side_by_side(mac: Mac, data: Path, tiny: Any, work: Path) -> None:
    from safetensors.torch import save_file

    constant = tiny.stack.head.constant
    save_file({TENSOR: constant.detach().clone() + 1}, "prefix.safetensors")
    asked = ("closed-book", "oracle", "rag-bm25", "rag-hybrid", "mac", "mac-dense", "mac-oracle")
    ran = mac(
        *("eval", "--data", str(data), "--out", "result.json", "--json", "-k", "1", "-k", "6"),
        *(part for method in asked for part in ("--method", method)),
        *("--method", "rag-prefix-dense", "--rag-prefix", "prefix.safetensors", "--lr", "0.001"),
        *("--method", "uniform", "--lr", "0.01"),
    )
    assert ran.code == 0, ran.err
    result = ran.json
    assert json.loads((work / "result.json").read_text()) == result
    assert [(r["method"], r["k"]) for r in result["rows"]] == [
        ("closed-book", None),
        ("oracle", None),
        *((m, k) for m in ("rag-bm25", "rag-hybrid", "mac", "mac-dense") for k in (1, 6)),
        ("mac-oracle", None),
        ("rag-prefix-dense", 1),
        ("rag-prefix-dense", 6),
        ("uniform", None),
        ("uniform", None),
    ]
    assert [q["id"] for q in result["questions"]] == [f"q{n}" for n in range(6)]
    for measured in result["rows"]:
        answers = [[answer] for _, answer in QUESTIONS]
        said = [p["prediction"] for p in measured["predictions"]]
        for name, metric in (("em", exact_match), ("f1", f1)):
            mean = sum(map(metric, said, answers)) / 6
            assert measured[name] == pytest.approx(100 * mean)
            low, high = measured[f"{name}_interval"]
            assert low <= measured[name] <= high
        assert measured["seconds_a_question"] > 0 and measured["memory"] > 1e6
    # Everything is found among everything, and the right document given is the right one.
    for name in ("rag-hybrid", "mac", "mac-dense", "rag-prefix-dense"):
        assert row(result, name, 6)["found"] == 100
    assert row(result, "oracle")["found"] == row(result, "mac-oracle")["found"] == 100
    assert row(result, "closed-book")["found"] is None
    # Both readers find the same; only how they are told differs.
    same = [
        [p["found"] for p in row(result, name, 1)["predictions"]] for name in ("mac", "rag-hybrid")
    ]
    assert same[0] == same[1]
    assert row(result, "rag-hybrid", 6)["prompt_tokens"] > row(result, "mac", 6)["prompt_tokens"]
    assert row(result, "mac", 6)["prefix_tokens"] > row(result, "mac", 1)["prefix_tokens"] > 4
    assert row(result, "rag-hybrid", 1)["prefix_tokens"] == 0
    assert row(result, "rag-prefix-dense", 1)["prefix_tokens"] == 4
    mac_bytes, rag_bytes = (row(result, m, 1)["bytes_a_document"] for m in ("mac", "rag-bm25"))
    assert mac_bytes > rag_bytes == sum(map(len, DOCUMENTS)) / 6
    assert result["ingest"]["documents"] == 6
    assert row(result, "mac", 1)["adaptation_seconds"] == result["ingest"]["seconds"]
    assert 0 < row(result, "rag-bm25", 1)["adaptation_seconds"] < result["ingest"]["seconds"]
    assert [r["learning_rate"] for r in result["rows"][-2:]] == [0.001, 0.01]
    assert result["rows"][-1]["adaptation_memory"] > 1e6
    assert {"versions", "hardware", "command", "settings"} <= set(result)


def test_a_second_look_costs_text_its_modulations(mac: Mac, data: Path, tiny: Any) -> None:
    from dataclasses import replace

    tiny.relevance = replace(tiny.relevance, likelihood=0.5)
    options = ("--method", "rag-hybrid", "--method", "rag-dense", "--method", "mac", "-k", "2")
    result = mac("eval", "--data", str(data), *options, "--json").json
    costs = {r["method"]: (r["adaptation_seconds"], r["bytes_a_document"]) for r in result["rows"]}
    assert costs["rag-hybrid"][1] == costs["mac"][1] > costs["rag-dense"][1]
    assert costs["mac"][0] == result["ingest"]["seconds"] <= costs["rag-hybrid"][0]


def test_a_drawn_part_of_the_questions(mac: Mac, data: Path, tiny: Any) -> None:
    options = ("--data", str(data), "--method", "closed-book", "--limit", "3")
    twice = ("--method", "closed-book", "--seed", "1")
    first, again = (mac("eval", *options, *twice, "--json").json for _ in range(2))
    other = mac("eval", *options, "--json", "--seed", "2").json
    ids = [[q["id"] for q in result["questions"]] for result in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]
    assert (len(set(ids[0])), len(first["rows"])) == (3, 1)
    table = mac("eval", *options).out.splitlines()
    (score,) = [line for line in table if line.startswith("| closed-book") and "." in line][:1]
    assert score.count("|") == 10
    assert any(set(line) == {"|", "-"} for line in table)


def test_an_interrupted_run_goes_on(
    mac: Mac, data: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch, work: Path
) -> None:
    options = ("eval", "--data", str(data), "--out", "result.json", "--store", "bank", "-k", "2")
    options += ("--method", "rag-bm25", "--method", "mac", "--method", "closed-book")
    real, calls = methods.answer, []

    def answer(*args: Any, **more: Any) -> Any:
        calls.append(args[2].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **more)

    monkeypatch.setattr(methods, "answer", answer)
    stopped = mac(*options)
    assert stopped.code == 130
    assert "result.json: add --resume to go on" in stopped.err
    kept = json.loads((work / "result.json").read_text())
    assert [r["method"] for r in kept["rows"]] == ["rag-bm25"]
    taken = kept["ingest"]["seconds"]
    assert taken > 0
    refused = mac(*options)
    assert refused.code == 2
    assert refused.err.startswith("Error: There is a file result.json already.\nHint: ")
    went_on = mac(*options, "--resume", "--json")
    assert went_on.code == 0, went_on.err
    assert "1 of 2 rows left, about 0 min" in went_on.err
    assert calls == ["rag-bm25", "mac", "mac"]
    assert [r["method"] for r in went_on.json["rows"]] == ["rag-bm25", "mac", "closed-book"]
    # The bank was there already, but how long it took is still known.
    assert row(went_on.json, "mac", 2)["adaptation_seconds"] == taken
    assert mac(*options, "--resume", "--quiet").code == 0
    assert len(calls) == 3
    other = mac(*options, "--resume", "--seed", "7")
    assert other.code == 2
    assert "results of other settings: seed 0, not 7." in other.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"doc": "A text.", "question": "Why?"}', "facts.jsonl:2: 'answers' is missing"),
        ('{"question": "Why?", "answers": ["x"]}', "facts.jsonl:2: 'doc' is missing or empty"),
        (
            '{"doc_id": "d0", "doc": "Else.", "question": "Why?", "answers": ["x"]}',
            "document 'd0' has another text than before",
        ),
        ("{", "facts.jsonl:2: not JSON"),
    ],
)
def test_data_that_cannot_be_used(mac: Mac, data: Path, tiny: Any, line: str, says: str) -> None:
    first = data.read_text().splitlines()[0]
    data.write_text(f"{first}\n{line}\n")
    ran = mac("eval", "--data", str(data), "--method", "closed-book")
    assert ran.code == 1
    assert says in ran.err
    assert len(ran.err.splitlines()) == 2
    # What is mended is measured, though nothing tells to resume.
    out = ("--method", "closed-book", "--out", "result.json")
    assert mac("eval", "--data", str(data), *out).code == 1
    data.write_text(f"{first}\n")
    assert mac("eval", "--data", str(data), *out).code == 0


def test_options_that_cannot_be_used(mac: Mac, data: Path, tiny: Any, work: Path) -> None:
    def refused(*args: str, code: int = 2) -> str:
        ran = mac("eval", "--data", str(data), *args)
        assert ran.code == code, ran.err
        return ran.err

    assert "'guess' is not one of" in refused("--method", "guess")
    assert "--resume needs the file" in refused("--resume")
    assert "need --rag-prefix FILE" in refused("--method", "rag-prefix-oracle")
    assert "options of --prune-curve" in refused("--size", "50")
    assert "--method does not go with" in refused("--prune-curve", "--method", "mac")
    assert "ends in .png" in refused("--plot", "curve.gif")
    assert "name some" in refused("--plot", "curve.png", "--abstention")
    assert "there are 6" in refused("--retention", "6")
    assert "there are (6)" in refused("--bank-sizes", "3,7")
    assert "no list of numbers" in refused("--bank-sizes", "3,x")
    assert "There is no folder gone" in refused("--report", "gone/page.html")
    assert "has no threshold" in refused("--abstention", code=1)
    (work / "prefix").write_text("no tensors")
    method = ("--method", "rag-prefix-oracle", "--rag-prefix", "prefix")
    assert "no constant prefix tokens" in refused(*method, code=1)
    out = ("--method", "closed-book", "--out", "result.json", "--resume")
    for held, says in (
        ("[", "result.json holds no results: Expecting value"),
        ("{}", "result.json holds no results of mac eval."),
        ('{"format": "mac-eval", "version": 9}', "results of version 9, not 1."),
        ('{"format": "mac-eval", "version": 1, "settings": {}, "rows": [1]}', "are missing"),
    ):
        (work / "result.json").write_text(held)
        assert says in refused(*out, code=1)
    nowhere = mac("eval", "--data", "nowhere.jsonl")
    assert (nowhere.code, nowhere.err) == (1, "Error: nowhere.jsonl: No such file or directory\n")
    write(work / "alone.jsonl", [{**json.loads(data.read_text().splitlines()[-1])}])
    alone = mac("eval", "--data", "alone.jsonl", "--method", "closed-book")
    assert alone.code == 1 and "no question stands on its own" in alone.err
    write(work / "other.jsonl", [{"doc": "Else.", "question": "Who?", "answers": ["Else"]}])
    kept = ("--method", "mac", "--store", "bank")
    assert mac("eval", "--data", str(data), *kept).code == 0
    mixed = mac("eval", "--data", "other.jsonl", *kept)
    assert mixed.code == 1 and "holds documents of other data" in mixed.err


def test_retention_abstention_and_bank_sizes(mac: Mac, data: Path, tiny: Any, work: Path) -> None:
    from dataclasses import replace

    tiny.config = replace(tiny.config, abstain_below=1e9)
    write(work / "news.jsonl", [{"text": "A poet was hurt."}, {"text": "Rain in June."}])
    ran = mac(
        *("eval", "--data", str(data), "--json", "--retention", "2", "--abstention", "-k", "2"),
        *("--bank-sizes", "8,3", "--distractors", "news.jsonl"),
    )
    assert ran.code == 0, ran.err
    result = ran.json
    assert result["rows"] == []
    (kept,) = result["retention"]
    assert [p["id"] for p in kept["before"]["predictions"]] == ["q0", "q1"]
    # Two documents were all there was, and both were found.
    assert kept["before"]["found"] == 100
    assert (kept["method"], kept["documents"], kept["k"]) == ("mac", 2, 2)
    assert kept["after"]["questions"] == 2
    refused = result["abstention"]
    assert (refused["wrongly_abstained"], refused["rightly_abstained"]) == (100, 100)
    sizes = result["bank_sizes"]
    figures = [(r["size"], r["questions"], r["method"]) for r in sizes]
    assert figures == [(3, 3, "mac"), (8, 3, "mac")]
    assert [r["chunks"] for r in sizes] == [3, 8]
    tiny.config = replace(tiny.config, abstain_below=-1e9)
    none = mac("eval", "--data", str(data), "--abstention").out
    assert "| 0.0-0.0 " in none and "Percent of 6 questions" in none


def test_what_a_tuned_model_retains(mac: Mac, data: Path, tiny: Any) -> None:
    options = ("eval", "--data", str(data), "--out", "kept.json", "--method", "uniform")
    options += ("--method", "rag-bm25", "-k", "2", "--lr", "0.03", "--retention", "2")
    ran = mac(*options, "--json")
    assert ran.code == 0, ran.err
    (tuned, found) = ran.json["retention"]
    assert (tuned["method"], tuned["k"], tuned["learning_rate"]) == ("uniform", None, 0.03)
    assert (found["method"], found["k"], found["learning_rate"]) == ("rag-bm25", 2, None)
    # After the rest of the stream it is the model that was tuned on all of it.
    whole = {p["id"]: p["prediction"] for p in row(ran.json, "uniform")["predictions"]}
    late = {p["id"]: p["prediction"] for p in tuned["after"]["predictions"]}
    early = {p["id"]: p["prediction"] for p in tuned["before"]["predictions"]}
    assert late == {name: whole[name] for name in ("q0", "q1")} != early
    again = mac(*options, "--resume")
    assert again.code == 0
    assert "| uniform 0.03 |" in again.out and "retention" in again.out


def test_the_prune_curve(mac: Mac, data: Path, tiny: Any, work: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ("eval", "--data", str(data), "--prune-curve", "--store", "bank", "-k", "2")
    options += ("--strategy", "random", "--strategy", "usage", "--size", "100", "--size", "50")
    ran = mac(*options, "--out", "curve.json", "--plot", "curve.svg", "--json")
    assert ran.code == 0, ran.err
    rows = ran.json["rows"]
    assert [(r["strategy"], r["percent"], r["modulations"]) for r in rows] == [
        ("whole", 100, 6),
        ("random", 50, 3),
        ("usage", 50, 3),
    ]
    assert rows[0]["bytes"] > rows[1]["bytes"] > 0
    assert (work / "curve.svg").read_text().count("<svg") == 1
    assert mac("store", "stats", "--store", "bank", "--json").json["modulations"] == 6
    more = mac(*options, "--out", "curve.json", "--resume", "--strategy", "merge")
    assert more.code == 0, more.err
    assert len(json.loads((work / "curve.json").read_text())["rows"]) == 4
    assert "| of the whole bank's F1 |" in more.out


def test_a_picture_and_a_page(mac: Mac, data: Path, tiny: Any, work: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[0]["question"] = "Is <b>this</b> & that escaped?"
    write(data, rows)
    ran = mac(
        *("eval", "--data", str(data), "--method", "mac", "--method", "closed-book", "-k", "2"),
        *("--bank-sizes", "6", "--plot", "quality.png", "--report", "page.html"),
    )
    assert ran.code == 0, ran.err
    assert (work / "quality.png").read_bytes().startswith(b"\x89PNG")
    page = (work / "page.html").read_text()
    # F1 against latency, then F1, latency and memory against the bank's size.
    assert page.count("<svg") == page.count("</svg>") == 4
    assert "Is &lt;b&gt;this&lt;/b&gt; &amp; that escaped?" in page
    assert page.count("<table") == page.count("</table>") == 4
    # Self-contained: nothing is fetched.
    assert not [part for part in ("src=", "<script", "<link", "@import") if part in page]
