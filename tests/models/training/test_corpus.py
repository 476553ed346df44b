"""The corpus of a training run: its sentence embeddings are kept in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from models.base.encoder import SentenceEncoder
from models.training import corpus
from models.training.corpus import build

from ..conftest import prizes


@pytest.mark.parametrize(
    "content",
    [b"", b"cut off", save({"keys": torch.zeros(1)})],
    ids=["empty", "damaged", "of nothing"],
)
def test_a_file_that_does_not_hold_the_embeddings_is_written_anew(
    content: bytes, tmp_path: Path, encoder: SentenceEncoder
) -> None:
    examples = prizes("The jury gave prize number {i} to {name} in March.")
    corpus = build([examples], lambda texts: [len(t.split()) for t in texts], chunk_tokens=64)
    cache = tmp_path / "embeddings.safetensors"
    cache.write_bytes(content)
    notes: list[str] = []
    corpus.embed(encoder, cache, notes.append)
    keys = corpus.keys
    assert len(keys) == len(corpus.chunks)
    corpus.embed(encoder, cache, notes.append)
    assert torch.equal(corpus.keys, keys)
    assert len(notes) == 1  # the second time, the file was read


def test_how_far_it_is_with_many_texts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training.corpus._BLOCK", 2)
    monkeypatch.setattr("models.training.corpus._PATIENCE", -1.0)
    told: list[str] = []
    texts = ["one", "two", "three"]

    def encode(block: list[str]) -> torch.Tensor:
        return torch.tensor([[float(texts.index(text))] for text in block]).reshape(-1, 1)

    assert corpus._in_blocks(encode, texts, told.append).tolist() == [[0.0], [1.0], [2.0]]
    assert told == ["embedded 2 of 3", "embedded 3 of 3"]
    assert corpus._in_blocks(encode, [], told.append).shape == (0, 1)
