"""The paper's stack at work: modulations as a store keeps them, aggregated for a question."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.evaluation.answers import answer_from_whole, answer_many
from models.memory.base_models import BaseModels
from models.memory.modulation import Selected
from models.paper.memory import PaperMemory
from models.paper.reading import TokenReader, collate
from models.paper.stack import PaperStack

from ..conftest import Steps

TEXTS = [f"The jury gave prize number {i} to the poet Tomas Reyl in March." for i in range(7)]
QUESTION = "Who got prize number 3?"


@pytest.fixture
def memory(lm: BaseLM, encoder: SentenceEncoder, make_config: Callable[..., Any]) -> PaperMemory:
    torch.manual_seed(0)
    stack = PaperStack(make_config())
    return PaperMemory(
        stack, BaseModels.loaded(lm, encoder), "0" * 16, TokenReader(lm.tokenizer, lm.device)
    )


@pytest.fixture
def selected(memory: PaperMemory) -> list[Selected]:
    return [Selected(m.latents, m.scales, -1.0) for m in memory.amortize(TEXTS)]


def test_modulations_are_the_amortizer_s_to_a_step(memory: PaperMemory) -> None:
    modulations = memory.amortize(TEXTS)
    assert modulations[0].latents.shape == (4, 72) and modulations[0].latents.dtype == np.int8
    with torch.no_grad():
        exact = memory.stack.amortizer(collate(memory.reader.read(TEXTS))).numpy()
    for modulation, z in zip(modulations, exact, strict=True):
        error = np.abs(modulation.dequantised() - z)
        assert (error <= 0.65 * modulation.scales.astype(np.float32)[:, None]).all()
    keys = np.stack([m.key for m in modulations]).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, atol=1e-2)
    query = memory.encode_question(TEXTS[0])
    assert keys[0] @ query == pytest.approx(20, abs=0.1)


def test_a_context_is_read_before_its_text(memory: PaperMemory) -> None:
    (inside,) = memory.amortize(TEXTS[:1], ["Harbour rules\n"])
    (joined,) = memory.amortize(["Harbour rules\n" + TEXTS[0]])
    np.testing.assert_array_equal(inside.latents, joined.latents)
    np.testing.assert_array_equal(inside.key, joined.key)


def test_few_documents_are_read_at_once_in_any_order(
    memory: PaperMemory, selected: list[Selected]
) -> None:
    one = memory.aggregate(QUESTION, selected[:3])
    torch.testing.assert_close(
        one, memory.aggregate(QUESTION, selected[2::-1]), atol=1e-5, rtol=1e-4
    )
    bank = torch.stack([torch.from_numpy(m.dequantised()) for m in memory.amortize(TEXTS[:3])])
    asked = memory.stack.question(collate(memory.reader.read([QUESTION])))
    torch.testing.assert_close(one, memory.stack.aggregator(asked, bank), atol=1e-5, rtol=1e-4)


def test_many_documents_are_read_in_groups(
    memory: PaperMemory, selected: list[Selected], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    forward = memory.stack.aggregator.forward

    def seen(question: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
        sizes.append(bank.shape[-3])
        return forward(question, bank)

    monkeypatch.setattr(memory.stack.aggregator, "forward", seen)
    assert memory.aggregate(QUESTION, selected).shape == (1, 4, 72)
    assert sorted(sizes) == [1, 3, 3, 3]  # seven documents in groups of three, then the results


def test_merged_latents_stand_where_each_one_stood(
    memory: PaperMemory, selected: list[Selected]
) -> None:
    full = selected[0]
    merged = Selected(full.latents[:2], full.scales[:2], -1.0, np.array([0, 1, 1, 0]))
    spelled = Selected(full.latents[[0, 1, 1, 0]], full.scales[[0, 1, 1, 0]], -1.0)
    torch.testing.assert_close(
        memory.aggregate(QUESTION, [merged]), memory.aggregate(QUESTION, [spelled])
    )


def test_a_question_is_as_likely_as_the_lm_says(
    memory: PaperMemory, selected: list[Selected]
) -> None:
    found = memory.question_likelihood(QUESTION, selected[:2])
    ids = memory.lm.tokenize([f"Question: {QUESTION}\nAnswer:"])[0]
    for likelihood, document in zip(found, selected, strict=False):
        prefix = memory.stack.head.prefix(memory.lm, memory.aggregate(QUESTION, [document]))
        with torch.no_grad():
            logits = memory.lm.logits(memory.lm.forward(torch.tensor([ids]), prefix))[0]
        chosen = logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]]
        assert likelihood == pytest.approx(float(chosen.sum()), rel=1e-4)


def test_answers_follow_the_documents(memory: PaperMemory, selected: list[Selected]) -> None:
    stream = memory.answer(QUESTION, selected[:2], max_new_tokens=4)
    text = "".join(stream)
    assert (stream.prefix_tokens, stream.attention) == (2, [])
    assert text == "".join(memory.answer(QUESTION, selected[:2], max_new_tokens=4))
    loud = [replace(s, scales=(s.scales * 40).astype(np.float16)) for s in selected[:2]]
    assert not torch.equal(
        memory.aggregate(QUESTION, loud), memory.aggregate(QUESTION, selected[:2])
    )
    assert memory.answer(QUESTION, [], max_new_tokens=4).prefix_tokens == 0


@pytest.mark.parametrize("group", [2, None])
def test_questions_read_one_bank_together_as_each_alone(
    memory: PaperMemory, selected: list[Selected], group: int | None
) -> None:
    memory.group = group
    reads: list[int] = []

    def read() -> Iterator[list[Selected]]:
        reads.append(1)
        yield from (selected[:3], selected[3:])

    asked = [QUESTION, "Who?"]
    together = memory.aggregate_whole(asked, read)
    alone = torch.cat([memory.aggregate(question, selected) for question in asked])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    # In groups the bank is read once; all at once, once a layer.
    assert len(reads) == (1 if group else memory.config.blocks)
    with torch.no_grad():
        bank = torch.stack([torch.from_numpy(m.dequantised()) for m in memory.amortize(TEXTS)])
        flat = memory.stack.aggregator(
            memory.stack.question(collate(memory.reader.read(asked))), bank
        )
    assert torch.allclose(together, flat, atol=1e-4) == (group is None)


def test_many_are_answered_as_each_alone(memory: PaperMemory, selected: list[Selected]) -> None:
    asked = [QUESTION, "Who?", "Where was the prize of the poet?"]
    banks = [selected[:2], selected, selected[4:5]]
    done = Steps()
    together = answer_many(memory, asked, banks, batch=2, max_new_tokens=6, progress=done)
    alone = [
        "".join(memory.answer(question, bank, max_new_tokens=6)).strip()
        for question, bank in zip(asked, banks, strict=True)
    ]
    assert together == alone
    assert done == [2, 1]
    whole = answer_from_whole(memory, asked, lambda: [selected[:4], selected[4:]], max_new_tokens=6)
    assert whole == answer_many(memory, asked, [selected] * 3, max_new_tokens=6)
    assert answer_from_whole(memory, [], lambda: [selected]) == []
    assert [memory.prefix_size(bank) for bank in banks] == [memory.config.prefix_tokens] * 3
