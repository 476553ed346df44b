"""The registry of stacks, and models that are loaded no sooner than they are needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.base.lm import BaseLM
from models.latent.memory import LatentMemory
from models.memory.protocol import LoadedModel
from models.stacks import load_model


@pytest.fixture
def saved(tmp_path: Path, tiny_llama: Path, build_memory: Any) -> Path:
    build_memory(tiny_llama).stack.save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_a_question_is_encoded_without_the_base_lm(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the base LM is loaded")

    monkeypatch.setattr(BaseLM, "load", refuse)
    said: list[str] = []
    model: LoadedModel = load_model(saved, device="cpu", tell=said.append)
    assert isinstance(model, LatentMemory)
    assert model.encode_question("Who won?").shape == (model.config.key_size,)
    assert model.count_tokens(["Who won?"]) > [0]
    with pytest.raises(AssertionError, match="the base LM is loaded"):
        model.load()
    assert said == ["loading the sentence encoder", "loading the model"]


def test_configs_and_protocols_need_no_torch() -> None:
    code = "import sys, models.stacks, models.memory.protocol, models.memory.checkpoint; "
    code += "print([n for n in ('torch', 'transformers') if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
