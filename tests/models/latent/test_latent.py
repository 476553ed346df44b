"""What the latent stack promises, each on a tiny random model."""

import copy
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.base.decode import generate_batch
from models.base.lm import Shape
from models.errors import CheckpointError
from models.latent.config import COMPACT
from models.latent.initialise import initialise, principal_components, sensitivity
from models.latent.memory import LatentMemory
from models.latent.networks import pack
from models.latent.objective import continued
from models.memory.modulation import Rounding, Selected, quantise
from models.text.prompts import question_prompt
from models.training.loss import IGNORE, supervised_rows

TEXTS = [
    "The jury gave the prize of 40,000 crowns to the poet Tomas Reyl on 12 June 2026.",
    "Heavy rain closed the northern road for 3 days; no one was hurt.",
    "The town of Varnholt opened a new bridge over the Elm in March.",
]
QUESTION = "Who opened the bridge?"


def _latents(memory: LatentMemory, text: str) -> torch.Tensor:
    """Latents of a text, not rounded to int8."""
    lm = memory.lm
    ids = lm.pad([[lm.bos_id, *lm.tokenize([text])[0]]])
    latents: torch.Tensor = memory.stack.amortizer(lm.features(ids).flatten(2)[0, 1:])
    return latents


def _logits(
    memory: LatentMemory, selected: list[Selected], question: str = QUESTION
) -> torch.Tensor:
    lm = memory.lm
    with torch.no_grad():
        ids = lm.pad(lm.tokenize([question_prompt(question)]))
        return lm.logits(lm.forward(ids, memory.prefix([selected])))[0]


