"""LoRA modulations against the same change merged into the base LM's weights."""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.base.decode import decode_stream, generate_batch
from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.base.lora import default_targets, projections, sizes
from models.errors import CheckpointError
from models.memory.base_models import BaseModels
from models.memory.modulation import Selected
from models.paper.heads import LoraHead
from models.paper.memory import PaperMemory
from models.paper.method import PaperMethod
from models.paper.objective import loss
from models.paper.reading import TokenReader, collate
from models.paper.stack import PaperStack
from models.stacks import load_stack
from models.training.corpus import build
from models.training.loss import real_tokens, rows_loss, supervised_rows
from models.training.trainer import StepReport, Trainer

from .test_training import BATCH, EXAMPLES, SETTINGS

CPU = torch.device("cpu")
T, D, R, ALPHA = 6, 40, 3, 5
QUESTIONS = ["Who opened the bridge?", "Where was the prize given, and to whom?", "Who?"]


@pytest.fixture(params=["tiny_llama", "tiny_qwen2", "tiny_gemma3", "tiny_gpt2"])
def any_lm(request: pytest.FixtureRequest) -> BaseLM:
    return BaseLM.load(request.getfixturevalue(request.param), device=CPU, dtype=torch.float32)


def make_head(lm: BaseLM, *names: str, loud: bool = True) -> LoraHead:
    """A head with an effect, as after a long training."""
    torch.manual_seed(0)
    targets = {name: sizes(projections(lm, name)[0]) for name in names or default_targets(lm)}
    head = LoraHead(T, D, lm.shape.layers, targets, r=R, lora_alpha=ALPHA, hidden=16)
    if loud:
        for maps in head.maps:
            torch.nn.init.normal_(maps.up)
    return head.requires_grad_(False)


def merged(lm: BaseLM, head: LoraHead, latents: Tensor) -> BaseLM:
    """A base LM with W + (alpha / r) B A as its weights, for latents [1, T, d]."""
    copied = BaseLM(copy.deepcopy(lm.model), lm.tokenizer)
    with torch.no_grad():
        for name, (a, b) in head(latents).items():
            for i, module in enumerate(projections(copied, name)):
                change = ALPHA / R * (b[i, 0] @ a[i, 0])
                # GPT-2's projections keep their weights the other way round.
                module.weight += change if isinstance(module, torch.nn.Linear) else change.T
    return copied


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


def test_every_sequence_wears_its_own(any_lm: BaseLM) -> None:
    lm, head = any_lm, make_head(any_lm)
    before = {name: t.clone() for name, t in lm.model.state_dict().items()}
    latents = torch.randn(3, T, D)
    rows = lm.tokenize(QUESTIONS)
    ids = lm.pad(rows)
    real = torch.tensor([[t < len(row) for t in range(ids.shape[1])] for row in rows])
    with torch.no_grad():
        plain = lm.forward(ids)
        with head.applied(lm, latents) as prefix:
            assert prefix is None
            padded = lm.forward(ids)
        with head.applied(lm, latents, real):
            packed = lm.forward(ids, real=real)
        for n, row in enumerate(rows):
            alone = merged(lm, head, latents[n : n + 1]).forward(torch.tensor([row]))[0]
            close(padded[n, : len(row)], alone)
            close(packed[n, : len(row)], alone)
            assert (alone - plain[n, : len(row)]).abs().max() > 0.05
        assert torch.equal(lm.forward(ids), plain)
    for name, tensor in lm.model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("names", [("k_proj", "o_proj"), ("gate_proj", "mlp.down_proj")])
def test_other_projections(names: Sequence[str], lm: BaseLM) -> None:
    head = make_head(lm, *names)
    latents = torch.randn(1, T, D)
    prompt = lm.tokenize([QUESTIONS[1]])[0]
    with torch.no_grad():
        expected = merged(lm, head, latents).forward(torch.tensor([prompt]))
        with head.applied(lm, latents):
            close(lm.forward(torch.tensor([prompt])), expected)


def test_groups_share_one_and_others_are_refused(lm: BaseLM) -> None:
    head = make_head(lm)
    latents = torch.randn(2, T, D)
    ids = torch.tensor([lm.tokenize(["Who opened it?"])[0]] * 4)
    with torch.no_grad():
        with head.applied(lm, latents):
            found = lm.forward(ids)
        with head.applied(lm, latents[1:]):
            close(found[2:], lm.forward(ids[2:]))
        with head.applied(lm, latents), pytest.raises(ValueError, match="2 modulations"):
            lm.forward(ids[:3])
        assert not any(m._forward_hooks for m in lm.model.modules())


