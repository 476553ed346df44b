"""Modulations whose tokens were merged: what counts and places stand for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.evaluation.answers import answer_many
from models.latent.memory import LatentMemory
from models.memory.modulation import Selected
from models.text.prompts import question_prompt

TEXTS = [
    "The jury gave the prize of 40,000 crowns to the poet Tomas Reyl on 12 June 2026.",
    "The town of Varnholt opened a new bridge over the Elm in March.",
]
QUESTION = "Who opened the bridge?"


@pytest.fixture
def memory(tiny_llama: Path, build_memory: Any) -> LatentMemory:
    built: LatentMemory = build_memory(tiny_llama)
    return built


def _logits(memory: LatentMemory, selected: list[Selected]) -> torch.Tensor:
    lm = memory.lm
    with torch.no_grad():
        ids = lm.pad(lm.tokenize([question_prompt(QUESTION)]))
        return lm.logits(lm.forward(ids, memory.prefix([selected])))[0]


def _pair(memory: LatentMemory) -> list[Selected]:
    return [
        Selected(m.latents, m.scales, w)
        for m, w in zip(memory.amortize(TEXTS), (-0.4, -1.1), strict=True)
    ]


def test_tokens_that_stand_for_themselves_change_nothing(memory: LatentMemory) -> None:
    plain = _pair(memory)
    shuffled = []
    for n, one in enumerate(plain):
        order = np.random.default_rng(n).permutation(len(one.latents))
        shuffled.append(
            Selected(one.latents[order], one.scales[order], one.log_weight, np.argsort(order))
        )
    torch.testing.assert_close(
        _logits(memory, shuffled), _logits(memory, plain), atol=1e-4, rtol=1e-4
    )


def test_a_token_that_stands_for_several_is_as_if_it_were_there_so_often(
    memory: LatentMemory,
) -> None:
    first, second = _pair(memory)
    # Three tokens around a place and one that stands for all three there.
    which = np.arange(len(first.latents))
    which[3:6] = 3
    which[6:] -= 2
    rows = np.delete(np.arange(len(first.latents)), [4, 5])
    merged = Selected(first.latents[rows], first.scales[rows], first.log_weight, which)
    assert merged.counts().tolist()[2:5] == [1, 3, 1]
    ends = merged.before_end()
    assert ends[3] == len(first.latents) - 4 and ends[-1] == 1 and ends[0] == len(first.latents)
    # The same with the token three times at that place: counts must equal copies.
    copies = np.insert(np.arange(len(rows)), 3, [3, 3])
    prefix = memory.prefix([[merged, second]])
    p = memory.config.constant_tokens
    bias = prefix.bias[0, p:]
    assert bias[3] - bias[2] == pytest.approx(np.log(3), abs=1e-5)
    repeated = prefix._replace(
        keys=[_taken(k, p, copies) for k in prefix.keys],
        values=[_taken(v, p, copies) for v in prefix.values],
        bias=torch.cat(
            (
                prefix.bias[:, :p],
                torch.full((1, len(copies)), first.log_weight),
                prefix.bias[:, p + len(rows) :],
            ),
            1,
        ),
    )
    lm = memory.lm
    with torch.no_grad():
        ids = lm.pad(lm.tokenize([question_prompt(QUESTION)]))
        torch.testing.assert_close(
            lm.forward(ids, prefix), lm.forward(ids, repeated), atol=1e-4, rtol=1e-4
        )


def _taken(x: torch.Tensor, constant: int, places: np.ndarray[Any, Any]) -> torch.Tensor:
    """The first document's tokens of [1, H, S, C] taken at `places`, the rest as it is."""
    number = len(set(places.tolist()))
    own = x[:, :, constant : constant + number][:, :, torch.from_numpy(places)]
    return torch.cat((x[:, :, :constant], own, x[:, :, constant + number :]), 2)


def test_attention_is_shared_out_among_the_tokens(memory: LatentMemory) -> None:
    first, second = _pair(memory)
    which = np.arange(len(first.latents)) // 2
    merged = Selected(first.latents[::2], first.scales[::2], first.log_weight, which)
    stream = memory.answer(QUESTION, [merged, second], max_new_tokens=3)
    list(stream)
    assert [len(a) for a in stream.attention] == [len(first.latents), len(second.latents)]
    pairs = stream.attention[0][: len(which) // 2 * 2].reshape(-1, 2)
    np.testing.assert_array_equal(pairs[:, 0], pairs[:, 1])
    assert stream.prefix_tokens == memory.config.constant_tokens + len(merged.latents) + len(
        second.latents
    )
    assert second.spread(np.ones(3, np.float32)).tolist() == [1, 1, 1]


def test_merged_and_plain_modulations_in_one_batch(memory: LatentMemory) -> None:
    first, second = _pair(memory)
    which = np.arange(len(first.latents)) // 2
    merged = Selected(first.latents[::2], first.scales[::2], first.log_weight, which)
    banks = [[merged, second], [second], [merged]]
    together = answer_many(memory, [QUESTION] * 3, banks, max_new_tokens=6)
    alone = [answer_many(memory, [QUESTION], [b], max_new_tokens=6)[0] for b in banks]
    assert together == alone
