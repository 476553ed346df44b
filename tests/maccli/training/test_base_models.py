"""Base models of other families through the command line, tiny and random."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from models.memory import checkpoint

from ..conftest import Ran
from .facts import FACTS, write_facts

Mac = Callable[..., Ran]


@pytest.fixture
def train(mac: Mac, work: Path, tiny_encoder: Path) -> Callable[..., Ran]:
    write_facts(work / "facts.jsonl")

    def run(*options: str) -> Ran:
        return mac(
            *("train", "--data", "facts.jsonl", "--out", "made", "--device", "cpu", "--steps", "2"),
            *("--batch", "4", "--documents", "2", "--encoder", str(tiny_encoder), *options),
        )

    return run


@pytest.mark.parametrize(
    "stack",
    [("--rank", "16"), ("--stack", "paper", "--amortizer", "encoder", "--tokens", "4")],
    ids=["latent", "paper"],
)
def test_gpt2_trains_ingests_and_answers(
    stack: tuple[str, ...], train: Callable[..., Ran], mac: Mac, work: Path, tiny_gpt2: Path
) -> None:
    weights = (tiny_gpt2 / "model.safetensors").read_bytes()
    trained = train("--base", str(tiny_gpt2), "--chunk-tokens", "32", *stack)
    assert trained.code == 0, trained.err
    assert (tiny_gpt2 / "model.safetensors").read_bytes() == weights
    shown = mac("model", "show", "made", "--json").json
    assert (shown["layers"], shown["kv_heads"], shown["head_size"]) == (2, 4, 12)
    for n, (document, _, _) in enumerate(FACTS):
        (work / f"{n}.txt").write_text(f"{document} It was a day like any other.")
    ingested = mac("ingest", "*.txt", "-m", "made", "--json")
    assert (ingested.code, ingested.err) == (0, "")
    assert ingested.json["added"] == 4
    ask = ("ask", FACTS[0][1], "-m", "made", "--json", "-k", "2", "--retriever", "bm25")
    asked = mac(*ask)
    assert asked.code == 0, asked.err
    assert asked.json["sources"][0]["source"] == str(work / "0.txt")
    assert mac(*ask).json["answer"] == asked.json["answer"]
    assert mac("ask", FACTS[0][1], "-m", "made", "--mode", "closed-book").code == 0
    # The few-shot prompt alone is longer than the 256 positions of this one.
    for mode in (("--mode", "rag"), ()):
        question = FACTS[0][1] if mode else "bridge " * 300
        refused = mac("ask", question, "-m", "made", *mode)
        assert refused.code == 1
        message, hint = refused.err.splitlines()
        assert message.startswith("Error: the base model has 256 positions, but the text")
        assert hint.startswith("Hint: ask a shorter question")


def test_a_checkpoint_finds_its_local_base_model_from_everywhere(
    train: Callable[..., Ran],
    mac: Mac,
    work: Path,
    tiny_llama: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (work / "base").symlink_to(tiny_llama)
    trained = train("--base", "base", "--rank", "16")
    assert trained.code == 0, trained.err
    assert mac("model", "show", "made", "--json").json["base_lm"] == str(work / "base")
    (elsewhere := work / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    asked = mac("ask", FACTS[0][1], "-m", "../made", "--mode", "closed-book")
    assert asked.code == 0, asked.err


def test_other_architectures_are_refused(train: Callable[..., Ran], work: Path) -> None:
    from transformers import OPTConfig, OPTForCausalLM

    sizes = {"hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = OPTForCausalLM(OPTConfig(vocab_size=32, word_embed_proj_dim=16, **sizes))
    model.save_pretrained(work / "opt")
    ran = train("--base", "opt")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[-2:] == [
        "Error: the architecture 'opt' is not supported",
        "Hint: use a base LM of one of these: llama, mistral, qwen2, qwen3, gemma3_text, gpt2",
    ]


def test_4_bits_without_a_gpu(
    train: Callable[..., Ran], mac: Mac, work: Path, tiny_llama: Path
) -> None:
    base = ("--base", str(tiny_llama), "--rank", "16")
    ran = train(*base, "--quantize", "4bit")
    assert (ran.code, ran.out) == (1, "")
    line = "Error: a base model in 4 bits runs on an NVIDIA GPU only, not on 'cpu'"
    assert line in ran.err.splitlines()
    assert not (work / "made").exists()
    assert train(*base).code == 0
    config = json.loads((work / "made" / "config.json").read_text())
    assert config["base_quantization"] is None
    fingerprint = checkpoint.fingerprint(work / "made")
    config["base_quantization"] = "4bit"
    (work / "made" / "config.json").write_text(json.dumps(config))
    assert checkpoint.fingerprint(work / "made") != fingerprint
    (work / "0.txt").write_text(FACTS[0][0])
    for command in (("ingest", "0.txt"), ("ask", "Who?", "--mode", "closed-book")):
        ran = mac(*command, "-m", "made", "--device", "cpu")
        assert ran.code == 1
        assert line in ran.err.splitlines()
        assert len(ran.err.splitlines()) <= 2
    ran = train("--from", "made", "--quantize", "4bit")
    assert ran.code == 2
    assert "--quantize comes from the checkpoint named with --from; leave it out." in ran.err


def test_each_base_model_has_a_cache_of_its_own(
    train: Callable[..., Ran], work: Path, tiny_llama: Path, tiny_gpt2: Path
) -> None:
    options = ("--cache", "cache", "--rank", "16", "--chunk-tokens", "32")
    assert train("--base", str(tiny_llama), *options).code == 0
    written = {path: path.read_bytes() for path in (work / "cache").rglob("*") if path.is_file()}
    ran = train("--base", str(tiny_gpt2), "--out", "other", *options)
    assert ran.code == 0, ran.err
    assert all(path.read_bytes() == content for path, content in written.items())
    for name in ("features.bin", "embeddings.safetensors"):
        assert len(list((work / "cache").rglob(name))) == 2
