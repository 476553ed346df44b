"""`mac eval` with real networks, tiny and random: what they answer is nonsense, but scored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maccli.evaluation import answering, compare
from maccli.evaluation.methods import METHODS
from models.evaluation.metrics import exact_match, f1
from models.memory.relevance import RelevanceWeights
from models.rivals.text_prefix import TENSOR

from ..conftest import Ran, make_checkpoint
from ..evaluation.facts import DOCUMENTS, QUESTIONS, rows, write

Mac = Callable[..., Ran]


@pytest.fixture
def data(work: Path) -> Path:
    more = {**rows()[0], "id": "q9", "question": "And what is it?", "standalone": False}
    return write(work / "facts.jsonl", [*rows(), more])


def row(result: Any, method: str, k: int | None = None) -> Any:
    (only,) = [r for r in result["rows"] if (r["method"], r["k"]) == (method, k)]
    return only


def cost(result: Any, name: str, method: str, k: int | None = None) -> Any:
    return row(result, method, k)["costs"][name]


def test_methods_side_by_side(mac: Mac, data: Path, tiny: Any, work: Path) -> None:
    from safetensors.torch import save_file

    constant = tiny.stack.head.constant
    save_file({TENSOR: constant.detach().clone() + 1}, "prefix.safetensors")
    asked = ("closed-book", "oracle", "rag-bm25", "rag-hybrid", "mac", "mac-dense", "mac-oracle")
    ran = mac(
        *("eval", "--data", str(data), "--out", "result.json", "--json", "-k", "1", "-k", "6"),
        *(part for method in asked for part in ("--method", method)),
        *("--method", "rag-prefix-dense", "--with", "rag-prefix=prefix.safetensors"),
        *("--method", "uniform@0.001", "--method", "uniform@0.01"),
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
        ("uniform@0.001", None),
        ("uniform@0.01", None),
    ]
    assert [q["id"] for q in result["questions"]] == [f"q{n}" for n in range(6)]
    for measured in result["rows"]:
        answers = [[answer] for _, answer in QUESTIONS]
        said = [p["prediction"] for p in measured["answers"]]
        for name, metric in (("em", exact_match), ("f1", f1)):
            mean = sum(map(metric, said, answers)) / 6
            value, low, high = measured["figures"][name]
            assert value == pytest.approx(100 * mean)
            assert low <= value <= high
        costs = measured["costs"]
        assert costs["seconds_a_question"] > 0 and costs["memory"] > 1e6
    # Everything is found among everything, and the right document given is the right one.
    for name in ("rag-hybrid", "mac", "mac-dense", "rag-prefix-dense"):
        assert cost(result, "found", name, 6) == 100
    assert cost(result, "found", "oracle") == cost(result, "found", "mac-oracle") == 100
    assert cost(result, "found", "closed-book") is None
    # Both readers find the same; only how they are told differs.
    same = [[a["found"] for a in row(result, name, 1)["answers"]] for name in ("mac", "rag-hybrid")]
    assert same[0] == same[1]
    assert cost(result, "prompt_tokens", "rag-hybrid", 6) > cost(result, "prompt_tokens", "mac", 6)
    prefixes = [cost(result, "prefix_tokens", "mac", k) for k in (6, 1)]
    assert prefixes[0] > prefixes[1] > 4
    assert cost(result, "prefix_tokens", "rag-hybrid", 1) == 0
    assert cost(result, "prefix_tokens", "rag-prefix-dense", 1) == 4
    stored = [cost(result, "bytes_a_document", method, 1) for method in ("mac", "rag-bm25")]
    assert stored[0] > stored[1] == sum(map(len, DOCUMENTS)) / 6
    ingest = result["ingest"]["store"]
    assert ingest["documents"] == 6
    assert cost(result, "adaptation_seconds", "mac", 1) == ingest["seconds"]
    assert 0 < cost(result, "adaptation_seconds", "rag-bm25", 1) < ingest["seconds"]
    assert cost(result, "adaptation_memory", "uniform@0.01") > 1e6
    assert {"versions", "hardware", "command", "settings"} <= set(result)


def test_a_second_look_costs_text_its_modulations(mac: Mac, data: Path, tiny: Any) -> None:
    from dataclasses import replace

    tiny.relevance = replace(tiny.relevance, likelihood=0.5)
    options = ("--method", "rag-hybrid", "--method", "rag-dense", "--method", "mac", "-k", "2")
    result = mac("eval", "--data", str(data), *options, "--json").json
    costs = {r["method"]: r["costs"] for r in result["rows"]}
    each = {method: costs[method]["bytes_a_document"] for method in costs}
    assert each["rag-hybrid"] == each["mac"] > each["rag-dense"]
    seconds = result["ingest"]["store"]["seconds"]
    assert costs["mac"]["adaptation_seconds"] == seconds
    assert costs["rag-hybrid"]["adaptation_seconds"] >= seconds


@pytest.mark.parametrize("judge", [None, object()])
def test_where_a_judge_reads_there_is_no_second_look(judge: object) -> None:
    ingest = {"seconds": 9.0, "amortize_seconds": 8.0, "embed_seconds": 1.0, "memory": 5}
    ingest |= {"device_memory": None, "chunks": 1, "documents": 1}
    ingest |= {"modulation_bytes": 100, "key_bytes": 10, "text_bytes": 1}
    weights = RelevanceWeights(likelihood=0.5, judged=1.0)
    evaluation: Any = SimpleNamespace(ingest=ingest, weights=weights, judge=lambda method: judge)
    costs = compare._store_costs(evaluation, METHODS["rag-extractive"])
    expected = (9.0, 111) if judge is None else (2.0, 11)
    assert (costs["adaptation_seconds"], costs["bytes_a_document"]) == expected


def test_other_ways_of_answering_are_another_run(
    mac: Mac, data: Path, tiny: Any, work: Path
) -> None:
    options = ("eval", "--data", str(data), "--method", "closed-book", "--limit", "1")
    assert mac(*options, "--out", "first.json").code == 0
    file = work / "made" / "config.json"
    written = json.loads(file.read_text())
    judge = make_checkpoint(work / "judge")
    changes: dict[str, Any] = {"confidence": {"bias": 1.0}, "abstain_below": 0.5}
    for name, value in {**changes, "judge": str(judge)}.items():
        file.write_text(json.dumps({**written, name: value}))
        ran = mac(*options, "--out", "first.json", "--resume")
        assert ran.code == 2 and f"of other settings: {name}" in ran.err
    assert mac(*options, "--out", "second.json").code == 0
    (judge / "model.safetensors").write_bytes(b"trained further")
    ran = mac(*options, "--out", "second.json", "--resume")
    assert ran.code == 2 and "of other settings: judge_fingerprint" in ran.err


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
    real, calls = answering.answer, []

    def answer(*args: Any) -> Any:
        calls.append(args[2].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(answering, "answer", answer)
    stopped = mac(*options)
    assert stopped.code == 130
    assert "result.json: add --resume to go on" in stopped.err
    kept = json.loads((work / "result.json").read_text())
    assert [r["method"] for r in kept["rows"]] == ["rag-bm25"]
    taken = kept["ingest"]["store"]["seconds"]
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
    assert cost(went_on.json, "adaptation_seconds", "mac", 2) == taken
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

    assert "'guess' is not a method" in refused("--method", "guess")
    assert "'mac-dense' takes no '@'" in refused("--method", "mac-dense@x")
    assert "'fast' in 'uniform@fast' is not a learning rate" in refused("--method", "uniform@fast")
    assert "'a,b,c' is not an encoder" in refused("--method", "mac@a,b,c")
    assert "two methods" not in refused("--method", "mac@a/x", "--method", "mac@b/x")
    assert "'0' is neither a number from 1 on nor all" in refused("-k", "0")
    assert "--resume needs the file" in refused("--resume")
    assert "needs --with rag-prefix=PATH" in refused("--method", "rag-prefix-oracle")
    assert "needs --with rag-lora=PATH" in refused("--method", "rag-lora-bm25")
    assert "needs --with qa-base=PATH" in refused("--method", "qa-base")
    assert "needs --with camels=PATH" in refused("--method", "camels")
    assert "give NAME=PATH" in refused("--with", "lora=x")
    assert "There is no 'x'" in refused("--with", "rag-lora=x")
    assert "must end in .html, .png" in refused("--report", "curve.gif")
    assert "There is no folder gone" in refused("--report", "gone/page.html")
    assert "There is no folder gone" in refused("--out", "gone/result.json")
    (work / "prefix").write_text("no tensors")
    method = ("--method", "rag-prefix-oracle", "--with", "rag-prefix=prefix")
    assert "no constant prefix tokens" in refused(*method, code=1)
    out = ("--method", "closed-book", "--out", "result.json", "--resume")
    for held, says in (
        ("[", "result.json holds no results: Expecting value"),
        ("{}", "result.json holds no results of mac eval."),
        ('{"format": "mac-eval", "version": 9}', "results of version 9, not 2."),
        ('{"format": "mac-eval", "version": 2, "settings": {}, "rows": [1]}', "are missing"),
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


def test_a_page_and_a_picture(mac: Mac, data: Path, tiny: Any, work: Path) -> None:
    pytest.importorskip("matplotlib")
    lines = [json.loads(line) for line in data.read_text().splitlines()]
    lines[0]["question"] = "Is <b>this</b> & that escaped?"
    write(data, lines)
    options = ("eval", "--data", str(data), "--method", "mac", "--method", "closed-book", "-k", "2")
    options += ("--out", "result.json", "--resume")
    ran = mac(*options, "--report", "page.html")
    assert ran.code == 0, ran.err
    page = (work / "page.html").read_text()
    assert page.count("<svg") == page.count("</svg>") == 1
    assert "Is &lt;b&gt;this&lt;/b&gt; &amp; that escaped?" in page
    assert page.count("<table") == page.count("</table>") == 3
    # Self-contained: nothing is fetched.
    assert not [part for part in ("src=", "<script", "<link", "@import") if part in page]
    assert mac(*options, "--report", "quality.png").code == 0
    assert (work / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_every_method_stands_in_the_help(mac: Mac) -> None:
    told = mac("eval", "-h").out
    for name in METHODS:
        head, dash, how = name.rpartition("-")
        short = dash and f" {head}-bm25, -dense, -hybrid " in told and how in ("dense", "hybrid")
        assert short or re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", told), name