def _selected(memory: LatentMemory, texts: list[str], log_weights: list[float]) -> list[Selected]:
    return [
        Selected(m.latents, m.scales, w)
        for m, w in zip(memory.amortize(texts), log_weights, strict=True)
    ]


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_qwen2", "tiny_gemma3"])
def test_full_rank_prefix_equals_the_text_in_the_prompt(
    model: str, request: pytest.FixtureRequest, build_memory: Any
) -> None:
    """To 1e-3 in the logits, whose spread is about 10: what float32 rounding leaves."""
    memory = build_memory(request.getfixturevalue(model), full_rank=True)
    lm, stack = memory.lm, memory.stack
    # One document of few tokens: a sliding window of Gemma would not reach back over a prompt.
    text, question = TEXTS[2][:16], "Who?"
    document, ids = (lm.tokenize([t])[0] for t in (text, question))
    assert len(document) + len(ids) + 1 <= 16
    if model == "tiny_gemma3":
        document, ids = document[:4], ids[:3]
        text = lm.tokenizer.decode(document)
    with torch.no_grad():
        constant = lm.features(lm.pad([[lm.bos_id]])).flatten(2)[0]
        stack.head.constant.copy_(stack.amortizer.normalise(constant))
        z = stack.amortizer(lm.features(lm.pad([[lm.bos_id, *document]])).flatten(2)[0, 1:])
        prefix = stack.prefix(lm, *pack([[z]]), torch.zeros(1, 1))
        found = lm.logits(lm.forward(lm.pad([ids]), prefix))[0]
        prompt = lm.pad([[lm.bos_id, *document, *ids]])
        expected = lm.full_model(prompt).logits[0, -len(ids) :]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_continuing_a_document_is_reading_on(tiny_llama: Path, build_memory: Any) -> None:
    """Behind modulations that lose nothing, a later half is as likely as after the text."""
    memory: LatentMemory = build_memory(tiny_llama, full_rank=True)
    lm, stack = memory.lm, memory.stack
    documents = lm.tokenize([TEXTS[2][:16], TEXTS[0][:11], "a"])
    nats, counts = 0.0, 0
    with torch.no_grad():
        constant = lm.features(lm.pad([[lm.bos_id]])).flatten(2)[0]
        stack.head.constant.copy_(stack.amortizer.normalise(constant))
        z = []
        for row in documents:
            ids = lm.pad([[lm.bos_id, *row]])
            z.append(stack.amortizer(lm.features(ids).flatten(2)[0, 1:]))
            begin = max(1, len(row) // 2) + 1  # the first token of the later half is given
            surprise = lm.full_model(ids).logits[0, begin:-1].log_softmax(-1)
            nats -= float(surprise.gather(1, ids[0, begin + 1 :, None]).sum())
            counts += len(surprise)
        found = continued(stack, lm, z, documents)
        alone = continued(stack, lm, z[-1:], documents[-1:])
    assert float(found) == pytest.approx(nats / counts, abs=1e-3)
    assert float(alone) == 0.0


def test_the_map_that_answers_are_read_with_follows_the_weights(
    tiny_llama: Path, build_memory: Any
) -> None:
    """Where nothing is trained, head and scale are one map: it is made anew after any change."""
    memory = build_memory(tiny_llama)
    lm, stack = memory.lm, memory.stack
    with torch.no_grad():
        packed = pack([[_latents(memory, TEXTS[0])]])

    def agree() -> torch.Tensor:
        trained = stack.prefix(lm, *packed, torch.zeros(1, 1))
        with torch.no_grad():
            answering = stack.prefix(lm, *packed, torch.zeros(1, 1))
        for one, other in zip(trained.keys, answering.keys, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        return trained.keys[0].detach().clone()

    seen = [agree()]
    others = {name: weight + 0.1 for name, weight in stack.state_dict().items()}
    with torch.no_grad():
        stack.head.weight.mul_(1.5)
        stack.amortizer.mean.add_(0.5)
    seen.append(agree())
    stack.load_state_dict(others)
    seen.append(agree())
    stack.head.bias = torch.nn.Parameter(stack.head.bias.detach() + 1)
    seen.append(agree())
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in pairwise(seen))


def test_documents_end_at_the_same_place() -> None:
    documents = [torch.zeros(3, 2), torch.zeros(5, 2), torch.zeros(1, 2)]
    _, place, document = pack([documents, documents[:1]])
    assert place[0].tolist() == [2, 3, 4, 0, 1, 2, 3, 4, 4]
    assert place[1, :3].tolist() == [0, 1, 2]
    assert document.tolist() == [[0, 0, 0, 1, 1, 1, 1, 1, 2], [0, 0, 0, 3, 3, 3, 3, 3, 3]]


def test_sensitivity_is_the_slope_of_the_loss(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    lm, stack = memory.lm, memory.stack
    text, answer = TEXTS[2], "Varnholt"
    slopes = sensitivity(stack, lm, [(text, QUESTION, answer)])
    x = stack.amortizer.normalise(
        lm.features(lm.pad([[lm.bos_id, *lm.tokenize([text])[0]]])).flatten(2)[0, 1:]
    )
    _, place, document = pack([[x]])
    ids, labels = supervised_rows(lm, [(QUESTION, answer)])
    wanted = labels != IGNORE

    def loss(x: torch.Tensor) -> torch.Tensor:
        features = stack.amortizer.restore(x[None])
        prefix = stack.attach(lm, features, place, document, torch.zeros(1, 1))
        logits = lm.logits(lm.forward(ids, prefix)[wanted])
        return torch.nn.functional.cross_entropy(logits, labels[wanted], reduction="sum")

    feature, step = int(slopes.argmax()), 1e-2
    found = []
    with torch.no_grad():
        for token in range(len(x)):
            up, down = x.clone(), x.clone()
            up[token, feature] += step
            down[token, feature] -= step
            found.append((loss(up) - loss(down)) / (2 * step))
    expected = torch.stack(found).pow(2).mean().sqrt()
    torch.testing.assert_close(slopes[feature], expected, rtol=0.02, atol=1e-5)


def test_what_answers_depend_on_is_kept_first(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    stack, lm = memory.stack, memory.lm
    asked = [(text, QUESTION, "Varnholt") for text in TEXTS]
    initialise(stack, lm, TEXTS)
    equal = stack.amortizer.scale.clone()
    slopes = sensitivity(stack, lm, asked)
    initialise(stack, lm, TEXTS, asked)
    weights = equal / stack.amortizer.scale
    assert weights[slopes.argmax()] > 1 > weights[slopes.argmin()]


def test_the_order_of_documents_does_not_matter(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    selected = _selected(memory, TEXTS, [-0.2, -2.0, -3.0])
    expected = _logits(memory, selected)
    for seed in range(3):
        shuffled = random.Random(seed).sample(selected, len(selected))
        torch.testing.assert_close(_logits(memory, shuffled), expected, atol=1e-4, rtol=1e-4)


def test_a_hidden_document_is_as_if_it_were_not_there(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    first, second = _selected(memory, TEXTS[:2], [0.0, float("-inf")])
    # The hidden one is the shorter: positions behind the prefix stay the same.
    assert len(first.latents) >= len(second.latents)
    torch.testing.assert_close(
        _logits(memory, [first, second]), _logits(memory, [first]), atol=1e-4, rtol=1e-4
    )


def test_relevance_moves_the_answer(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    one = _logits(memory, _selected(memory, TEXTS[:2], [-0.01, -5.0]))
    other = _logits(memory, _selected(memory, TEXTS[:2], [-5.0, -0.01]))
    assert (one - other).abs().max() > 1e-2


def test_amortizing_in_a_batch_equals_one_by_one(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    for text, together in zip(TEXTS, memory.amortize(TEXTS), strict=True):
        (alone,) = memory.amortize([text])
        step = float(alone.scales.max())  # rounding may fall to either side
        np.testing.assert_allclose(together.dequantised(), alone.dequantised(), atol=1.01 * step)
        np.testing.assert_allclose(
            together.key.astype(np.float32), alone.key.astype(np.float32), atol=2e-3
        )
        assert together.latents.shape == (memory.count_tokens([text])[0], 16)


def test_a_context_is_read_and_its_own_tokens_are_dropped(
    tiny_llama: Path, build_memory: Any
) -> None:
    memory = build_memory(tiny_llama)
    context = "Harbour rules > Fees\n"
    without, with_context = memory.amortize([TEXTS[0]]), memory.amortize([TEXTS[0]], [context])
    assert with_context[0].latents.shape == without[0].latents.shape
    assert (with_context[0].latents != without[0].latents).any()
    lm = memory.lm
    before, own = lm.tokenize([context, TEXTS[0]])
    read = lm.features(lm.pad([[lm.bos_id, *before, *own]])).flatten(2)[0, 1 + len(before) :]
    latents, scales = quantise(memory.stack.amortizer(read).numpy())
    np.testing.assert_array_equal(with_context[0].latents, latents)
    np.testing.assert_array_equal(with_context[0].scales, scales)
    np.testing.assert_array_equal(
        with_context[0].key,
        memory.encoder.encode_documents([context + TEXTS[0]])[0].numpy().astype("f2"),
    )


def test_empty_contexts_change_nothing(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    pairs = zip(memory.amortize(TEXTS), memory.amortize(TEXTS, [""] * len(TEXTS)), strict=True)
    for without, empty in pairs:
        np.testing.assert_array_equal(without.latents, empty.latents)
        np.testing.assert_array_equal(without.scales, empty.scales)
        np.testing.assert_array_equal(without.key, empty.key)


def test_contexts_of_any_length_are_read_in_a_batch(tiny_gpt2: Path, build_memory: Any) -> None:
    """The learned positions of GPT-2 limit them as well."""
    memory = build_memory(tiny_gpt2)
    memory.lm.architecture.positions = 70
    contexts = ["", "A title\n", "A title without an end " * 50]
    for text, context, together in zip(
        TEXTS, contexts, memory.amortize(TEXTS, contexts), strict=True
    ):
        (alone,) = memory.amortize([text], [context])
        step = float(alone.scales.max())
        np.testing.assert_allclose(together.dequantised(), alone.dequantised(), atol=1.01 * step)
        assert len(together.latents) == min(memory.count_tokens([text])[0], 64)


def test_a_group_of_questions_equals_one_question_at_a_time(
    tiny_llama: Path, build_memory: Any
) -> None:
    """Training lays the questions of a group over one prefix; answering does not."""
    memory = build_memory(tiny_llama)
    lm, stack = memory.lm, memory.stack
    questions = lm.tokenize([QUESTION, "How many crowns was the prize?"])
    with torch.no_grad():
        latents = [[_latents(memory, t) for t in TEXTS], [_latents(memory, TEXTS[1])]]
        bias = torch.tensor([[-0.3, -1.4, -9.0], [-2.0, -0.2, float("-inf")]])
        bias = torch.cat((bias, torch.tensor([[0.0, float("-inf"), float("-inf")]] * 2)))
        together = lm.forward(lm.pad(questions * 2), stack.prefix(lm, *pack(latents), bias))
        for row in range(4):
            group = latents[row // 2]
            prefix = stack.prefix(lm, *pack([group]), bias[row : row + 1, : len(group)])
            alone = lm.forward(lm.pad([questions[row % 2]]), prefix)
            torch.testing.assert_close(
                together[row, : alone.shape[1]], alone[0], atol=1e-4, rtol=1e-4
            )


def test_batched_answers_equal_single_ones(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    banks = [
        _selected(memory, TEXTS[1:], [-0.5, -1.0]),
        _selected(memory, TEXTS, [-0.5, -1.0, -2.0]),
    ]
    questions = [QUESTION, "How much was the prize, and who got it?"]
    prompts = memory.lm.tokenize([question_prompt(q) for q in questions])
    together = generate_batch(memory.lm, prompts, memory.prefix(banks), 8)
    for question, bank, ids in zip(questions, banks, together, strict=True):
        stream = memory.answer(question, bank, max_new_tokens=8)
        assert "".join(stream).strip() == memory.lm.tokenizer.decode(ids).strip()


def test_a_question_s_likelihood_is_that_behind_each_document_alone(
    tiny_llama: Path, build_memory: Any
) -> None:
    memory = build_memory(tiny_llama)
    documents = _selected(memory, TEXTS, [-0.5, -1.0, -2.0])
    likelihoods = memory.question_likelihood(QUESTION, documents)
    assert len(set(likelihoods)) == len(TEXTS)
    ids = torch.tensor(memory.lm.tokenize([question_prompt(QUESTION)]))
    for document, likelihood in zip(documents, likelihoods, strict=True):
        prefix = memory.prefix([[replace(document, log_weight=0.0)]])
        logits = memory.lm.logits(memory.lm.forward(ids, prefix))
        surprise = F.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum")
        assert likelihood == pytest.approx(-float(surprise), rel=1e-4)


@pytest.mark.usefixtures("any_byte")
def test_an_empty_bank_answers_as_the_base_lm(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    stream = memory.answer(QUESTION, [], max_new_tokens=8)
    text = "".join(stream)
    ids = torch.tensor([memory.chat_prompt(QUESTION)])
    expected = memory.lm.full_model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=8,
        pad_token_id=2,
        eos_token_id=2,
    )
    decoded = memory.lm.tokenizer.decode(expected[0, ids.shape[1] :], skip_special_tokens=True)
    assert text.strip() == decoded.strip().rstrip("\N{REPLACEMENT CHARACTER}")
    assert stream.prefix_tokens == 0


def test_attention_falls_on_documents_and_adds_up(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    selected = _selected(memory, TEXTS, [-0.5, -1.0, -2.0])
    stream = memory.answer(QUESTION, selected, max_new_tokens=4)
    list(stream)
    assert [len(a) for a in stream.attention] == [len(s.latents) for s in selected]
    layers_and_heads = memory.lm.shape.layers * memory.lm.heads
    assert 0 < sum(a.sum() for a in stream.attention) < layers_and_heads * 4


@pytest.mark.parametrize("rounding", [Rounding(), COMPACT])
def test_quantising_is_within_the_part_of_a_step_that_is_rounded_down(rounding: Rounding) -> None:
    z = np.random.default_rng(0).normal(size=(7, 32)).astype(np.float32)
    z[3] = 0
    z[4, 0] = 1e3  # one number alone: it must not be cut off
    latents, scales = quantise(z, rounding)
    back = latents.astype(np.float32) * scales.astype(np.float32)[:, None]
    step = rounding.step * np.sqrt(np.square(z).mean(1, keepdims=True))
    # The scale is fitted to the token, so a number may be a little further off than that.
    assert (np.abs(back - z) <= 1.3 * rounding.threshold * step).all()
    others = [0, 1, 2, 5, 6]
    np.testing.assert_array_equal(
        latents[others] != 0, (np.abs(z) >= rounding.threshold * step)[others]
    )
    off = back - z
    assert np.abs((off * back).sum(1)).max() <= 1e-3 * np.square(z).sum(1).max()
    assert latents.dtype == np.int8 and scales.dtype == np.float16


def test_principal_components_find_the_plane_the_data_lies_in() -> None:
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(40, 3, generator=generator)).Q
    x = torch.randn(200, 3, generator=generator) @ basis.T
    components, kept = principal_components(x, 3, seed=0)
    assert kept == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(components @ components.T @ basis, basis, atol=1e-4, rtol=1e-4)


def test_another_base_lm_is_refused(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    with pytest.raises(CheckpointError, match="2 layers, this one has 5"):
        memory.stack.check(SimpleNamespace(shape=Shape(5, 3, 8, 72)))


def test_amortizing_leaves_the_base_lm_alone(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    before = copy.deepcopy(memory.lm.model.state_dict())
    memory.amortize(TEXTS)
    for name, tensor in memory.lm.model.state_dict().items():
        assert torch.equal(tensor, before[name])
