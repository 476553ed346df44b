"""The paper's aggregator: against its equations, whatever the order, for banks of every size."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.paper.aggregator import Aggregator
from models.paper.layers import PerToken

N, T, D = 3, 4, 24


def _aggregator(blocks: int = 3) -> Aggregator:
    torch.manual_seed(0)
    return Aggregator(D, blocks, heads=2, head_size=8).double().requires_grad_(False)


def _inputs(documents: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    question = torch.randn(N, T, D, generator=made, dtype=torch.float64)
    return question, 3 * torch.randn(documents, T, D, generator=made, dtype=torch.float64)


def _norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def _reference(aggregator: Aggregator, x: Tensor, bank: Tensor) -> Tensor:
    """Equation 3 for one question [T, d] and its context, head by head and token by token."""
    context = torch.cat(list(bank))
    for block in aggregator.blocks:
        w = dict(block.named_parameters())
        asked = _norm(context, w["norm_context.weight"], w["norm_context.bias"])
        asking = _norm(x, w["norm_query.weight"], w["norm_query.bias"])
        q, k, v = (
            tokens @ w[f"{name}.weight"].T
            for name, tokens in (("query", asking), ("key", asked), ("value", asked))
        )
        heads = []
        for head in range(2):
            part = slice(8 * head, 8 * head + 8)
            rows = []
            for token in range(T):
                scores = torch.tensor(
                    [float(q[token, part] @ key) / math.sqrt(8) for key in k[:, part]],
                    dtype=torch.float64,
                )
                weights = scores.exp() / scores.exp().sum()
                rows.append((weights[:, None] * v[:, part]).sum(0))
            heads.append(torch.stack(rows))
        x = x + torch.cat(heads, 1) @ w["out.weight"].T + w["out.bias"]
        y = _norm(x, w["norm_mlp.weight"], w["norm_mlp.bias"]) @ w["up.weight"].T + w["up.bias"]
        y = y * 0.5 * (1 + torch.erf(y / math.sqrt(2)))
        x = x + y @ w["down.weight"].T + w["down.bias"]
    return x


def test_it_computes_the_paper_s_equation() -> None:
    aggregator = _aggregator()
    question, bank = _inputs(5)
    found = aggregator(question, bank)
    for n in range(N):
        torch.testing.assert_close(found[n], _reference(aggregator, question[n], bank))


def test_each_token_has_an_mlp_of_its_own() -> None:
    torch.manual_seed(0)
    net = PerToken(3, 5, 7, 4, torch.tanh).double().requires_grad_(False)
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    found = net(x)
    assert net.skip is not None and net.skip_bias is not None
    for n, t in itertools.product(range(2), range(3)):
        y = _norm(x[n, t], net.norm[t], net.norm_bias[t])
        y = torch.tanh(y @ net.up[t] + net.up_bias[t]) @ net.down[t] + net.down_bias[t]
        torch.testing.assert_close(found[n, t], y + x[n, t] @ net.skip[t] + net.skip_bias[t])
    assert PerToken(3, 5, 7, 5, torch.tanh).skip is None


def test_the_order_of_documents_makes_no_difference() -> None:
    aggregator = _aggregator()
    question, bank = _inputs(7)
    shuffled = bank[torch.randperm(7, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(aggregator(question, bank), aggregator(question, shuffled))
    other = aggregator(question, torch.cat((bank[:-1], -bank[-1:])))
    assert (aggregator(question, bank) - other).abs().max() > 1e-3


def test_hidden_documents_are_not_read() -> None:
    aggregator = _aggregator()
    question, bank = _inputs(6)
    visible = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1] * 6], dtype=torch.bool)
    found = aggregator(question, bank, visible)
    for n in range(N):
        alone = aggregator(question[n : n + 1], bank[visible[n]])
        torch.testing.assert_close(found[n : n + 1], alone)


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [3, 0, 4], [2, 5]])
def test_chunk_by_chunk_the_result_is_the_same(sizes: list[int]) -> None:
    aggregator = _aggregator()
    question, bank = _inputs(7)
    found = aggregator.chunked(question, lambda: bank.split(sizes))
    torch.testing.assert_close(found, aggregator(question, bank))


def test_chunks_survive_scores_that_overflow() -> None:
    aggregator = _aggregator()
    for block in aggregator.blocks:
        block.query.weight.mul_(1e4)  # type: ignore[union-attr,operator]
    question, bank = _inputs(7)
    found = aggregator.chunked(question, lambda: bank.split(2))
    assert found.isfinite().all()
    torch.testing.assert_close(found, aggregator(question, bank))


def _by_levels(aggregator: Aggregator, question: Tensor, bank: Tensor, group: int) -> Tensor:
    """Section 3.3 word for word: a whole level at a time, until one group holds all."""
    level = bank.expand(N, -1, -1, -1)
    while level.shape[1] > group:
        level = torch.stack([aggregator(question, part) for part in level.split(group, 1)], 1)
    return aggregator(question, level)


@settings(max_examples=40, deadline=None)
@given(documents=st.integers(1, 40), group=st.integers(2, 9), block=st.integers(1, 12))
def test_groups_of_documents_are_those_of_the_paper(documents: int, group: int, block: int) -> None:
    aggregator = _aggregator(1)
    question, bank = _inputs(documents)
    found = aggregator.hierarchical(question, bank.split(block), group)
    torch.testing.assert_close(found, _by_levels(aggregator, question, bank, group))


def test_up_to_a_group_nothing_is_approximated() -> None:
    aggregator = _aggregator()
    for documents in (1, 2, 5):
        question, bank = _inputs(documents)
        found = aggregator.hierarchical(question, bank.split(2), 5)
        torch.testing.assert_close(found, aggregator(question, bank))


@pytest.mark.parametrize("group", [2, 3, 64])
def test_a_large_bank_ends_and_holds_few_documents_at_a_time(
    group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator = _aggregator(1)
    question, bank = _inputs(1000)
    most = [0]
    forward = aggregator.forward

    def seen(question: Tensor, bank: Tensor, visible: Tensor | None = None) -> Tensor:
        most[0] = max(most[0], bank.shape[-3])
        return forward(question, bank, visible)

    monkeypatch.setattr(aggregator, "forward", seen)
    assert aggregator.hierarchical(question, bank.split(100), group).shape == (N, T, D)
    assert most[0] == group


def test_an_empty_bank_and_a_group_of_one_are_refused() -> None:
    aggregator = _aggregator()
    question, bank = _inputs(3)

    def nothing() -> Iterator[Tensor]:
        return iter(())

    for run in (
        lambda: aggregator(question, bank[:0]),
        lambda: aggregator.chunked(question, nothing),
        lambda: aggregator.hierarchical(question, nothing(), 2),
    ):
        with pytest.raises(ValueError, match="no document"):
            run()
    with pytest.raises(ValueError, match="at least 2 documents, not 1"):
        aggregator.hierarchical(question, [bank], 1)
