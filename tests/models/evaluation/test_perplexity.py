from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.evaluation.perplexity import CONTEXTS, halves, perplexity, surprise

TEXT = "The town opened a bridge. Rain closed the road. The jury met. The poet was awarded a prize."


def words(texts: Any) -> list[int]:
    return [len(text.split()) for text in texts]


def test_halves_at_the_sentence_end_nearest_to_the_middle() -> None:
    before, after = halves(TEXT, words) or ("", "")
    assert before == "The town opened a bridge. Rain closed the road."
    assert before + after == TEXT
    # Sentences that do not fit are left out, whole ones only.
    assert halves(TEXT, words, 11) == ("The town opened a bridge.", " Rain closed the road.")
    assert halves(TEXT, words, 8) is None
    assert halves("One sentence only.", words) is None
    assert halves("", words) is None


def test_surprise_is_that_of_the_base_model(build_memory: Any, tiny_llama: Path) -> None:
    memory = build_memory(tiny_llama)
    before, after = halves(TEXT, memory.count_tokens) or ("", "")
    found = surprise(memory, before, after)
    assert found is not None
    earlier, later = memory.lm.tokenize([before, after])
    ids = torch.tensor([[memory.lm.bos_id, *earlier, *later]])
    with torch.no_grad():
        logits = memory.lm.full_model(ids).logits[0].log_softmax(-1)
    # The first token of the later half is given, the others count.
    places = range(len(earlier) + 2, ids.shape[1])
    expected = -sum(float(logits[i - 1, ids[0, i]]) for i in places)
    assert found.nats["text"] == pytest.approx(expected, rel=1e-4)
    assert found.tokens == len(places) == len(later) - 1
    assert set(found.nats) == set(CONTEXTS)
    assert len({round(nats, 3) for nats in found.nats.values()}) == 5
    assert found.context["constant"] == 4
    assert found.context["mac"] == 4 + sum(
        len(m.latents) for m in memory.amortize([before])
    )  # one chunk
    assert (found.chunks, found.context["none"]) == (1, 0)
    assert surprise(memory, before, "") is None


def test_full_rank_modulations_are_nearly_the_text(build_memory: Any, tiny_llama: Path) -> None:
    memory = build_memory(tiny_llama, full_rank=True)
    found = surprise(memory, "The town opened a bridge.", " Rain closed the road. The jury met.")
    assert found is not None
    assert (
        abs(found.nats["mac"] - found.nats["text"])
        < abs(found.nats["none"] - found.nats["text"]) + 0.05 * found.nats["text"]
    )


def test_perplexity_over_texts_weighs_by_tokens() -> None:
    value, low, high = perplexity([10.0, 30.0], [10, 10])
    assert value == pytest.approx(2.718281828**2)
    assert low == pytest.approx(2.718281828) and high == pytest.approx(2.718281828**3)
    assert perplexity([5.0], [10]) == pytest.approx((1.6487212707,) * 3)
    with pytest.raises(ValueError, match="at least one text"):
        perplexity([], [])
