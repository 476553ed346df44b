"""The paper's stack through the command line, with real networks, tiny and random."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maccli.training import train as service
from maccli.training.train import Run
from models.paper.setup import PaperOptions
from models.training.settings import TrainConfig

from ..conftest import Ran
from .facts import FACTS, write_facts

Mac = Callable[..., Ran]


@pytest.fixture(autouse=True)
def pretrained(work: Path, tiny_t5: Path, tiny_gpt2: Path) -> None:
    """What networks start from, by short names."""
    (work / "t5").symlink_to(tiny_t5)
    (work / "gpt2").symlink_to(tiny_gpt2)


T5 = ("--stack", "paper", "--amortizer-model", "t5", "--tokens", "8")


@pytest.fixture
def train(mac: Mac, work: Path, tiny_llama: Path, tiny_encoder: Path) -> Callable[..., Ran]:
    write_facts(work / "facts.jsonl")

    def run(*options: str, out: str = "made", start: bool = True) -> Ran:
        models = ("--base", str(tiny_llama), "--encoder", str(tiny_encoder)) if start else ()
        return mac(
            *("train", "--data", "facts.jsonl", "--out", out, "--device", "cpu", "--steps", "2"),
            *("--batch", "4", "--documents", "2", *models, *options),
        )

    return run


@pytest.mark.parametrize(
    "amortizer",
    [
        ("--amortizer-model", "t5", "--tokens", "8", "--backprop-dropout", "0.5"),
        ("--amortizer", "encoder", "--tokens", "6"),
        ("--amortizer", "decoder-only", "--amortizer-model", "gpt2", "--tokens", "8"),
    ],
)
def test_train_ingest_ask(
    amortizer: tuple[str, ...], train: Callable[..., Ran], mac: Mac, work: Path
) -> None:
    trained = train("--stack", "paper", "--chunk-tokens", "32", *amortizer)
    assert trained.code == 0, trained.err
    steps = [json.loads(line) for line in (work / "made" / "log.jsonl").read_text().splitlines()]
    assert [step["learning_rate"] for step in steps] == [1e-5, 1e-5]
    shown = mac("model", "show", "made", "--json").json
    tokens = 6 if "encoder" in amortizer else 8
    assert (shown["stack"], shown["tokens"], shown["hidden_size"]) == ("paper", tokens, 72)
    for n, (document, _, _) in enumerate(FACTS):
        (work / f"{n}.txt").write_text(f"{document} It was a day like any other.")
    ingested = mac("ingest", "*.txt", "-m", "made", "--json")
    assert (ingested.code, ingested.err) == (0, "")
    assert ingested.json["added"] == 4
    asked = mac("ask", FACTS[0][1], "-m", "made", "--json", "-k", "2", "--retriever", "bm25")
    assert asked.code == 0, asked.err
    best = asked.json["sources"][0]
    assert best["source"] == str(work / "0.txt")
    assert best["text"].startswith("The town of Varnholt")
    assert asked.json["prefix_tokens"] == 2
    assert mac("ask", FACTS[0][1], "-m", "made", "--mode", "rag").code == 0


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's
def test_lora_from_training_to_an_adapter(
    train: Callable[..., Ran], mac: Mac, work: Path, tiny_llama: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    made = ("--stack", "paper", "--amortizer", "encoder", "--modulation", "lora")
    trained = train(*made, "--lora-rank", "4", "--backprop-dropout", "0.5", "--lr", "1e-2")
    assert trained.code == 0, trained.err
    shown = mac("model", "show", "made", "--json").json
    assert (shown["modulation"], shown["r"], shown["lora_alpha"]) == ("lora", 4, 8)
    assert shown["lora_targets"] == {"q_proj": [72, 72], "v_proj": [72, 24]}
    for n, (document, _, _) in enumerate(FACTS):
        (work / f"{n}.txt").write_text(document)
    assert mac("ingest", "*.txt", "-m", "made", "--json").json["added"] == 4
    asked = mac("ask", FACTS[0][1], "-m", "made", "--json")
    assert asked.code == 0, asked.err
    assert asked.json["prefix_tokens"] == 0 and len(asked.json["sources"]) == 4
    export = ("model", "export", FACTS[0][1], "out/adapter", "-m", "made")
    exported = mac(*export)
    assert (exported.code, exported.out) == (0, "out/adapter\n"), exported.err
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_llama), "out/adapter"
    )
    assert model.peft_config["default"].r == 4
    again = mac(*export)
    assert again.code == 2
    assert "There is something in out/adapter already." in again.err


def test_train_further(train: Callable[..., Ran], work: Path) -> None:
    assert train(*T5).code == 0
    further = train("--from", "made", out="more", start=False)
    assert further.code == 0, further.err
    made, more = (json.loads((work / n / "config.json").read_text()) for n in ("made", "more"))
    assert more["training"]["from"]["steps"] == 2
    assert more["network"] == made["network"]


def test_a_store_of_another_stack_is_refused(
    train: Callable[..., Ran], mac: Mac, work: Path
) -> None:
    assert train(*T5).code == 0
    assert train("--rank", "16", out="other").code == 0
    (work / "0.txt").write_text(FACTS[0][0])
    assert mac("ingest", "0.txt", "-m", "made").code == 0
    refused = mac("ask", "Who?", "-m", "other")
    assert refused.code == 1
    assert len(refused.err.splitlines()) == 2


def test_it_is_measured_without_selection(train: Callable[..., Ran], mac: Mac) -> None:
    assert train(*T5).code == 0
    options = ("--method", "mac", "-k", "all", "--json")
    ran = mac("eval", "--data", "facts.jsonl", "-m", "made", *options)
    assert ran.code == 0, ran.err
    (row,) = ran.json["rows"]
    assert (row["k"], row["costs"]["found"], row["costs"]["prefix_tokens"]) == ("all", 100, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tokens", "4"), "--tokens belongs to the paper stack (--stack paper)."),
        (
            ("--stack", "paper", "--rank", "4"),
            "--rank belongs to the latent stack (--stack latent).",
        ),
        (
            ("--stack", "paper", "--amortizer", "encoder", "--amortizer-model", "x"),
            "--amortizer encoder starts from no --amortizer-model.",
        ),
        (("--lora-rank", "4"), "--lora-rank belongs to the paper stack (--stack paper)."),
        (
            ("--stack", "paper", "--lora-rank", "4"),
            "--lora-rank belongs to --modulation lora.",
        ),
        (
            ("--from", "x", "--stack", "paper"),
            "--stack comes from the checkpoint named with --from; leave it out.",
        ),
    ],
)
def test_wrong_options(options: tuple[str, ...], message: str, train: Callable[..., Ran]) -> None:
    ran = train(*options, start=False)
    assert ran.code == 2
    assert message in ran.err


def test_the_example_of_settings_is_understood(
    mac: Mac, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[Run, TrainConfig]] = []

    def train(run: Run, config: TrainConfig, _: Any) -> Path:
        runs.append((run, config))
        return run.out

    monkeypatch.setattr(service, "train", train)
    file = Path(__file__).parents[3] / "examples" / "train" / "paper-smollm2-135m.toml"
    assert mac("train", "--config", str(file), "--data", "a.jsonl", "--out", "made").code == 0
    ((run, config),) = runs
    assert run.paper == PaperOptions(amortizer="encoder", tokens=12)
    assert (config.backprop_dropout, config.learning_rate, config.steps) == (0.5, 1e-4, 2000)
    assert (config.groups, config.documents, config.accumulate) == (2, 4, 1)


def test_models_that_do_not_fit(train: Callable[..., Ran], tiny_gpt2: Path, work: Path) -> None:
    (work / "empty").mkdir()
    for options, message in (
        (("--amortizer-model", str(tiny_gpt2)), "'t5' cannot use"),
        (("--amortizer-model", "empty"), "empty"),
        (("--amortizer-model", "t5", "--tokens", "9"), "tokens must be at most 8, not 9"),
    ):
        ran = train("--stack", "paper", *options)
        assert ran.code == 1
        assert message in ran.err and len(ran.err.splitlines()) <= 2
    assert not (work / "made").exists()


def test_what_is_not_the_authors_is_not_converted(
    mac: Mac, work: Path, tiny_llama: Path, tiny_encoder: Path
) -> None:
    (work / "best.pt").write_bytes(b"nothing")
    options = ("--out", "made", "--base", str(tiny_llama), "--encoder", str(tiny_encoder))
    ran = mac("model", "convert", "best.pt", *options)
    assert ran.code == 1
    assert ran.err.startswith("Error: best.pt is not a checkpoint") and "made" not in ran.out
    (work / "made").mkdir()
    (work / "made" / "config.json").write_text("{}")
    assert mac("model", "convert", "best.pt", *options).code == 2
