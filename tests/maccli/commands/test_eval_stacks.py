"""`mac eval` with every stack, several checkpoints and retrievers of others; tiny and random."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.paper.config import PaperConfig
from models.paper.stack import PaperStack

from ..conftest import Ran
from ..evaluation.facts import DOCUMENTS, rows, write

Mac = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways to the same answers round differently; in bfloat16 an untrained LM's tokens tie."""
    monkeypatch.setenv("MAC_PRECISION", "fp32")


@pytest.fixture
def data(work: Path) -> str:
    return str(write(work / "facts.jsonl", rows()))


@pytest.fixture
def paper(work: Path, tiny_llama: Path, tiny_encoder: Path) -> str:
    """A checkpoint of the paper's stack, untrained."""
    torch.manual_seed(0)
    config = PaperConfig(
        **{"base_lm": str(tiny_llama), "base_sha256": None},
        **{"encoder": str(tiny_encoder), "encoder_sha256": None},
        **{"layers": 2, "kv_heads": 3, "head_size": 8, "hidden_size": 72, "key_size": 32},
        **{"amortizer": "encoder", "network": {"hidden_size": 32}, "tokens": 4},
        **{"blocks": 2, "heads": 2, "attention_size": 8, "head_hidden": 32},
        **{"chunk_tokens": 64, "group": 2, "documents": 3, "abstain_below": -1e9},
    )
    PaperStack(config).save(work / "paper")
    return "paper"


@pytest.fixture
def latent(work: Path, build_memory: Any, tiny_llama: Path) -> str:
    build_memory(tiny_llama).stack.save(work / "latent")
    return "latent"


@pytest.fixture
def other_base(work: Path, build_memory: Any, tiny_qwen2: Path) -> str:
    build_memory(tiny_qwen2, latent_size=8).stack.save(work / "other")
    return "other"


