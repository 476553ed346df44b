"""The sentence encoder: pooled as its folder says, and as sentence-transformers does it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from models.base.encoder import SentenceEncoder
from models.base.encoder_rules import EncoderRules, read_rules, rules_of
from models.errors import CheckpointError, WeightsError

from ...conftest import describe_encoder

CPU = torch.device("cpu")
TEXTS = ["The jury gave the prize.", "Who opened the bridge over the Elm in March?", "Rain."]


@pytest.fixture
def folder(tmp_path: Path, tiny_encoder: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


def theirs(folder: Path, prompt: str = "") -> torch.Tensor:
    """The vectors [B, E] that the sentence-transformers library makes of the texts."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    vectors: torch.Tensor = model.encode(
        TEXTS, prompt=prompt, convert_to_tensor=True, normalize_embeddings=True
    )
    return vectors


@pytest.mark.parametrize(
    ("pooling", "kind"),
    [
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"pooling_mode": ["lasttoken"]}, "lasttoken"),
        ({}, "mean"),
    ],
)
def test_pooling_is_that_of_the_library(folder: Path, pooling: dict[str, Any], kind: str) -> None:
    describe_encoder(folder, pooling)
    encoder = SentenceEncoder.load(folder, device=CPU)
    assert encoder.rules == EncoderRules(kind)
    made = encoder.encode_documents(TEXTS)
    torch.testing.assert_close(made, theirs(folder), atol=1e-5, rtol=1e-4)
    assert torch.equal(encoder.encode_queries(TEXTS), made)
    others = {"mean", "cls", "lasttoken"} - {kind}
    for other in others:
        rules = EncoderRules(other)
        away = SentenceEncoder.load(folder, device=CPU, rules=rules).encode_documents(TEXTS)
        assert (made - away).abs().max() > 0.01


def test_the_last_token_of_a_language_model_whose_tokenizer_pads_on_the_left(
    tmp_path: Path, tiny_llama: Path
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "llama"))
    described = folder / "tokenizer_config.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "padding_side": "left"}))
    describe_encoder(folder, {"pooling_mode": "lasttoken"})
    encoder = SentenceEncoder.load(folder, device=CPU)
    made = encoder.encode_documents(TEXTS)
    torch.testing.assert_close(made, theirs(folder), atol=1e-4, rtol=1e-3)
    for text, vector in zip(TEXTS, made, strict=True):
        alone = encoder.encode_documents([text])[0]
        torch.testing.assert_close(alone, vector, atol=1e-4, rtol=1e-3)


def test_questions_and_documents_have_prefixes_of_their_own(described_encoder: Path) -> None:
    encoder = SentenceEncoder.load(described_encoder, device=CPU)
    assert encoder.rules == EncoderRules("cls", "who: ", "the ")
    plain = SentenceEncoder.load(described_encoder, device=CPU, rules=EncoderRules("cls"))
    for made, prefix in (
        (encoder.encode_queries(TEXTS), "who: "),
        (encoder.encode_documents(TEXTS), "the "),
    ):
        torch.testing.assert_close(made, theirs(described_encoder, prefix), atol=1e-5, rtol=1e-4)
        assert torch.equal(made, encoder.encode([prefix + text for text in TEXTS]))
    assert not torch.equal(encoder.encode_queries(TEXTS), encoder.encode_documents(TEXTS))
    assert encoder.tokenize(TEXTS) == plain.tokenize(TEXTS)  # for whoever reads token states


@pytest.mark.parametrize(
    ("settings", "query", "document"),
    [
        ({}, "", ""),
        ({"prompts": {"query": "q: ", "document": "", "passage": "p: "}}, "q: ", "p: "),
        ({"prompts": {"query": "q: "}, "default_prompt_name": "query"}, "q: ", ""),
        ({"prompts": {"s": "s: ", "query": None}, "default_prompt_name": "s"}, "s: ", "s: "),
        ({"prompts": {"s": "s: "}, "default_prompt_name": None}, "", ""),
    ],
)
def test_prompts(folder: Path, settings: dict[str, Any], query: str, document: str) -> None:
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    assert read_rules(folder) == EncoderRules("mean", query, document)


