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

from models.memory import checkpoint
from models.paper.config import PaperConfig
from models.paper.stack import PaperStack

from .conftest import Ran
from .test_eval import DOCUMENTS, QUESTIONS, write

Mac = Callable[..., Ran]


@pytest.fixture
def data(work: Path) -> str:
    rows = [
        {"id": f"q{n}", "doc_id": f"d{n}", "doc": text, "question": asked, "answers": [answer]}
        for n, (text, (asked, answer)) in enumerate(zip(DOCUMENTS, QUESTIONS, strict=True))
    ]
    return str(write(work / "facts.jsonl", rows))


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


def encoder(folder: Path, start: Path, *modules: str, **pooling: Any) -> str:
    """A folder as sentence-transformers writes it, around the weights of another one."""
    shutil.copytree(start, folder)
    listed = [{"type": f"sentence_transformers.models.{m}", "path": ""} for m in modules]
    for module in listed:
        if module["type"].endswith("Pooling"):
            module["path"] = "1_Pooling"
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder.name


def answers(row: Any) -> list[str]:
    return [one["prediction"] for one in row["predictions"]]


def test_every_measure_of_the_papers_stack(mac: Mac, data: str, paper: str, work: Path) -> None:
    pytest.importorskip("matplotlib")
    asked = ("closed-book", "rag-hybrid", "mac", "mac-dense", "mac+text", "mac-oracle")
    options = ("eval", "--data", data, "-m", paper, "--out", "result.json", "-k", "2", "-k", "all")
    options += (*(part for method in asked for part in ("--method", method)), "--retention", "2")
    options += ("--abstention", "--bank-sizes", "3,6", "--report", "page.html", "--plot", "a.svg")
    ran = mac(*options, "--json")
    assert ran.code == 0, ran.err
    result = ran.json
    assert [(r["method"], r["k"]) for r in result["rows"]] == [
        ("closed-book", None),
        ("rag-hybrid", 2),
        *(("mac", 2), ("mac", "all"), ("mac-dense", 2), ("mac+text", 2), ("mac+text", "all")),
        ("mac-oracle", None),
    ]
    rows = {(r["method"], r["k"]): r for r in result["rows"]}
    # As many prefix tokens for any number of documents.
    assert rows["mac", 2]["prefix_tokens"] == rows["mac", "all"]["prefix_tokens"] == 2
    assert rows["mac", "all"]["found"] == 100
    for k in (2, "all"):
        assert rows["mac+text", k]["prompt_tokens"] > rows["mac", k]["prompt_tokens"]
        assert len(set(answers(rows["mac+text", k]))) > 1
    assert result["settings"]["group"] == 2
    assert {r["method"] for r in result["retention"]} == {*asked} - {"closed-book", "mac-oracle"}
    assert {(r["k"], r["size"]) for r in result["bank_sizes"]} == {(2, 3), (2, 6)}
    assert result["abstention"]["wrongly_abstained"] == 0
    page = (work / "page.html").read_text()
    assert (
        "mac+text, k = all" in page and "<svg" in page and "mac+text" in Path("a.svg").read_text()
    )
    again = mac(*options, "--resume")
    assert again.code == 0
    assert re.search(r"\| mac\+text +\| all +\|", again.out)


def test_all_documents_at_once_or_in_groups(mac: Mac, data: str, paper: str) -> None:
    options = ("eval", "--data", data, "-m", paper, "--method", "mac", "--json")
    options += ("--store", "bank", "-k", "6", "-k", "all")
    selected, whole = mac(*options, "--group", "all").json["rows"]
    # Selecting as many as there are is no selection, in whatever order they are aggregated.
    assert selected["k"] == 6 and answers(selected) == answers(whole)
    ran = mac(*options, "--group", "2", "--out", "two.json")
    assert ran.json["settings"]["group"] == 2
    refused = mac(*options, "--group", "3", "--out", "two.json", "--resume")
    assert refused.code == 2 and "results of other settings: group 2, not 3." in refused.err


