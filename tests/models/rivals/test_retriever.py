"""Encoders of others, run as their folders say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.base.encoder import SentenceEncoder
from models.errors import WeightsError
from models.rivals.retriever import Recipe, SentenceTransformer

CPU = torch.device("cpu")
TEXTS = ["The jury gave the prize.", "Who opened the bridge over the Elm in March?"]


@pytest.fixture
def folder(tmp_path: Path, tiny_encoder: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


def describe(folder: Path, modules: list[str], pooling: dict[str, Any], **more: Any) -> None:
    listed = [
        {"type": f"a.b.{name}", "path": "1_Pooling" if name == "Pooling" else ""}
        for name in modules
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    for name, value in more.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def states(folder: Path, text: str) -> torch.Tensor:
    """The token states [T, E] of a text, straight from the network."""
    encoder = SentenceEncoder.load(folder, device=CPU)
    inputs = encoder.tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        hidden: torch.Tensor = encoder.model(**inputs).last_hidden_state[0]
    return hidden


def test_a_bare_folder_is_mean_pooled(folder: Path) -> None:
    encoder = SentenceTransformer.load(folder, device=CPU)
    made = encoder.encode_documents(TEXTS)
    for text, vector in zip(TEXTS, made, strict=True):
        torch.testing.assert_close(vector, states(folder, text).mean(0), atol=1e-5, rtol=1e-4)
    own = SentenceEncoder.load(folder, device=CPU).encode(TEXTS)
    torch.testing.assert_close(torch.nn.functional.normalize(made, dim=-1), own)


@pytest.mark.parametrize("mode", [{"pooling_mode_cls_token": True}, {"pooling_mode": "cls"}])
def test_the_first_token_at_unit_length(folder: Path, mode: dict[str, Any]) -> None:
    off = {"pooling_mode_mean_tokens": False, "word_embedding_dimension": 32}
    describe(folder, ["Transformer", "Pooling", "Normalize"], {**off, **mode})
    made = SentenceTransformer.load(folder, device=CPU).encode_queries(TEXTS)
    first = torch.stack([states(folder, text)[0] for text in TEXTS])
    wanted = torch.nn.functional.normalize(first, dim=-1)
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-4)


def test_what_stands_in_front_and_where_texts_end(folder: Path) -> None:
    describe(
        folder,
        ["Transformer", "Pooling"],
        {"pooling_mode_mean_tokens": True},
        sentence_bert_config={"max_seq_length": 8},
        config_sentence_transformers={
            "prompts": {"query": "who: ", "passage": "the "},
            "similarity_fn_name": "cosine",
        },
    )
    assert Recipe.read(folder) == Recipe("mean", True, 8, "who: ", "the ")
    encoder = SentenceTransformer.load(folder, device=CPU)
    assert torch.equal(encoder.encode_queries(["prize"]), encoder.encode(["who: prize"]))
    assert torch.equal(encoder.encode_documents(["prize"]), encoder.encode(["the prize"]))
    assert torch.equal(encoder.encode([TEXTS[1]]), encoder.encode([TEXTS[1] + " And more."]))


@pytest.mark.parametrize(
    ("modules", "pooling", "says"),
    [
        (["Transformer", "Pooling", "Dense"], {"pooling_mode_cls_token": True}, "a module Dense"),
        (["Transformer", "Pooling"], {"pooling_mode_lasttoken": True}, "pooling_mode_lasttoken"),
        (["Transformer", "Pooling"], {}, "pooling none is not supported"),
    ],
)
def test_what_is_not_supported(
    folder: Path, modules: list[str], pooling: dict[str, Any], says: str
) -> None:
    describe(folder, modules, pooling)
    with pytest.raises(WeightsError, match=says):
        SentenceTransformer.load(folder, device=CPU)


def test_damaged_folders(folder: Path) -> None:
    (folder / "sentence_bert_config.json").write_text("[]")
    with pytest.raises(WeightsError, match="does not hold a JSON object"):
        SentenceTransformer.load(folder, device=CPU)
    (folder / "sentence_bert_config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot read"):
        SentenceTransformer.load(folder, device=CPU)


def test_weights_under_other_names_are_not_left_random(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file({f"other.inside.{n}": t for n, t in tensors.items()}, file, {"format": "pt"})
    with pytest.raises(WeightsError, match="it has no "):
        SentenceTransformer.load(folder, device=CPU)
