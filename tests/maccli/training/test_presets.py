"""`mac train --preset`: what each means, what goes before it, and that each can be trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maccli.training import train as service
from maccli.training.presets import PRESETS
from maccli.training.train import Run
from models.memory import checkpoint
from models.training.settings import PRECISIONS, TrainConfig
from models.weights import pinned

from ..conftest import Ran
from .facts import FACTS, write_facts

Mac = Callable[..., Ran]
Parse = Callable[..., tuple[Run, TrainConfig]]


@pytest.fixture
def facts(work: Path) -> Path:
    return write_facts(work / "facts.jsonl")


@pytest.fixture
def parse(mac: Mac, facts: Path, monkeypatch: pytest.MonkeyPatch) -> Parse:
    """What a command line would train."""
    runs: list[tuple[Run, TrainConfig]] = []

    def train(run: Run, config: TrainConfig, _: Any) -> Path:
        runs.append((run, config))
        return run.out

    monkeypatch.setattr(service, "train", train)

    def parsed(*options: str) -> tuple[Run, TrainConfig]:
        ran = mac("train", "--data", str(facts), "--out", "made", *options)
        assert ran.code == 0, ran.err
        return runs.pop()

    return parsed


@pytest.mark.parametrize(
    ("name", "base", "t5", "question", "tokens", "batch", "dropped", "precision"),
    [
        ("distilgpt2", "distilbert/distilgpt2", "base", None, 12, (16, 4), 0.0, "fp32"),
        ("gpt2-large", "openai-community/gpt2-large", "base", None, 24, (4, 8), 0.75, "bf16"),
        ("gpt2-xl", "openai-community/gpt2-xl", "large", "base", 24, (4, 8), 0.75, "bf16"),
        ("llama2-7b", "meta-llama/Llama-2-7b-hf", "large", "base", 24, (8, 4), 0.75, "bf16"),
        ("smollm2-135m", pinned.DEFAULT_LM, "base", None, 12, (16, 4), 0.0, "fp32"),
    ],
)
def test_presets_are_the_paper_s_settings(
    name: str,
    base: str,
    t5: str,
    question: str | None,
    tokens: int,
    batch: tuple[int, int],
    dropped: float,
    precision: str,
    parse: Parse,
) -> None:
    run, config = parse("--preset", name)
    assert run.base_lm == base
    assert run.paper is not None
    assert (run.paper.amortizer, run.paper.model) == ("t5", f"google-t5/t5-{t5}")
    assert run.paper.question == (question and f"google-t5/t5-{question}")
    assert run.paper.tokens == tokens
    assert (config.groups * config.documents, config.accumulate) == batch
    assert (config.backprop_dropout, config.precision) == (dropped, precision)
    assert (config.learning_rate, config.clip) == (1e-5, 100.0)
    assert config.steps == max(1, 50 * len(FACTS) // (batch[0] * batch[1]))


def test_the_table_and_this_test_know_the_same_presets(mac: Mac) -> None:
    told = " ".join(mac("train", "-h").out.split())
    for name, options in PRESETS.items():
        assert (
            f"{name} ({str(options['amortizer-model']).split('/')[1]}, T {options['tokens']}"
            in told
        )
        assert options["precision"] in PRECISIONS


def test_other_options_go_first(parse: Parse, work: Path) -> None:
    (work / "run.toml").write_text('preset = "gpt2-xl"\ntokens = 6\nlr = 0.5\n')
    run, config = parse("--config", "run.toml", "--lr", "0.25", "--batch", "8", "--steps", "7")
    assert run.paper is not None
    assert (run.base_lm, run.paper.tokens) == ("openai-community/gpt2-xl", 6)
    assert (config.learning_rate, config.groups, config.steps) == (0.25, 2, 7)
    for order in (("--preset", "distilgpt2", "--config", "run.toml"),
                  ("--config", "run.toml", "--preset", "distilgpt2")):  # fmt: skip
        run, config = parse(*order)
        assert run.paper is not None
        assert (run.base_lm, run.paper.tokens) == ("distilbert/distilgpt2", 6)
        assert (config.learning_rate, config.accumulate) == (0.5, 4)


@pytest.mark.parametrize(
    "options",
    [("--amortizer", "encoder"), ("--amortizer", "decoder-only")],
)
def test_without_t5_weights_another_amortizer_is_chosen(
    options: tuple[str, ...], parse: Parse
) -> None:
    run, _ = parse("--preset", "gpt2-xl", *options)
    assert run.paper is not None
    assert (run.paper.model, run.paper.question, run.paper.tokens) == (None, None, 24)


def test_a_checkpoint_to_start_from_decides_before_a_preset(
    parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "find", Path)
    monkeypatch.setattr(checkpoint, "read_config", lambda _: {"stack": "paper"})
    run, config = parse("--preset", "gpt2-xl", "--from", "made")
    assert (run.start, run.paper, run.base_lm) == ("made", None, pinned.DEFAULT_LM)
    assert config.backprop_dropout == 0.75


def test_what_does_not_go_together_is_refused(mac: Mac, facts: Path) -> None:
    given = ("train", "--data", str(facts), "--out", "made")
    for options, message in (
        (("--preset", "gpt2-xl", "--stack", "latent"), "--preset is for the paper stack"),
        (("--steps", "3", "--epochs", "2"), "--steps and --epochs exclude each other."),
        (("--epochs", "2", "--limit", "3"), "--epochs goes through all questions, so it goes"),
        (("--preset", "gpt3"), "'gpt3' is not one of"),
        (
            ("--preset", "gpt2-xl", "--amortizer", "encoder", "--question-model", "x"),
            "--amortizer encoder starts from no --question-model.",
        ),
    ):
        ran = mac(*given, *options)
        assert ran.code == 2
        assert message in ran.err


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_trains_a_step_with_tiny_stand_ins(
    name: str, mac: Mac, facts: Path, work: Path, tiny_llama: Path, tiny_encoder: Path,
    tiny_t5: Path,
) -> None:  # fmt: skip
    ran = mac(
        *("train", "--preset", name, "--data", str(facts), "--out", "made", "--device", "cpu"),
        *("--base", str(tiny_llama), "--encoder", str(tiny_encoder), "--tokens", "8"),
        *("--quantize", "none"),
        *("--amortizer-model", str(tiny_t5), "--documents", "2", "--batch", "4"),
        *(("--question-model", str(tiny_t5)) if "question-model" in PRESETS[name] else ()),
        *("--accumulate", "2", "--steps", "1"),
    )
    assert ran.code == 0, ran.err
    config = json.loads((work / "made" / "config.json").read_text())
    assert config["training"]["precision"] == PRESETS[name]["precision"]
    assert config["training"]["examples"] == 8
    assert bool(config["question_network"]) == ("question-model" in PRESETS[name])
