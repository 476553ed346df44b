"""Checkpoints: written whole, read with every shape checked, told apart by fingerprint."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.base.encoder_rules import EncoderRules
from models.errors import CheckpointError
from models.memory import checkpoint
from models.stacks import config_of, load_model, load_stack
from models.weights.identity import check_identity


@pytest.fixture
def saved(tmp_path: Path, tiny_llama: Path, build_memory: Any) -> Path:
    stack = build_memory(tiny_llama).stack
    stack.save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def _change(path: Path, **values: Any) -> None:
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_checkpoint_comes_back_and_answers(saved: Path) -> None:
    memory = load_model(saved, device="cpu")
    (modulation,) = memory.amortize(["The mayor cut the ribbon."])
    assert modulation.latents.shape[1] == memory.config.latent_size
    assert memory.fingerprint == checkpoint.fingerprint(saved)
    assert not list(saved.glob("*.part"))
    assert "license" not in (saved / checkpoint.CARD).read_text()  # it is not ours to choose


def test_projections_come_back_to_half_a_step(
    tmp_path: Path, tiny_llama: Path, build_memory: Any
) -> None:
    stack = build_memory(tiny_llama).stack
    stack.save(tmp_path)
    again = load_stack(tmp_path)
    for one, other, axis in (
        (stack.amortizer.weight, again.amortizer.weight, 1),
        (stack.head.weight, again.head.weight, 0),
    ):
        step = one.abs().amax(axis, keepdim=True) / 127
        assert ((one - other).abs() <= 0.501 * step).all()
    torch.testing.assert_close(again.amortizer.mean, stack.amortizer.mean, rtol=1e-3, atol=1e-6)


def test_the_fingerprint_follows_what_changes_modulations(saved: Path) -> None:
    before = checkpoint.fingerprint(saved)
    _change(saved, abstain_below=1.5, training={"steps": 3})
    assert checkpoint.fingerprint(saved) == before
    _change(saved, chunk_tokens=65)
    assert checkpoint.fingerprint(saved) != before


def test_a_config_without_encoder_rules_is_one_of_mean_pooling(saved: Path) -> None:
    before = checkpoint.fingerprint(saved)
    written = json.loads((saved / "config.json").read_text())
    assert written.pop("encoder_rules") == {}
    (saved / "config.json").write_text(json.dumps(written))
    assert checkpoint.fingerprint(saved) == before
    assert load_model(saved, device="cpu").encoder.rules == EncoderRules()
    _change(saved, encoder_rules=asdict(EncoderRules()))
    assert checkpoint.fingerprint(saved) == before
    _change(saved, encoder_rules=asdict(EncoderRules("cls")))
    assert checkpoint.fingerprint(saved) != before


def test_an_encoder_is_run_as_the_config_says_whatever_its_folder_says_now(
    saved: Path, described_encoder: Path
) -> None:
    _change(saved, encoder=str(described_encoder), encoder_rules={"query_prefix": "q: "})
    assert load_model(saved, device="cpu").encoder.rules == EncoderRules("mean", "q: ")


def test_the_bundled_checkpoint_has_the_fingerprint_that_stores_know() -> None:
    assert checkpoint.fingerprint(checkpoint.find(checkpoint.DEFAULT)) == "0b478b4e767a11eb"


def test_a_name_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint") as caught:
        checkpoint.find(tmp_path / "nothing")
    assert "mac train" in str(caught.value.hint)


def test_damaged_weights_are_refused(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="missing or damaged"):
        load_stack(saved)


def test_a_tensor_of_another_shape_is_named(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    tensors["head.bias"] = torch.zeros(3)
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"head\.bias .* \(3,\)"):
        load_stack(saved)


@pytest.mark.parametrize("name", ["head.bias", "head.weight", "head.weight_scale"])
def test_a_missing_tensor_is_named(saved: Path, name: str) -> None:
    tensors = load_file(saved / "model.safetensors")
    del tensors[name]
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"the tensor {name}\S* is "):
        load_stack(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "blue"}, "does not know: colour"),
        ({"latent_size": 0}, "latent_size must be at least 1"),
        ({"stack": "magic"}, "unknown stack 'magic'"),
        ({"encoder_rules": {"pooling": "max"}}, "unknown pooling 'max'"),
        ({"encoder_rules": {"prefix": "q: "}}, "encoder_rules must give pooling"),
    ],
)
def test_a_config_of_another_kind_is_refused(
    saved: Path, change: dict[str, Any], message: str
) -> None:
    _change(saved, **change)
    with pytest.raises(CheckpointError, match=message):
        load_stack(saved)


@pytest.mark.parametrize("content", ["not json", "[1]"])
def test_a_config_that_is_no_object_is_refused(saved: Path, content: str) -> None:
    (saved / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        config_of(saved)


def test_other_base_weights_are_refused(saved: Path, tiny_llama: Path) -> None:
    config = replace(config_of(saved), base_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="SHA-256 000000000000"):
        check_identity(config.base_lm, tiny_llama, config.base_sha256)
