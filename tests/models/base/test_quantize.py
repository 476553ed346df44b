"""A base LM in 4 bits: what holds without an NVIDIA GPU, and what a checkpoint keeps of it."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.base.lm import BaseLM
from models.base.quantize import loading
from models.errors import CheckpointError, ModelError
from models.memory import checkpoint
from models.rivals.finetune import Tuner
from models.stacks import load_stack


def test_another_device_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="NVIDIA GPU only, not on 'cpu'"):
        BaseLM.load(
            tiny_llama, device=torch.device("cpu"), dtype=torch.float32, quantization="4bit"
        )


def test_the_package_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match="needs bitsandbytes") as refused:
        loading("4bit", torch.device("cuda", 1), torch.bfloat16)
    assert refused.value.hint == "pip install 'maccli[4bit]' (in a clone: pip install '.[4bit]')"


def test_what_the_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    device = torch.device("cuda", 1)
    told = loading("4bit", device, torch.bfloat16)
    assert told["device_map"] == {"": device}
    settings = told["quantization_config"]
    assert settings.load_in_4bit and settings.bnb_4bit_quant_type == "nf4"
    assert settings.bnb_4bit_compute_dtype == torch.bfloat16


def test_matrices_of_another_form_are_called(make_lm: Any) -> None:
    """As those of bitsandbytes are: a module that is no plain matrix goes through its own code."""

    class Packed(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    from models.base.decode import decode_stream

    lm = make_lm("GPT2")
    for layer in lm.layers:
        packed = Packed(96, 96)
        with torch.no_grad():
            packed.weight.copy_(layer.attn.c_proj.weight.T / 2)
            packed.bias.copy_(layer.attn.c_proj.bias / 2)
        layer.attn.c_proj = packed
    narrow = BaseLM(lm.model, lm.tokenizer)
    prompt = lm.tokenize(["Who opened the bridge?"])[0]
    expected = list(decode_stream(make_lm("GPT2"), prompt, None, 12))
    assert list(decode_stream(narrow, prompt, None, 12)) == expected


def test_weights_of_4_bits_are_not_fine_tuned(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = BaseLM.load(tiny_llama, device=torch.device("cpu"), dtype=torch.float32)
    monkeypatch.setattr(lm.model, "is_quantized", True, raising=False)
    with pytest.raises(ModelError, match="cannot be fine-tuned"):
        Tuner(lm, 1e-4)


def test_a_checkpoint_says_it_and_its_fingerprint_differs(
    tiny_llama: Path, build_memory: Any, tmp_path: Path
) -> None:
    stack = build_memory(tiny_llama).stack
    stack.save(tmp_path / "full")
    full = checkpoint.fingerprint(tmp_path / "full")
    # As it was written before there was such a setting.
    config = json.loads((tmp_path / "full" / "config.json").read_text())
    assert config.pop("base_quantization") is None
    (tmp_path / "full" / "config.json").write_text(json.dumps(config))
    assert checkpoint.fingerprint(tmp_path / "full") == full
    assert load_stack(tmp_path / "full").config.base_quantization is None

    stack.config = replace(stack.config, base_quantization="4bit")
    stack.save(tmp_path / "narrow")
    assert load_stack(tmp_path / "narrow").config.base_quantization == "4bit"
    assert checkpoint.fingerprint(tmp_path / "narrow") != full
    with pytest.raises(CheckpointError, match="unknown base_quantization '3bit'"):
        replace(stack.config, base_quantization="3bit")