def encoder(folder: Path, start: Path, pooling: str) -> str:
    """A folder as sentence-transformers writes it, around the weights of another one."""
    shutil.copytree(start, folder)
    modules = [
        {"idx": i, "name": str(i), "type": f"sentence_transformers.models.{kind}", "path": path}
        for i, (kind, path) in enumerate((("Transformer", ""), ("Pooling", "1_Pooling")))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    config = {"word_embedding_dimension": 32, f"pooling_mode_{pooling}": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return folder.name


def answers(row: Any) -> list[str]:
    return [answer["prediction"] for answer in row["answers"]]


def test_every_measure_of_the_papers_stack(mac: Mac, data: str, paper: str, work: Path) -> None:
    pytest.importorskip("matplotlib")
    asked = ("closed-book", "rag-hybrid", "mac", "mac-dense", "mac+text", "mac-oracle")
    methods = [part for method in asked for part in ("--method", method)]
    given = ("--data", data, "-m", paper)
    options = ("eval", *given, "--out", "result.json", "-k", "2", "-k", "all", *methods)
    ran = mac(*options, "--report", "page.html", "--json")
    assert ran.code == 0, ran.err
    result = ran.json
    assert [(r["method"], r["k"]) for r in result["rows"]] == [
        ("closed-book", None),
        ("rag-hybrid", 2),
        *(("mac", 2), ("mac", "all"), ("mac-dense", 2), ("mac+text", 2), ("mac+text", "all")),
        ("mac-oracle", None),
    ]
    measured = {(r["method"], r["k"]): r for r in result["rows"]}
    costs = {key: row["costs"] for key, row in measured.items()}
    # As many prefix tokens for any number of documents.
    assert costs["mac", 2]["prefix_tokens"] == costs["mac", "all"]["prefix_tokens"] == 2
    assert costs["mac", "all"]["found"] == 100
    for k in (2, "all"):
        assert costs["mac+text", k]["prompt_tokens"] > costs["mac", k]["prompt_tokens"]
        assert len(set(answers(measured["mac+text", k]))) > 1
    assert result["settings"]["group"] == 2
    page = (work / "page.html").read_text()
    assert "mac+text, k = all" in page and "<svg" in page
    again = mac(*options, "--resume")
    assert again.code == 0
    assert re.search(r"\| mac\+text +\| all +\|", again.out)
    kept = mac("study", "retention", *given, "-k", "2", "--first", "2", *methods, "--json")
    assert kept.code == 0, kept.err
    lasting = {*asked} - {"closed-book", "mac-oracle"}
    assert {r["method"] for r in kept.json["rows"]} == lasting
    sizes = mac("study", "bank-sizes", *given, "-k", "2", "--sizes", "3,6", *methods, "--json")
    assert sizes.code == 0, sizes.err
    assert {(r["method"], r["at"]) for r in sizes.json["rows"]} == {
        (method, size) for method in lasting for size in (3, 6)
    }
    refused = mac("study", "abstention", *given, "-k", "2", "--json")
    assert refused.json["rows"][0]["figures"]["wrongly"][0] == 0


def test_selecting_all_is_no_selection(mac: Mac, data: str, paper: str, work: Path) -> None:
    config = json.loads((work / paper / "config.json").read_text())
    (work / paper / "config.json").write_text(json.dumps({**config, "group": 64}))
    options = ("eval", "--data", data, "-m", paper, "--method", "mac", "--json")
    ran = mac(*options, "-k", "6", "-k", "all")
    assert ran.code == 0, ran.err
    selected, whole = ran.json["rows"]
    # In whatever order documents are aggregated.
    assert selected["k"] == 6 and answers(selected) == answers(whole)


@pytest.mark.parametrize("k", ["2", "all"])
def test_the_papers_bank_is_pruned(mac: Mac, data: str, paper: str, k: str) -> None:
    options = ("study", "prune-curve", "--data", data, "-m", paper, "-k", k, "--store", "bank")
    options += ("--strategy", "nn-average", "--strategy", "random", "--strategy", "usage")
    ran = mac(*options, "--percent", "100", "--percent", "50", "--json")
    assert ran.code == 0, ran.err
    left = [(r["method"], r["costs"]["modulations"]) for r in ran.json["rows"]]
    assert left == [("whole", 6), ("nn-average", 3), ("random", 3), ("usage", 3)]


def test_checkpoints_side_by_side(
    mac: Mac, data: str, paper: str, latent: str, other_base: str, work: Path
) -> None:
    pytest.importorskip("matplotlib")
    models = ("-m", paper, "-m", latent, "-m", other_base, "-m", latent)
    options = ("eval", "--data", data, *models, "--method", "closed-book", "--method", "mac")
    options += ("-k", "2", "-k", "all", "--store", "banks", "--out", "result.json")
    ran = mac(*options, "--report", "page.html", "--json")
    assert ran.code == 0, ran.err
    bases = ("tiny-llama", "tiny-qwen2")
    # What needs no checkpoint is measured once a base LM; only the paper's stack reads all.
    assert [(r["method"], r["k"], r["checkpoint"], r["base_lm"]) for r in ran.json["rows"]] == [
        ("mac", 2, "paper", None),
        ("mac", "all", "paper", None),
        ("closed-book", None, None, bases[0]),
        ("mac", 2, "latent", None),
        ("closed-book", None, None, bases[1]),
        ("mac", 2, "other", None),
    ]
    assert sorted(path.name.rpartition("-")[0] for path in (work / "banks").iterdir()) == [
        *("latent", "other", "paper"),
    ]
    assert set(ran.json["ingest"]) == {"latent", "other", "paper"}
    page = (work / "page.html").read_text()
    assert "mac [other]" in page and "closed-book [tiny-qwen2]" in page
    sizes = mac("study", "bank-sizes", "--data", data, *models, "--sizes", "6", "--json").json
    assert [r["checkpoint"] for r in sizes["rows"]] == ["paper", "latent", "other"]
    again = mac(*options, "--resume")
    assert again.code == 0 and "| mac [latent] " in again.out
    alone = mac("eval", "--data", data, "-m", latent, "--out", "result.json", "--resume")
    assert alone.code == 2 and "results of other settings: " in alone.err
    one = mac("eval", "--data", data, "-m", latent, "--method", "mac", "-k", "2", "--json").json
    (mine,) = [r for r in ran.json["rows"] if r["checkpoint"] == "latent"]
    assert answers(one["rows"][0]) == answers(mine)
    assert one["rows"][0]["checkpoint"] is None and "store" in one["ingest"]


def test_what_several_checkpoints_refuse_and_prune(
    mac: Mac, data: str, paper: str, latent: str
) -> None:
    both = ("--data", data, "-m", paper, "-m", latent, "-k", "2", "--store", "banks")
    sizes = ("--percent", "50", "--percent", "100")
    curve = mac("study", "prune-curve", *both, "--strategy", "random", *sizes)
    assert curve.code == 0, curve.err
    assert "| random [paper] " in curve.out and "| whole [latent] " in curve.out
    # The first one abstains, the second has no threshold.
    refused = mac("study", "abstention", *both, "--out", "kept.json")
    assert refused.code == 1 and "has no threshold" in refused.err
    assert [r["checkpoint"] for r in json.loads(Path("kept.json").read_text())["rows"]] == ["paper"]


def test_retrievers_of_others(
    mac: Mac, data: str, latent: str, paper: str, tiny_encoder: Path, work: Path
) -> None:
    pytest.importorskip("matplotlib")
    plain = encoder(work / "plain", tiny_encoder, "mean_tokens")
    cls = encoder(work / "first", tiny_encoder, "cls_token")
    found = [f"{reader}@{by}" for by in (plain, f"{cls},{plain}") for reader in ("rag", "mac")]
    methods = [part for name in ("rag-dense", "mac", *found) for part in ("--method", name)]
    given = ("--data", data, "-m", latent, "-m", paper, *methods)
    options = ("eval", *given, "-k", "1", "-k", "6", "--out", "result.json")
    ran = mac(*options, "--report", "page.html", "--json")
    assert ran.code == 0, ran.err
    measured = {(r["method"], r["k"], r["checkpoint"]): r for r in ran.json["rows"]}
    added = {name for name, _, _ in measured} - {"mac", "rag-dense"}
    assert added == {"rag@plain", "mac@plain", "rag@first", "mac@first"}
    for name in added:
        row = measured[name, 6, "latent" if name.startswith("mac") else None]
        costs = row["costs"]
        assert costs["found"] == 100 and row["files"]["encoder"]
        assert costs["adaptation_seconds"] > 0 and costs["adaptation_memory"] > 1e6
    # What is found does not depend on who reads it, and with all found mac has the same store.
    hits = [
        [a["found"] for a in measured[name, 1, whose]["answers"]]
        for name, whose in (("rag@plain", None), ("mac@plain", "latent"), ("mac@plain", "paper"))
    ]
    assert hits[0] == hits[1] == hits[2]
    assert answers(measured["mac@plain", 6, "latent"]) == answers(measured["mac", 6, "latent"])
    each = {key: row["costs"]["bytes_a_document"] for key, row in measured.items()}
    assert each["rag@plain", 1, None] == pytest.approx(sum(map(len, DOCUMENTS)) / 6 + 2 * 32)
    assert each["mac@plain", 1, "paper"] > 2 * 32
    assert "rag@first, k = 6" in (work / "page.html").read_text()
    again = mac(*options, "--resume")
    assert again.code == 0 and "| mac@first [paper] " in again.out
    sizes = mac("study", "bank-sizes", *given, "-k", "1", "--sizes", "6,4", "--json")
    assert sizes.code == 0, sizes.err
    rows_of = {(r["method"], r["at"]): r for r in sizes.json["rows"] if r["base_lm"] is None}
    assert ("rag@first", 4) in rows_of and ("mac@plain", 6) in rows_of


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("-k", "all"), 2, "-k all works with the paper's stack"),
        (("--method", "mac@nowhere"), 1, "no base model is called 'nowhere'"),
    ],
)
def test_what_cannot_be_asked(
    mac: Mac, data: str, latent: str, options: tuple[str, ...], code: int, says: str
) -> None:
    ran = mac("eval", "--data", data, "-m", latent, *options)
    assert (ran.code, says in ran.err) == (code, True), ran.err
    assert not Path("result.json").exists()


def test_constant_tokens_are_of_one_base_lm(
    mac: Mac, data: str, latent: str, paper: str, other_base: str
) -> None:
    Path("p.safetensors").write_bytes(b"")
    options = ("--method", "rag-prefix-dense", "--with", "rag-prefix=p.safetensors")
    alone = mac("eval", "--data", data, "-m", paper, *options)
    assert alone.code == 1 and "the latent stack; paper is of the paper's" in alone.err
    two = mac("eval", "--data", data, "-m", latent, "-m", other_base, *options)
    assert two.code == 2 and "each was trained with one base model" in two.err


@pytest.mark.parametrize(
    ("method", "name"),
    [("rag-lora-dense", "rag-lora"), ("uniform", "qa-base"), ("camels", "camels")],
)
def test_what_learned_on_one_base_lm_is_not_compared_on_two(
    mac: Mac, data: str, latent: str, other_base: str, method: str, name: str
) -> None:
    both = ("eval", "--data", data, "-m", latent, "-m", other_base)
    ran = mac(*both, "--method", method, "--with", f"{name}={latent}")
    assert ran.code == 2
    assert f"{name}: each was trained with one base model" in ran.err
