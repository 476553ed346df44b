"""An encoder in place of a checkpoint's own: what it makes, and what tells it apart."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.base.encoder import SentenceEncoder
from models.base.encoder_rules import EncoderRules
from models.errors import WeightsError
from models.memory import checkpoint
from models.memory.chosen_encoder import ChosenEncoder, choose_encoder
from models.stacks import load_model
from models.weights.identity import identity

QUESTION, TEXT = "Who opened the bridge?", "The mayor, Ida Brandt, cut the ribbon."


@pytest.fixture
def saved(tmp_path: Path, tiny_llama: Path, build_memory: Any) -> Path:
    """A checkpoint whose relevance matrix is not the identity any more."""
    stack = build_memory(tiny_llama).stack
    torch.nn.init.normal_(stack.relevance.weight)
    stack.relevance.log_scale.data.fill_(np.log(8.0))
    stack.save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def chosen(saved: Path, described_encoder: Path) -> ChosenEncoder:
    encoder = choose_encoder(str(described_encoder), checkpoint.read_config(saved))
    assert encoder is not None
    return encoder


def test_relevance_is_cosine_similarity_with_the_checkpoints_scale(
    saved: Path, chosen: ChosenEncoder, described_encoder: Path
) -> None:
    model = load_model(saved, device="cpu", encoder=chosen)
    encoder = SentenceEncoder.load(described_encoder, device=torch.device("cpu"))
    encoder.documents_dtype = model.lm.dtype  # of their own the two have one type
    query = model.encode_question(QUESTION)
    assert query.shape == (model.config.key_size,) == (24,)
    np.testing.assert_allclose(query, 8 * encoder.encode_queries([QUESTION])[0], rtol=2e-3)
    (modulation,) = model.amortize([TEXT], ["News\n"])
    wanted = encoder.encode_documents([f"News\n{TEXT}"])[0].numpy()
    np.testing.assert_allclose(modulation.key, wanted, atol=1e-3)
    own = load_model(saved, device="cpu")
    assert own.config == replace(model.config, key_size=32)
    (same,) = own.amortize([TEXT], ["News\n"])
    np.testing.assert_array_equal(same.latents, modulation.latents)


def test_the_judge_and_other_readers_keep_the_checkpoints_encoder(
    saved: Path, chosen: ChosenEncoder, tiny_encoder: Path
) -> None:
    said: list[str] = []
    model = load_model(saved, device="cpu", encoder=chosen, tell=said.append)
    assert (model.encoder.size, model.encoder.rules) == (32, EncoderRules())
    assert said == ["loading the sentence encoder"] * 2


def test_weights_and_rules_of_the_encoder_are_in_the_fingerprint(
    saved: Path, chosen: ChosenEncoder
) -> None:
    own = checkpoint.fingerprint(saved)
    prints = {
        own,
        chosen.fingerprint(own),
        replace(chosen, sha256="0" * 64).fingerprint(own),
        replace(chosen, rules=EncoderRules("cls")).fingerprint(own),
        chosen.fingerprint("another"),
    }
    assert len(prints) == 5 and {len(fingerprint) for fingerprint in prints} == {16}
    assert replace(chosen, name="moved").fingerprint(own) == chosen.fingerprint(own)
    assert load_model(saved, device="cpu").fingerprint == own
    model = load_model(saved, device="cpu", encoder=chosen)
    assert model.fingerprint == chosen.fingerprint(own)


def test_the_checkpoints_own_encoder_is_none(
    saved: Path, tmp_path: Path, tiny_encoder: Path
) -> None:
    config = checkpoint.read_config(saved)
    assert choose_encoder(str(tiny_encoder), config) is None
    assert choose_encoder("all-minilm-l6-v2", {"encoder": "all-minilm-l6-v2"}) is None
    copy = Path(shutil.copytree(tiny_encoder, tmp_path / "copy"))
    assert choose_encoder(str(copy), config) is not None  # the checkpoint knows no hash
    known = {**config, "encoder_sha256": identity(str(copy), copy)}
    assert choose_encoder(str(copy), known) is None
    (copy / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "q: "}})
    )
    assert choose_encoder(str(copy), known) is not None


def test_an_encoder_that_is_not_there(saved: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        choose_encoder("nowhere", checkpoint.read_config(saved))