@pytest.mark.parametrize("k", ["2", "all"])
def test_the_papers_bank_is_pruned(mac: Mac, data: str, paper: str, k: str) -> None:
    options = ("eval", "--data", data, "-m", paper, "--prune-curve", "-k", k, "--store", "bank")
    options += ("--strategy", "nn-average", "--strategy", "random", "--strategy", "usage")
    ran = mac(*options, "--size", "100", "--size", "50", "--json")
    assert ran.code == 0, ran.err
    left = [(r["strategy"], r["modulations"]) for r in ran.json["rows"]]
    assert left == [("whole", 6), ("nn-average", 3), ("random", 3), ("usage", 3)]


def test_checkpoints_side_by_side(
    mac: Mac, data: str, paper: str, latent: str, other_base: str, work: Path
) -> None:
    pytest.importorskip("matplotlib")
    models = ("-m", paper, "-m", latent, "-m", other_base, "-m", latent)
    options = ("eval", "--data", data, *models, "--method", "closed-book", "--method", "mac")
    options += ("-k", "2", "-k", "all", "--store", "banks", "--out", "result.json")
    studies = ("--bank-sizes", "6", "--plot", "a.svg", "--report", "page.html")
    ran = mac(*options, *studies, "--json")
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
    assert [r["checkpoint"] for r in ran.json["bank_sizes"]] == ["paper", "latent", "other"]
    assert sorted(path.name.rpartition("-")[0] for path in (work / "banks").iterdir()) == [
        *("latent", "other", "paper"),
    ]
    assert set(ran.json["ingests"]) == {"latent", "other", "paper"}
    assert "mac [other]" in (work / "page.html").read_text()
    assert "closed-book [tiny-qwen2]" in (work / "a.svg").read_text()
    again = mac(*options, "--resume")
    assert again.code == 0 and "| mac [latent] " in again.out
    alone = mac("eval", "--data", data, "-m", latent, "--out", "result.json", "--resume")
    assert alone.code == 2 and "results of other settings: " in alone.err
    one = mac("eval", "--data", data, "-m", latent, "--method", "mac", "-k", "2", "--json").json
    (mine,) = [r for r in ran.json["rows"] if r["checkpoint"] == "latent"]
    assert answers(one["rows"][0]) == answers(mine)
    assert one["rows"][0]["checkpoint"] is None and "ingest" in one


def test_what_several_checkpoints_refuse_and_prune(
    mac: Mac, data: str, paper: str, latent: str
) -> None:
    both = ("eval", "--data", data, "-m", paper, "-m", latent, "-k", "2", "--store", "banks")
    curve = mac(*both, "--prune-curve", "--strategy", "random", "--size", "50", "--size", "100")
    assert curve.code == 0, curve.err
    assert "| random [paper] " in curve.out and "| whole [latent] " in curve.out
    # The first one abstains, the second has no threshold.
    refused = mac(*both, "--abstention", "--out", "kept.json")
    assert refused.code == 1 and "has no threshold" in refused.err
    assert [r["checkpoint"] for r in json.loads(Path("kept.json").read_text())["abstention"]] == [
        "paper"
    ]


def test_results_of_before_are_gone_on_with(mac: Mac, data: str, latent: str) -> None:
    options = ("eval", "--data", data, "-m", latent, "--method", "mac", "-k", "2")
    assert mac(*options, "--out", "result.json").code == 0
    old = json.loads(Path("result.json").read_text())
    del old["settings"]["group"]
    for row in old["rows"]:
        for name in ("checkpoint", "base_lm", "retriever"):
            del row[name]
    Path("result.json").write_text(json.dumps(old))
    ran = mac(*options, "--out", "result.json", "--resume", "--method", "mac-dense", "--json")
    assert ran.code == 0, ran.err
    assert [r["method"] for r in ran.json["rows"]] == ["mac", "mac-dense"]


