"""Prefixes of the paper's stack against the base LM's own handling of past keys and values."""

from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

from models.base.lm import BaseLM
from models.errors import CheckpointError
from models.paper.heads import PrefixHead

CPU = torch.device("cpu")
T, D = 6, 40


@pytest.fixture(params=["tiny_llama", "tiny_qwen2", "tiny_gemma3"])
def lm(request: pytest.FixtureRequest) -> BaseLM:
    return BaseLM.load(request.getfixturevalue(request.param), device=CPU, dtype=torch.float32)


@pytest.fixture
def head(lm: BaseLM) -> PrefixHead:
    torch.manual_seed(0)
    return PrefixHead(T, D, lm.shape, prefix_tokens=2, hidden=16)


def test_the_lm_attends_to_the_prefix_as_to_past_tokens(lm: BaseLM, head: PrefixHead) -> None:
    latents = torch.randn(2, T, D)
    ids = torch.tensor(lm.tokenize(["Who opened the bridge?"]) * 2)
    with torch.no_grad(), head.applied(lm, latents) as prefix:
        found = lm.logits(lm.forward(ids, prefix))
        cache = DynamicCache()
        for i, (keys, values) in enumerate(head(latents)):
            cache.update(keys, values, i)
        expected = lm.full_model(ids, past_key_values=cache).logits
        without = lm.logits(lm.forward(ids))
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)
    assert (found - without).abs().max() > 1e-2
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_its_heads_are_the_key_value_heads(lm: BaseLM, head: PrefixHead) -> None:
    shape = lm.shape
    assert head(torch.randn(3, T, D)).shape == (
        *(shape.layers, 2, 3, shape.kv_heads, 2, shape.head_size),
    )


def test_every_latent_serves_and_the_first_serve_more(tiny_llama: Path) -> None:
    lm = BaseLM.load(tiny_llama, device=CPU, dtype=torch.float32)
    head = PrefixHead(3, D, lm.shape, prefix_tokens=2, hidden=8)
    assert head.source.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    latents = torch.randn(1, 3, D, requires_grad=True)
    for vector in range(8):
        token, layer, kind = vector // 4, vector // 2 % 2, vector % 2
        (gradient,) = torch.autograd.grad(head(latents)[layer, kind, 0, :, token].sum(), latents)
        reached = gradient[0].abs().sum(1) > 0
        assert reached.nonzero().flatten().tolist() == [head.source[vector]]


def test_more_latents_than_keys_and_values_are_refused(tiny_llama: Path) -> None:
    lm = BaseLM.load(tiny_llama, device=CPU, dtype=torch.float32)
    with pytest.raises(CheckpointError, match="tokens must be at most 8, not 9"):
        PrefixHead(9, D, lm.shape)


def test_gradients_reach_the_latents_and_leave_the_lm(lm: BaseLM, head: PrefixHead) -> None:
    latents = torch.randn(1, T, D, requires_grad=True)
    ids = torch.tensor(lm.tokenize(["Who opened the bridge?"]))
    with head.applied(lm, latents) as prefix:
        lm.logits(lm.forward(ids, prefix)).logsumexp(-1).sum().backward()
    assert latents.grad is not None and latents.grad.abs().max() > 0
    assert all(p.grad is None for p in lm.model.parameters())