def test_answers_are_those_of_merged_weights(lm: BaseLM) -> None:
    head = make_head(lm)
    latents = torch.randn(3, T, D)
    prompts = lm.tokenize(QUESTIONS)
    with head.applied(lm, latents):
        together = generate_batch(lm, prompts, None, 8)
    for n, prompt in enumerate(prompts):
        other = merged(lm, head, latents[n : n + 1])
        expected = generate_batch(other, [prompt], None, 8)[0]
        rows = torch.tensor([[*prompt, *expected]])
        with head.applied(lm, latents[n : n + 1]):
            answer = list(decode_stream(lm, prompt, None, 8))
            with torch.no_grad():
                logits = lm.logits(lm.forward(rows))
        assert answer == expected == together[n]
        with torch.no_grad():
            close(logits.log_softmax(-1), other.logits(other.forward(rows)).log_softmax(-1))


def test_it_starts_as_the_base_lm_and_learns_from_the_second_step(
    lm: BaseLM, make_config: Callable[..., Any]
) -> None:
    torch.manual_seed(0)
    stack = PaperStack(config(make_config))
    reader = TokenReader(lm.tokenizer, lm.device)
    corpus = build(
        [EXAMPLES], lambda texts: [len(row) for row in lm.tokenize(texts)], chunk_tokens=64
    )
    asked = [corpus.questions[q] for q in BATCH.questions]
    ids, labels = supervised_rows(lm, [(q.text, q.answers[0]) for q in asked], start=[lm.bos_id])
    assert ids[:, 0].tolist() == [lm.bos_id] * 4
    expected = rows_loss(lm, None, ids, labels)
    optimiser = torch.optim.Adam(stack.parameters(), lr=1e-3)
    reached = []
    for step in range(2):
        optimiser.zero_grad(set_to_none=True)
        terms = loss(stack, lm, reader, corpus, BATCH, [True, False, False, True])
        if step == 0:
            torch.testing.assert_close(terms.answer, expected)
        terms.answer.backward()
        optimiser.step()
        gradients = [p.grad for p in stack.amortizer.parameters() if p.grad is not None]
        reached.append(max(float(g.abs().max()) for g in gradients))
    assert reached[0] == 0 and reached[1] > 1e-7
    assert all(p.grad is None for p in lm.model.parameters())


def test_training_lowers_the_loss(
    lm: BaseLM, encoder: SentenceEncoder, make_config: Callable[..., Any], tmp_path: Path
) -> None:
    settings = replace(SETTINGS, steps=40)
    model = config(make_config)
    method = PaperMethod(settings, model, lm, TokenReader(lm.tokenizer, lm.device))
    before = {name: t.clone() for name, t in lm.model.state_dict().items()}
    steps: list[StepReport] = []
    Trainer(
        method, encoder, [EXAMPLES], [1.0], tmp_path / "out", note=lambda _: None
    ).run(steps.append)  # fmt: skip
    first, last = (sum(s.answer_loss for s in part) / 5 for part in (steps[:5], steps[-5:]))
    assert last < 0.7 * first
    for name, tensor in lm.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_padding_is_left_out_of_the_loss_and_changes_nothing(lm: BaseLM) -> None:
    head = make_head(lm)
    latents = torch.randn(2, T, D, requires_grad=True)
    pairs = [("Who opened the bridge over the Elm?", "Ida Brandt"), ("Who?", "Otto")]
    ids, labels = supervised_rows(lm, pairs, start=head.opening(lm))
    with head.applied(lm, latents, real_tokens(labels)) as prefix:
        together = rows_loss(lm, prefix, ids, labels, reduction="sum")
    (gradient,) = torch.autograd.grad(together, latents)
    alone = []
    for n, pair in enumerate(pairs):
        own = latents[n : n + 1]
        ids, labels = supervised_rows(lm, [pair], start=head.opening(lm))
        with head.applied(lm, own) as prefix:
            alone.append(rows_loss(lm, prefix, ids, labels, reduction="sum"))
    torch.testing.assert_close(together, sum(alone))
    close(gradient, torch.autograd.grad(sum(alone), latents)[0])  # type: ignore[arg-type]
    assert gradient.abs().amax((1, 2)).min() > 0


def test_layers_that_are_run_again_wear_it_again(any_lm: BaseLM) -> None:
    lm, head = any_lm, make_head(any_lm)
    latents = torch.randn(2, T, D, requires_grad=True)
    pairs = [("Who opened the bridge over the Elm?", "Ida Brandt"), ("Who?", "Otto")]
    ids, labels = supervised_rows(lm, pairs)
    gradients = []
    for again in (False, True, True):
        lm.gradient_checkpointing = again
        with head.applied(lm, latents, real_tokens(labels)):
            loss_ = rows_loss(lm, None, ids, labels)
            if len(gradients) == 2:  # the backward pass inside the context
                gradients += torch.autograd.grad(loss_, latents)
        if len(gradients) < 2:
            gradients += torch.autograd.grad(loss_, latents)
        assert not any(m._forward_hooks for m in lm.model.modules())
    close(gradients[1], gradients[0])
    close(gradients[2], gradients[0])


