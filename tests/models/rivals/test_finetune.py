"""Online fine-tuning: what is learned, and that the frozen model stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.base.lm import BaseLM
from models.rivals.finetune import Tuner

from ..conftest import Steps

DOCUMENTS = ["The town of Varnholt opened a new bridge.", "The jury gave the prize to Tomas Reyl."]


@pytest.fixture
def base(tiny_llama: Path) -> BaseLM:
    return BaseLM.load(tiny_llama, device=torch.device("cpu"), dtype=torch.float32)


def test_the_loss_is_that_of_the_library(base: BaseLM) -> None:
    tokens = base.tokenize(DOCUMENTS[:1])[0]
    ids = torch.tensor([[base.bos_id, *tokens]])
    theirs = base.full_model(ids, labels=ids).loss
    torch.testing.assert_close(Tuner(base, 1e-3).loss(tokens), theirs)


def test_only_the_copy_learns(base: BaseLM) -> None:
    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    tuner = Tuner(base, 1e-2)
    tokens = base.tokenize(DOCUMENTS)
    losses = [[float(tuner.loss(row)) for row in tokens]]
    done = Steps()
    seconds = tuner.learn(DOCUMENTS * 3, done)
    losses.append([float(tuner.loss(row)) for row in tokens])
    assert all(late < early - 0.5 for early, late in zip(*losses, strict=True))
    assert (len(done), seconds > 0) == (6, True)
    for name, weight in base.model.state_dict().items():
        assert torch.equal(weight, before[name])
    assert not any(weight.requires_grad for weight in tuner.lm.model.parameters())


def test_learning_goes_on_where_it_stopped(base: BaseLM) -> None:
    at_once, in_two = Tuner(base, 1e-3), Tuner(base, 1e-3)
    at_once.learn(DOCUMENTS)
    for document in DOCUMENTS:
        in_two.learn([document])
    weights = (list(t.lm.model.parameters()) for t in (at_once, in_two))
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_a_long_document_is_learned_in_pieces(base: BaseLM) -> None:
    tokens = base.tokenize(DOCUMENTS[:1])[0]
    half = len(tokens) // 2 + 1
    pieces = [ids for ids, _ in Tuner(base, 1e-3, max_tokens=half)._pieces(DOCUMENTS[0])]
    assert [len(piece) for piece in pieces] == [half, len(tokens) - half]
    assert [token for piece in pieces for token in piece] == tokens


def test_a_rate_that_is_none(base: BaseLM) -> None:
    with pytest.raises(ValueError, match="above 0, not 0"):
        Tuner(base, 0)