def test_a_folder_without_these_files_is_mean_pooled(tiny_encoder: Path) -> None:
    encoder = SentenceEncoder.load(tiny_encoder, device=CPU)
    assert encoder.rules == EncoderRules() == rules_of({})
    torch.testing.assert_close(
        encoder.encode_queries(TEXTS), theirs(tiny_encoder), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("name", "query", "document"),
    [
        ("models--intfloat--multilingual-e5-small/snapshots/1a", "query: ", "passage: "),
        ("models--intfloat--e5-base-v2/snapshots/1a", "query: ", "passage: "),
        ("models--BAAI--bge-small-en-v1.5/snapshots/1a", "Represent this sentence for ", ""),
        ("models--intfloat--multilingual-e5-large-instruct/snapshots/1a", "", ""),
        ("models--me--e5-small/snapshots/1a", "", ""),
        ("intfloat/e5-small", "", ""),
    ],
)
def test_prefixes_that_only_a_model_card_asks_for(
    tmp_path: Path, tiny_encoder: Path, name: str, query: str, document: str
) -> None:
    folder = tmp_path / name
    shutil.copytree(tiny_encoder, folder)
    rules = read_rules(folder)
    assert rules.query_prefix.startswith(query) and bool(rules.query_prefix) == bool(query)
    assert rules.document_prefix == document
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"query": "own "}}')
    assert read_rules(folder) == EncoderRules("mean", "own ", "")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", "{"),
        ("modules.json", "{}"),
        ("modules.json", '[{"type": "a.Transformer"}]'),
        ("modules.json", '[{"type": "a.Transformer", "path": ""}]'),
        ("1_Pooling/config.json", '{"pooling_mode_cls_token": tr'),
        ("1_Pooling/config.json", "[]"),
        ("1_Pooling/config.json", None),
        ("config_sentence_transformers.json", "\udcff"),
        ("config_sentence_transformers.json", '{"prompts": ["query"]}'),
        ("config_sentence_transformers.json", '{"prompts": {"query": 3}}'),
    ],
)
def test_a_damaged_file_is_named(folder: Path, file: str, content: str | None) -> None:
    describe_encoder(folder, {"pooling_mode": "cls"})
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsError) as caught:
        SentenceEncoder.load(folder, device=CPU)
    assert str(caught.value).startswith(f"{folder / file} is damaged: ")
    assert len(str(caught.value).splitlines()) == 1 and caught.value.hint


@pytest.mark.parametrize(
    ("pooling", "modules", "message"),
    [
        ({"pooling_mode": "max"}, (), "is pooled by 'max'"),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, (), "is pooled by"),
        ({"include_prompt": False}, (), "does not pool the tokens of its prefix"),
        ({}, ("Transformer", "Pooling", "Dense"), "has a module Dense"),
    ],
)
def test_what_is_not_supported_is_refused(
    folder: Path, pooling: dict[str, Any], modules: tuple[str, ...], message: str
) -> None:
    describe_encoder(folder, pooling, modules=modules or ("Transformer", "Pooling"))
    with pytest.raises(WeightsError, match=message):
        read_rules(folder)


def test_an_encoder_with_a_decoder_is_refused(tiny_t5: Path) -> None:
    with pytest.raises(WeightsError, match="it has a decoder, too"):
        SentenceEncoder.load(tiny_t5, device=CPU)


@pytest.mark.parametrize(
    "written",
    [{"pooling": "max"}, {"pool": "cls"}, "cls", {"query_prefix": None}, {"document_prefix": 3}],
)
def test_rules_that_are_none(written: Any) -> None:
    with pytest.raises(CheckpointError):
        rules_of(written)


def test_documents_may_be_encoded_in_bfloat16(tiny_encoder: Path) -> None:
    encoder = SentenceEncoder.load(tiny_encoder, device=CPU)
    exact, question = encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)
    encoder.documents_dtype = torch.bfloat16
    near = encoder.encode_documents(TEXTS)
    assert near.dtype == torch.float32 and not torch.equal(near, exact)
    torch.testing.assert_close(near, exact, atol=0.02, rtol=0)
    assert torch.equal(encoder.encode_queries(TEXTS), question)