def config(make_config: Callable[..., Any], **changes: Any) -> Any:
    targets = {"q_proj": [72, 72], "v_proj": [72, 24]}
    return make_config(modulation="lora", r=R, lora_alpha=ALPHA, lora_targets=targets, **changes)


@pytest.fixture
def memory(lm: BaseLM, encoder: SentenceEncoder, make_config: Callable[..., Any]) -> PaperMemory:
    torch.manual_seed(0)
    stack = PaperStack(config(make_config))
    for maps in stack.head.maps:  # type: ignore[union-attr]
        torch.nn.init.normal_(maps.up)
    return PaperMemory(
        stack, BaseModels.loaded(lm, encoder), "0" * 16, TokenReader(lm.tokenizer, lm.device)
    )


TEXTS = [f"The jury gave prize number {i} to the poet Tomas Reyl in March." for i in range(5)]
QUESTION = "Who got prize number 3?"


def test_a_question_is_answered_by_what_was_stored(memory: PaperMemory) -> None:
    modulations = memory.amortize(TEXTS)
    assert modulations[0].latents.shape == (4, 72)
    selected = [Selected(m.latents, m.scales, -1.0) for m in modulations]
    lm = memory.lm
    prompt = [lm.bos_id, *lm.tokenize([f"Question: {QUESTION}\nAnswer:"])[0]]
    likelihoods = memory.question_likelihood(QUESTION, selected)
    for likelihood, document in zip(likelihoods, selected, strict=True):
        latents = memory.aggregate(QUESTION, [document])
        with torch.no_grad():
            other = merged(lm, memory.stack.head, latents)  # type: ignore[arg-type]
            logits = other.logits(other.forward(torch.tensor([prompt])))[0].log_softmax(-1)
        chosen = logits[range(len(prompt) - 1), prompt[1:]]
        assert likelihood == pytest.approx(float(chosen.sum()), rel=1e-3)

    banks = [selected[:3], selected[2::-1], selected[3:]]
    streams = [memory.answer(QUESTION, bank, max_new_tokens=6) for bank in banks]
    pieces = [next(stream, "") for stream in streams]  # answers that take turns
    texts = [piece + "".join(stream) for piece, stream in zip(pieces, streams, strict=True)]
    assert texts[0] == texts[1]
    for bank, answer, text in zip(banks, streams, texts, strict=True):
        assert answer.prefix_tokens == 0 and answer.attention == []
        other = merged(lm, memory.stack.head, memory.aggregate(QUESTION, bank))  # type: ignore[arg-type]
        ids = generate_batch(other, [prompt], None, 6)[0]
        assert text == str(lm.tokenizer.decode(ids)).lstrip()
    assert not any(m._forward_hooks for m in lm.model.modules())


def test_a_checkpoint_comes_back(
    make_config: Callable[..., Any], lm: BaseLM, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    stack = PaperStack(config(make_config))
    stack.save(tmp_path)
    assert "LoRA of rank 3 on q_proj, v_proj" in (tmp_path / "README.md").read_text()
    loaded = load_stack(tmp_path)
    assert isinstance(loaded, PaperStack) and loaded.config == stack.config
    for name, tensor in stack.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=1e-3, rtol=2e-3)
    wrong = replace(stack.config, r=4)
    (tmp_path / "config.json").write_text(json.dumps(wrong.as_dict()))
    with pytest.raises(CheckpointError, match="has the shape"):
        load_stack(tmp_path)
    narrow = replace(stack.config, lora_targets={"q_proj": [72, 24], "v_proj": [72, 24]})
    with pytest.raises(CheckpointError, match="changes a q_proj of 72 to 24 numbers"):
        PaperStack(narrow).head.check(lm)
    with pytest.raises(CheckpointError, match="no projections named 'z_proj'"):
        PaperStack(replace(narrow, lora_targets={"z_proj": [8, 8]})).head.check(lm)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 0}, "r must be at least 1"),
        ({"lora_alpha": 0}, "lora_alpha above 0"),
        ({"lora_targets": {}}, "lora_targets must name"),
        ({"lora_targets": {"q_proj": 8}}, "inputs and outputs of q_proj"),
    ],
)
def test_settings_are_checked(
    changes: dict[str, Any], message: str, make_config: Callable[..., Any]
) -> None:
    with pytest.raises(CheckpointError, match=message):
        replace(config(make_config), **changes)


def test_the_order_of_the_documents_changes_nothing(memory: PaperMemory) -> None:
    bank = memory.stack.amortizer(collate(memory.reader.read(TEXTS)))
    asked = memory.stack.question(collate(memory.reader.read([QUESTION])))
    found = memory.stack.head(memory.stack.aggregator(asked, bank))
    other = memory.stack.head(memory.stack.aggregator(asked, bank.flip(0)))
    for name, pair in found.items():
        for one, two in zip(pair, other[name], strict=True):
            close(one, two)