def test_retrievers_of_others(
    mac: Mac, data: str, latent: str, paper: str, tiny_encoder: Path, work: Path
) -> None:
    pytest.importorskip("matplotlib")
    plain = encoder(work / "plain", tiny_encoder, "Transformer", pooling_mode_mean_tokens=True)
    cls = encoder(
        work / "first", tiny_encoder, "Transformer", "Pooling", pooling_mode_cls_token=True
    )
    found = ("--retriever", plain, "--retriever", f"{cls},{plain}")
    options = ("eval", "--data", data, "-m", latent, "-m", paper, "-k", "1", "-k", "6", *found)
    options += ("--method", "rag-dense", "--method", "mac", "--out", "result.json")
    ran = mac(*options, "--bank-sizes", "6,4", "--report", "page.html", "--json")
    assert ran.code == 0, ran.err
    rows = {(r["method"], r["k"], r["checkpoint"]): r for r in ran.json["rows"]}
    added = {name for name, _, _ in rows} - {"mac", "rag-dense"}
    assert added == {"rag-plain", "mac-plain", "rag-first", "mac-first"}
    for name in added:
        row = rows[name, 6, "latent" if name.startswith("mac") else None]
        assert row["found"] == 100 and row["retriever"] is not None
        assert row["adaptation_seconds"] > 0 and row["adaptation_memory"] > 1e6
    # What is found does not depend on who reads it, and with all found mac has the same bank.
    hits = [
        [p["found"] for p in rows[name, 1, whose]["predictions"]]
        for name, whose in (("rag-plain", None), ("mac-plain", "latent"), ("mac-plain", "paper"))
    ]
    assert hits[0] == hits[1] == hits[2]
    assert answers(rows["mac-plain", 6, "latent"]) == answers(rows["mac", 6, "latent"])
    assert rows["rag-plain", 1, None]["bytes_a_document"] == pytest.approx(
        sum(map(len, DOCUMENTS)) / 6 + 2 * 32
    )
    assert rows["mac-plain", 1, "paper"]["bytes_a_document"] > 2 * 32
    sizes = [(r["method"], r["size"]) for r in ran.json["bank_sizes"] if r["k"] == 1]
    assert ("rag-first", 4) in sizes and ("mac-plain", 6) in sizes
    assert "rag-first, k = 6" in (work / "page.html").read_text()
    again = mac(*options, "--resume")
    assert again.code == 0 and "| mac-first [paper] " in again.out


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("-k", "all"), 2, "-k all is of the paper's stack"),
        (("--group", "4"), 2, "--group is of the paper's stack"),
        (("-k", "0"), 2, "'0' is neither a number from 1 on nor all."),
        (("--group", "1"), 2, "'1' is neither a number from 2 on nor all."),
        (("--retriever", "nowhere"), 1, "no base model is called 'nowhere'"),
        (("--retriever", "a,b,c"), 2, "'a,b,c' is no retriever."),
        (("--retriever", "dense"), 2, "rag-dense would be the name of two methods."),
        (("--retriever", "x", "--prune-curve"), 2, "--retriever does not go with --prune-curve."),
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
    options = ("--method", "rag-prefix-dense", "--rag-prefix", "p.safetensors")
    alone = mac("eval", "--data", data, "-m", paper, *options)
    assert alone.code == 1 and "the latent stack; paper is of the paper's" in alone.err
    two = mac("eval", "--data", data, "-m", latent, "-m", other_base, *options)
    assert two.code == 2 and "belong to one base LM" in two.err


@pytest.mark.parametrize(
    ("method", "option"),
    [("rag-lora-dense", "--rag-lora"), ("uniform", "--qa-base"), ("camels", "--camels")],
)
def test_what_learned_on_one_base_lm_is_not_compared_on_two(
    mac: Mac, data: str, latent: str, other_base: str, method: str, option: str
) -> None:
    both = ("eval", "--data", data, "-m", latent, "-m", other_base)
    ran = mac(*both, "--method", method, option, latent)
    assert ran.code == 2
    assert f"The files of {option} belong to one base LM" in ran.err
