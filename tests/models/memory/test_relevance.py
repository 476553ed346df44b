"""Selection: chunked equals whole, order and retrievers."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.memory.relevance import (
    LOOKS,
    MARGIN,
    Candidate,
    RelevanceWeights,
    judged,
    nearly_level,
    reconsider,
    select,
)

WEIGHTS = RelevanceWeights(lexical=3.0)


def _bank(count: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    generator = np.random.default_rng(seed)
    keys = generator.normal(size=(count, 8)).astype(np.float16)
    keys[count // 2 :: 3] = keys[0]  # ties
    return np.arange(10, 10 + count, dtype=np.int64), keys


def _blocks(
    ids: NDArray[np.int64], keys: NDArray[np.float16], size: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size], keys[start : start + size]


QUERY = np.random.default_rng(9).normal(size=8).astype(np.float32)


@given(
    size=st.integers(1, 70),
    k=st.integers(1, 12),
    retriever=st.sampled_from(["dense", "hybrid", "bm25"]),
)
def test_block_by_block_equals_all_at_once(size: int, k: int, retriever: str) -> None:
    ids, keys = _bank(61)
    lexical = {int(i): float(i % 7) + 1 for i in ids[::4]}
    whole = select(QUERY, [(ids, keys)], k, lexical, retriever=retriever, weights=WEIGHTS)  # type: ignore[arg-type]
    parts = select(
        QUERY, _blocks(ids, keys, size), k, lexical, retriever=retriever, weights=WEIGHTS
    )  # type: ignore[arg-type]
    assert [c.id for c in parts] == [c.id for c in whole]
    np.testing.assert_allclose(
        [c.log_weight for c in parts], [c.log_weight for c in whole], rtol=1e-5, atol=1e-6
    )


@given(seed=st.integers(0, 1000))
def test_the_bank_s_order_does_not_matter(seed: int) -> None:
    ids, keys = _bank(40)
    order = np.random.default_rng(seed).permutation(40)
    expected = select(QUERY, [(ids, keys)], 5, {}, weights=WEIGHTS)
    found = select(QUERY, [(ids[order], keys[order])], 5, {}, weights=WEIGHTS)
    assert [c.id for c in found] == [c.id for c in expected]


def _ids(found: list[Candidate]) -> list[int]:
    return [c.id for c in found]


def test_weights_add_up_to_one_and_fall() -> None:
    found = select(QUERY, [_bank(40)], 6, {}, weights=WEIGHTS)
    assert sum(c.weight for c in found) == pytest.approx(1.0)
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)


def test_words_lift_a_document_in_hybrid_only() -> None:
    ids, keys = _bank(40)
    worst = _ids(select(QUERY, [(ids, keys)], 40, {}, retriever="dense", weights=WEIGHTS))[-1]
    strong = RelevanceWeights(lexical=100.0)
    hybrid = select(QUERY, [(ids, keys)], 3, {worst: 2.0}, retriever="hybrid", weights=strong)
    dense = select(QUERY, [(ids, keys)], 3, {worst: 2.0}, retriever="dense", weights=strong)
    assert hybrid[0].id == worst and hybrid[0].lexical == 2.0
    assert worst not in _ids(dense)


def test_bm25_alone_ranks_by_words_and_finds_nothing_without() -> None:
    bank = _bank(40)
    found = select(QUERY, [bank], 3, {15: 1.0, 20: 4.0}, retriever="bm25", weights=WEIGHTS)
    assert _ids(found) == [20, 15]
    assert select(QUERY, [bank], 3, {}, retriever="bm25", weights=WEIGHTS) == []


def test_an_empty_bank_selects_nothing() -> None:
    assert select(QUERY, [], 3, {}, weights=WEIGHTS) == []


@pytest.mark.parametrize(("k", "retriever"), [(0, "dense"), (3, "magic")])
def test_wrong_arguments_are_refused(k: int, retriever: str) -> None:
    with pytest.raises(ValueError, match=r"k must be|unknown retriever"):
        select(QUERY, [], k, {}, retriever=retriever, weights=WEIGHTS)  # type: ignore[arg-type]


def _scored(*scores: float) -> list[Candidate]:
    return [Candidate(i, score, 0.0, score, 0.0) for i, score in enumerate(scores)]


def test_only_what_is_nearly_level_gets_a_second_look() -> None:
    assert nearly_level(_scored(9.0, 9.0 - MARGIN - 0.1)) == 0
    assert nearly_level(_scored(9.0, 8.0, 9.0 - MARGIN, 1.0)) == 3
    assert nearly_level(_scored(*[5.0] * (LOOKS + 3))) == LOOKS
    assert nearly_level([]) == 0


def test_the_likelier_document_wins_a_second_look() -> None:
    found = reconsider(_scored(5.0, 4.0, 3.5, 3.0), [-20.0, -10.0, -30.0], 4, 0.5)
    assert [c.id for c in found] == [1, 0, 2, 3]
    assert [c.score for c in found] == pytest.approx([4.0, 0.0, -6.5, -7.0])
    assert sum(c.weight for c in found) == pytest.approx(1)
    assert found[0].dense == 4.0


def test_a_second_look_changes_nothing_where_there_was_none() -> None:
    candidates = select(QUERY, [_bank(20)], 5, {}, weights=WEIGHTS)
    found = reconsider(candidates, [], 2, 0.5)
    assert [(c.id, c.score) for c in found] == [(c.id, c.score) for c in candidates[:2]]
    assert sum(c.weight for c in found) == pytest.approx(1)
    assert reconsider([], [], 3, 0.5) == []


@given(st.permutations(range(4)))
def test_a_second_look_does_not_depend_on_ties(order: list[int]) -> None:
    tied = [Candidate(i, 1.0, 0.0, 1.0, 0.0) for i in order]
    assert [c.id for c in reconsider(tied, [-3.0] * 4, 4, 1.0)] == [0, 1, 2, 3]


def test_a_judge_orders_all_that_it_has_read() -> None:
    weights = RelevanceWeights(judged=2.0, unjudged=0.5)
    found = judged(_scored(5.0, 4.0, 3.0), [-3.0, 1.0, 0.0], 2, weights)
    assert [c.id for c in found] == [1, 2]
    assert [c.score for c in found] == pytest.approx([4.0, 1.5])
    assert sum(c.weight for c in found) == pytest.approx(1)
    assert judged([], [], 3, weights) == []
