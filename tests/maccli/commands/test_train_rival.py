"""The rivals that learn, from the command line, on tiny networks: trained, then evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maccli.evaluation import rivals
from models.rivals import adapter, camels, salient

from .conftest import Ran

Mac = Callable[..., Ran]

FACTS = [
    ("Varnholt opened a new bridge over the Elm in March.", "Which town opened it?", "Varnholt"),
    ("The jury gave the prize to the poet Tomas Reyl.", "Who got the prize?", "Tomas Reyl"),
    ("Heavy rain closed the northern road for 3 days.", "What closed the road?", "Heavy rain"),
    ("The ribbon was cut by Ida Brandt at noon.", "Who cut the ribbon?", "Ida Brandt"),
]


def write(path: Path, split: str) -> str:
    rows = [
        {
            "id": f"{split}{n}",
            "doc_id": f"{split}{n}",
            "doc": f"In {split}: {text}",
            "question": question,
            "answers": [answer],
            "split": split,
        }
        for n, (text, question, answer) in enumerate(FACTS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def data(work: Path) -> str:
    return write(work / "facts.jsonl", "train")


@pytest.fixture
def train(mac: Mac, data: str, tiny_llama: Path, tiny_encoder: Path) -> Callable[..., Ran]:
    def run(out: str, *more: str) -> Ran:
        given = ("train", "--data", data, "--base", str(tiny_llama), "--steps", "2", "--batch", "4")
        given += ("--encoder", str(tiny_encoder), "--documents", "2", "--device", "cpu", "-q")
        return mac(*given, "--out", out, *more)

    return run


@pytest.fixture
def by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salient, "find_tagger", lambda: (salient.by_rule, salient.FALLBACK))


def test_adapters_and_weights_are_trained_and_evaluated(
    train: Callable[..., Ran], mac: Mac, data: str, tiny: Any, by_rule: None, work: Path
) -> None:
    for out, more in (
        ("reader", ("--qa-tune", "text", "--adapter-rank", "2", "--lr", "0.05")),
        ("base", ("--qa-tune", "closed-book", "--rank", "8", "--lr", "0.05")),
        ("weights", ("--camels", "--qa-base", "base", "--lr", "0.1")),
    ):
        ran = train(out, *more)
        assert (ran.code, ran.out) == (0, f"{out}\n"), ran.err
        assert len((work / out / "log.jsonl").read_text().splitlines()) == 2
    made = [adapter.load(work / name).config for name in ("reader", "base")]
    assert [(one.task, one.training["step"]) for one in made] == [("text", 2), ("closed-book", 2)]
    assert made[0].rank == 2 and made[1].base_sha256 is not None
    assert camels.load(work / "weights").config.training["qa_base"] == "base"

    methods = ("rag-lora-dense", "rag-lora-oracle", "qa-base", "uniform", "salient-spans", "camels")
    options = (
        *("eval", "--data", data, "--rag-lora", "reader", "--qa-base", "base", "-k", "2"),
        *("--camels", "weights", "--lr", "0.01", "--out", "result.json"),
        *(part for name in methods for part in ("--method", name)),
    )
    ran = mac(*options, "--json")
    assert ran.code == 0, ran.err
    rows = {row["method"]: row for row in ran.json["rows"]}
    assert list(rows) == list(methods)
    for name in methods:
        assert len(rows[name]["predictions"]) == 4 and 0 <= rows[name]["f1"] <= 100
    for name in methods[3:]:
        row = rows[name]
        assert row["adaptation_seconds"] > 0 and row["adaptation_memory"] > 1e6
        assert row["adaptation_device_memory"] is None and row["learning_rate"] == 0.01
        assert row["adapter"] == rows["qa-base"]["adapter"] != rows["rag-lora-dense"]["adapter"]
    assert rows["salient-spans"]["tagger"] == salient.FALLBACK
    assert "regular expression; for a trained tagger" in ran.err
    assert rows["camels"]["camels"] and not rows["uniform"]["camels"]
    # Nothing is measured twice; what was tuned differs from what it started from.
    assert mac(*options, "--resume", "-q").code == 0
    # A bare question is short; the few-shot prompt is not.
    assert rows["qa-base"]["prompt_tokens"] == rows["uniform"]["prompt_tokens"] < 60
    plain = mac("eval", "--data", data, "--method", "uniform", "--lr", "0.01", "--json").json
    assert plain["rows"][0]["prompt_tokens"] > 100 and plain["rows"][0]["adapter"] is None


def test_the_learning_rate_is_chosen_on_other_questions(
    mac: Mac, data: str, tiny: Any, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write(work / "other.jsonl", "dev")
    options = ("eval", "--data", data, "--method", "uniform", "--out", "result.json")
    options += ("--tune-on", other, "--lr", "1e-9", "--lr", "0.02", "--tune-documents", "3")
    ran = mac(*options, "--json")
    assert ran.code == 0, ran.err
    swept = ran.json["learning_rates"]
    assert [(row["learning_rate"], row["documents"], row["split"]) for row in swept] == [
        (1e-9, 3, "dev"),
        (0.02, 3, "dev"),
    ]
    best = max(swept, key=lambda row: (row["f1"], row["em"], -row["learning_rate"]))
    assert [row["learning_rate"] for row in ran.json["rows"]] == [best["learning_rate"]]
    shown = mac(*options, "--resume")
    assert shown.code == 0
    assert "each method's best rate is evaluated" in shown.out
    # Another rate is measured beside those that are known already.
    calls: list[float] = []
    real = rivals.Rivals.tuned

    def tuned(self: Any, method: Any, rate: float, *more: Any) -> Any:
        calls.append(rate)
        return real(self, method, rate, *more)

    monkeypatch.setattr(rivals.Rivals, "tuned", tuned)
    again = mac(*options, "--resume", "--lr", "0.003", "--json")
    assert again.code == 0, again.err
    assert calls[0] == 0.003 and len(again.json["learning_rates"]) == 3
    missing = mac("eval", "--data", data, "--method", "uniform", "--tune-on", f"{other}:test")
    assert missing.code == 1 and "no questions of split 'test'" in missing.err


def test_a_file_and_its_split(work: Path) -> None:
    (work / "a:b").write_text("")
    assert rivals.parse("data.jsonl") == (Path("data.jsonl"), "dev")
    assert rivals.parse("data.jsonl:val") == (Path("data.jsonl"), "val")
    assert rivals.parse(str(work / "a:b")) == (work / "a:b", "dev")


def test_a_resumed_adapter(train: Callable[..., Ran], work: Path) -> None:
    assert train("made", "--qa-tune", "text", "--adapter-rank", "2").code == 0
    again = train("made", "--qa-tune", "text", "--adapter-rank", "2")
    assert again.code == 2 and "There is a checkpoint in made already." in again.err
    other = train("made", "--qa-tune", "closed-book", "--adapter-rank", "2", "--resume")
    assert other.code == 2 and "is of --qa-tune text, not closed-book." in other.err
    rank = train("made", "--qa-tune", "text", "--adapter-rank", "3", "--resume")
    assert rank.code == 1 and "does not fit this run" in rank.err


def test_an_adapter_of_another_base(
    mac: Mac, data: str, tiny: Any, train: Callable[..., Ran], work: Path
) -> None:
    assert train("made-lora", "--qa-tune", "text", "--adapter-rank", "2").code == 0
    notes = json.loads((work / "made-lora" / adapter.NOTES).read_text())
    tiny.config = __import__("dataclasses").replace(tiny.config, base_sha256="f" * 64)
    ran = mac("eval", "--data", data, "--method", "rag-lora-oracle", "--rag-lora", "made-lora")
    assert ran.code == 1
    assert f"SHA-256 {notes['base_sha256'][:12]}..." in ran.err and "not on" in ran.err


def test_options_that_do_not_go_together(
    mac: Mac, data: str, tiny: Any, train: Callable[..., Ran], work: Path
) -> None:
    (work / "folder").mkdir()

    def refused(*args: str) -> str:
        ran = mac("eval", "--data", data, *args)
        assert ran.code == 2, ran.err
        return ran.err

    assert "need --rag-lora ADAPTER" in refused("--method", "rag-lora-bm25")
    assert "needs --qa-base ADAPTER" in refused("--method", "qa-base")
    assert "needs --camels FILE" in refused("--method", "camels")
    assert "an option of --tune-on" in refused("--tune-documents", "3")
    assert "does not go with" in refused("--prune-curve", "--tune-on", data)
    for more, says in (
        (("--qa-tune", "text", "--camels"), "name one"),
        (("--adapter-rank", "3"), "--adapter-rank is an option of --qa-tune"),
        (("--qa-base", "folder"), "--qa-base is an option of --camels"),
        (("--qa-tune", "text", "--stack", "paper"), "does not go with --stack"),
    ):
        ran = train("out", *more)
        assert ran.code == 2 and says in ran.err, ran.err
    ran = mac("eval", "--data", data, "--method", "qa-base", "--qa-base", "folder")
    assert ran.code == 1 and "adapter_model.safetensors: No such file" in ran.err
    ran = mac("eval", "--data", data, "--method", "camels", "--camels", "folder", "-q")
    assert ran.code == 1 and "camels.safetensors: No such file" in ran.err
