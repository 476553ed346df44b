"""Encoders of others, run as their folders say."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from models.base.encoder import SentenceEncoder
from models.errors import MissingPackageError, WeightsError
from models.rivals.retriever import ExternalEncoder, fingerprint

CPU = torch.device("cpu")
TEXTS = ["The jury gave the prize.", "Who opened the bridge over the Elm in March?"]


@pytest.fixture
def folder(tmp_path: Path, tiny_encoder: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


def describe(folder: Path, modules: list[str], pooling: dict[str, Any], **more: Any) -> None:
    listed = [
        {
            "idx": i,
            "name": str(i),
            "type": f"sentence_transformers.models.{name}",
            "path": "1_Pooling" if name == "Pooling" else "",
        }
        for i, name in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    for name, value in more.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def states(folder: Path, text: str) -> torch.Tensor:
    """The token states [T, E] of a text, straight from the network."""
    inputs = AutoTokenizer.from_pretrained(folder)([text], return_tensors="pt")
    with torch.no_grad():
        network = AutoModel.from_pretrained(folder).eval()
        hidden: torch.Tensor = network(**inputs).last_hidden_state[0]
    return hidden


def test_a_bare_folder_is_mean_pooled(folder: Path) -> None:
    encoder = ExternalEncoder(folder, CPU)
    made = encoder.encode_documents(TEXTS)
    for text, vector in zip(TEXTS, made, strict=True):
        wanted = states(folder, text).mean(0).numpy()
        np.testing.assert_allclose(vector, wanted, atol=1e-5, rtol=1e-4)
    own = SentenceEncoder.load(folder, device=CPU).encode(TEXTS).numpy()
    lengths = np.linalg.norm(made, axis=1, keepdims=True)
    np.testing.assert_allclose(made / lengths, own, atol=1e-5)


def test_markup_in_a_document_is_text(folder: Path) -> None:
    markup = ["The bridge [SEP] opened [MASK].", "The bridge\0 \ud83d"]
    made = ExternalEncoder(folder, CPU).encode_documents(markup)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    own = SentenceEncoder.load(folder, device=CPU).encode(markup).numpy()
    np.testing.assert_allclose(made, own, atol=1e-5)


@pytest.mark.parametrize("mode", [{"pooling_mode_cls_token": True}, {"pooling_mode": "cls"}])
def test_the_first_token_at_unit_length(folder: Path, mode: dict[str, Any]) -> None:
    off = {"pooling_mode_mean_tokens": False, "word_embedding_dimension": 32}
    describe(folder, ["Transformer", "Pooling", "Normalize"], {**off, **mode})
    made = ExternalEncoder(folder, CPU).encode_queries(TEXTS)
    first = torch.stack([states(folder, text)[0] for text in TEXTS])
    wanted = torch.nn.functional.normalize(first, dim=-1).numpy()
    np.testing.assert_allclose(made, wanted, atol=1e-5, rtol=1e-4)


def test_what_stands_in_front_and_where_texts_end(folder: Path, tiny_encoder: Path) -> None:
    describe(
        folder,
        ["Transformer", "Pooling"],
        {"pooling_mode_mean_tokens": True, "word_embedding_dimension": 32},
        sentence_bert_config={"max_seq_length": 8},
        config_sentence_transformers={
            "prompts": {"query": "who: ", "passage": "the "},
            "similarity_fn_name": "cosine",
        },
    )
    encoder = ExternalEncoder(folder, CPU)
    other = Path(shutil.copytree(tiny_encoder, folder / "bare"))
    (other / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    bare = ExternalEncoder(other, CPU)

    def plain(text: str) -> np.ndarray:
        (vector,) = bare.encode_queries([text])
        return vector / np.linalg.norm(vector)

    np.testing.assert_allclose(encoder.encode_queries(["it"])[0], plain("who: it"), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(["it"])[0], plain("the it"), atol=1e-5)
    short, long = encoder.encode_documents([TEXTS[1], TEXTS[1] + " And more."])
    np.testing.assert_allclose(short, long, atol=1e-6)


def test_a_family_whose_model_card_asks_for_prefixes(tmp_path: Path, tiny_encoder: Path) -> None:
    folder = tmp_path / "models--intfloat--e5-small-v2" / "snapshots" / "1a"
    shutil.copytree(tiny_encoder, folder)
    encoder, bare = ExternalEncoder(folder, CPU), ExternalEncoder(tiny_encoder, CPU)
    for made, prefix in (
        (encoder.encode_queries(TEXTS), "query: "),
        (encoder.encode_documents(TEXTS), "passage: "),
    ):
        wanted = bare.encode_queries([prefix + text for text in TEXTS])
        np.testing.assert_allclose(made, wanted, atol=1e-5)


def test_a_change_of_weights_or_settings_changes_the_fingerprint(folder: Path) -> None:
    before = fingerprint(folder)
    describe(folder, ["Transformer", "Pooling"], {"pooling_mode_mean_tokens": True})
    described = fingerprint(folder)
    (folder / "1_Pooling" / "config.json").write_text("{}")
    assert len({before, described, fingerprint(folder)}) == 3


def test_damaged_folders(folder: Path) -> None:
    (folder / "modules.json").write_text("{")
    with pytest.raises(WeightsError, match="no readable sentence encoder in"):
        ExternalEncoder(folder, CPU)
    with pytest.raises(WeightsError, match="no readable sentence encoder in"):
        ExternalEncoder(folder / "nowhere", CPU)


def test_without_the_library_one_line_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(
        MissingPackageError, match="sentence_transformers is not installed"
    ) as caught:
        ExternalEncoder(folder, CPU)
    assert caught.value.hint == "pip install 'maccli[rivals]' (in a clone: pip install '.[rivals]')"


def test_weights_under_other_names_are_not_left_random(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file({f"other.inside.{n}": t for n, t in tensors.items()}, file, {"format": "pt"})
    with pytest.raises(WeightsError, match="it has no "):
        ExternalEncoder(folder, CPU)
