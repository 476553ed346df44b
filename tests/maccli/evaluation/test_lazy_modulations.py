"""Chunks that are amortized when they are selected answer like those amortized when stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maccli.evaluation import answering
from maccli.evaluation.answering import Readers
from maccli.evaluation.evaluation_store import EvaluationStore
from maccli.evaluation.methods import METHODS
from maccli.output import NoProgress
from models.data.files import Example
from models.memory.relevance import LOOKS, RelevanceWeights

from .facts import DOCUMENTS, QUESTIONS

NEWS = [
    f"On day {day} the poet of town {day % 7} sold {day} bridges and a road." for day in range(30)
]
TEXTS = {f"d{n}": text for n, text in enumerate([*DOCUMENTS, *NEWS])}
WEIGHTS = RelevanceWeights(lexical=1.0, likelihood=0.5)
EXAMPLES = [
    Example(f"q{n}", "made", f"d{n}", text, question, (answer,))
    for n, (text, (question, answer)) in enumerate(zip(DOCUMENTS, QUESTIONS, strict=True))
]


@pytest.fixture
def stores(work: Path, build_memory: Any, tiny_llama: Path) -> Any:
    """A store that was amortized whole, and a lazy one; both empty."""
    model = build_memory(tiny_llama)
    pair = [EvaluationStore.open(work / f"{lazy}", model, lazy=lazy) for lazy in (False, True)]
    yield pair
    for store in pair:
        store.store.close()


def test_modulations_are_rounded_as_a_store_rounds_them(stores: Any) -> None:
    whole, lazy = stores
    for store in stores:
        store.fill(TEXTS)
    for question, _ in QUESTIONS:
        pairs = [store.candidates(question, LOOKS, "hybrid", WEIGHTS) for store in stores]
        assert [c.id for c in pairs[0]] == [c.id for c in pairs[1]]
        for a, b in zip(whole.selected(pairs[0]), lazy.selected(pairs[1]), strict=True):
            assert (a.latents.dtype, a.scales.dtype) == (b.latents.dtype, b.scales.dtype)
            # In other company a number may fall on the other side of a half.
            assert np.abs(a.latents.astype(int) - b.latents).max() <= 1
            assert (a.latents == b.latents).mean() > 0.999
            np.testing.assert_allclose(a.scales, b.scales, rtol=2e-3)
            assert np.isclose(a.log_weight, b.log_weight, atol=1e-4)
    assert lazy.lazy.seconds > 0


@pytest.mark.parametrize("name", ["mac", "mac-dense", "mac+text", "mac-oracle", "rag-hybrid"])
def test_answers_are_those_of_a_store_that_was_amortized_whole(stores: Any, name: str) -> None:
    method = METHODS[name]
    answers = []
    for store in stores:
        amortized: list[str] = []
        real = store.model.amortize
        store.model.amortize = lambda texts, contexts=(), seen=amortized, do=real: (
            seen.extend(texts) or do(texts, contexts)
        )
        store.fill(TEXTS)

        def select(example: Example, k: int, store: EvaluationStore = store) -> Any:
            if method.retriever == "oracle":
                return store.right(example)
            return store.candidates(example.question, k, method.retriever, WEIGHTS)  # type: ignore

        answered = answering.answer(store, EXAMPLES, method, 3, select, Readers(), NoProgress())
        answers.append((answered.predictions, answered.hits, answered.prefix_tokens))
        store.model.amortize = real
        assert answered.seconds > 0
        # Each chunk once, and of a lazy store not all.
        assert len(set(amortized)) == len(amortized)
        assert (len(amortized) < 36) == (store.lazy is not None)
    assert answers[0] == answers[1]
