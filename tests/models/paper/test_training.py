"""Meta-training of the paper's stack: eq. 4, backpropagation dropout, resuming, checkpoints."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.errors import CheckpointError
from models.memory import checkpoint
from models.paper.config import PaperConfig
from models.paper.method import PaperMethod, instruction_prefix
from models.paper.objective import amortize, draw_with_gradient, loss, visible
from models.paper.reading import StateReader, TokenReader, collate
from models.paper.stack import PaperStack
from models.stacks import config_of, load_stack
from models.text.prompts import question_prompt
from models.training.batches import Batch
from models.training.corpus import Corpus, build
from models.training.settings import TrainConfig
from models.training.trainer import StepReport, Trainer

from ..conftest import prizes

MakeConfig = Callable[..., PaperConfig]
EXAMPLES = prizes("The jury gave prize number {i} to {name} in March.")
SETTINGS = TrainConfig(
    steps=5, groups=2, documents=2, learning_rate=3e-3, save_minutes=60, seed=3,
    backprop_dropout=0.5,
)  # fmt: skip


@pytest.fixture
def reader(lm: BaseLM) -> TokenReader:
    return TokenReader(lm.tokenizer, lm.device)


@pytest.fixture
def stack(make_config: MakeConfig) -> PaperStack:
    torch.manual_seed(0)
    return PaperStack(make_config())


@pytest.fixture
def corpus(lm: BaseLM) -> Corpus:
    return build(
        [EXAMPLES], lambda texts: [len(row) for row in lm.tokenize(texts)], chunk_tokens=64
    )


BATCH = Batch(
    [[0, 1], [2, 3]],
    [0, 1, 2, 3],
    torch.tensor([0, 1, 0, 1]),
    torch.tensor([[1, 1], [0, 1], [1, 1], [1, 1]], dtype=torch.bool),
)


def test_who_reads_what() -> None:
    assert visible(BATCH).int().tolist() == [[1] * 4, [0, 1, 0, 0], [1] * 4, [1] * 4]


def test_the_loss_is_equation_4(
    stack: PaperStack, lm: BaseLM, reader: TokenReader, corpus: Corpus
) -> None:
    with torch.no_grad():
        found = loss(stack, lm, reader, corpus, BATCH)
        surprise, tokens = 0.0, 0
        for n, sees in enumerate(visible(BATCH)):
            asked = corpus.questions[BATCH.questions[n]]
            own = [corpus.chunks[c] for c, seen in zip([0, 1, 2, 3], sees, strict=True) if seen]
            bank = torch.cat([stack.amortizer(collate(reader.read([text]))) for text in own])
            question = stack.question(collate(reader.read([asked.text])))
            prefix = stack.head.prefix(lm, stack.aggregator(question, bank))
            prompt, answer = lm.tokenize([question_prompt(asked.text), " " + asked.answers[0]])
            logits = lm.logits(lm.forward(lm.pad([prompt + answer]), prefix))[0]
            target = torch.tensor([*answer, lm.eos_id])
            surprise += float(F.cross_entropy(logits[len(prompt) - 1 :], target, reduction="sum"))
            tokens += len(target)
    assert float(found.answer) == pytest.approx(surprise / tokens, rel=1e-4)
    assert float(found.total) == float(found.answer)


def _gradients(stack: PaperStack, *run: Any) -> dict[str, torch.Tensor]:
    stack.zero_grad(set_to_none=True)
    loss(stack, *run).total.backward()
    return {n: p.grad.clone() for n, p in stack.named_parameters() if p.grad is not None}


def test_dropout_gives_the_full_gradient_in_expectation(
    stack: PaperStack, lm: BaseLM, reader: TokenReader, corpus: Corpus
) -> None:
    stack.double()
    lm.model.double()
    run = (lm, reader, corpus, BATCH)
    full = _gradients(stack, *run)
    subsets = [[k in chosen for k in range(4)] for chosen in itertools.combinations(range(4), 2)]
    every = [_gradients(stack, *run, kept) for kept in subsets]
    differ = 0
    for name, expected in full.items():
        mean = sum(g[name] for g in every) / len(every)
        torch.testing.assert_close(mean, expected, atol=1e-9, rtol=1e-6)
        for gradient in every:
            if name.startswith("amortizer."):
                differ += not torch.allclose(gradient[name], expected, atol=1e-9, rtol=1e-4)
            else:  # what comes after the amortizer is never dropped
                torch.testing.assert_close(gradient[name], expected, atol=1e-9, rtol=1e-6)
    assert differ > 100


def test_dropped_documents_have_no_backward_pass(stack: PaperStack, reader: TokenReader) -> None:
    rows = reader.read([e.document for e in EXAMPLES[:4]])
    exact = amortize(stack, rows, [True] * 4)
    for kept in ([True, False, False, True], [False] * 3 + [True]):
        z = amortize(stack, rows, kept)
        torch.testing.assert_close(z, exact, atol=1e-5, rtol=1e-5)
        for k, keeps in enumerate(kept):
            grads = torch.autograd.grad(
                z[k].sum(), list(stack.amortizer.mlps.parameters()),
                retain_graph=True, allow_unused=True,
            )  # fmt: skip
            assert any(g is not None and bool(g.any()) for g in grads) is keeps


def test_documents_are_kept_at_random() -> None:
    rng = random.Random(0)
    drawn = [draw_with_gradient(8, 0.75, rng) for _ in range(2000)]
    assert {sum(kept) for kept in drawn} == {2}
    for k in range(8):
        assert sum(kept[k] for kept in drawn) == pytest.approx(500, abs=80)
    pairs = Counter(tuple(k for k, kept in enumerate(row) if kept) for row in drawn)
    assert len(pairs) == 28
    assert sum(draw_with_gradient(3, 0.99, rng)) == 1 and all(draw_with_gradient(3, 0.0, rng))


def test_the_prefix_starts_from_an_instruction(stack: PaperStack, lm: BaseLM) -> None:
    instruction_prefix(stack.head, lm)
    mlps = stack.head.mlps
    with torch.no_grad():
        mlps.down.zero_()
        assert mlps.skip is not None
        mlps.skip.zero_()
        prefix = stack.head.prefix(lm, torch.randn(1, 4, 72))
        prompt = lm.tokenize(["Who?"])[0]
        start = [lm.bos_id, *lm.tokenize(["Answer the question with a few words taken"])[0]][:2]
        found = lm.forward(lm.pad([prompt]), prefix)
        expected = lm.forward(lm.pad([start + prompt]))[:, 2:]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.fixture
def make(
    tmp_path: Path, lm: BaseLM, encoder: SentenceEncoder, reader: TokenReader,
    make_config: MakeConfig,
) -> Callable[..., Trainer]:  # fmt: skip
    def trainer(
        out: str = "out", settings: TrainConfig = SETTINGS, amortizer: str = "t5", **more: Any
    ) -> Trainer:
        model = make_config(amortizer)
        reads = StateReader(encoder) if amortizer == "encoder" else reader
        method = PaperMethod(settings, model, lm, reads, **more)
        return Trainer(method, encoder, [EXAMPLES], [1.0], tmp_path / out, note=lambda _: None)

    return trainer


def _run(trainer: Trainer, **more: Any) -> list[StepReport]:
    steps: list[StepReport] = []
    trainer.run(steps.append, **more)
    return steps


@pytest.mark.parametrize("amortizer", ["t5", "encoder"])
def test_the_loss_falls_and_the_base_lm_stays(amortizer: str, make: Callable[..., Trainer]) -> None:
    trainer = make(settings=replace(SETTINGS, steps=40), amortizer=amortizer)
    before = {name: t.clone() for name, t in trainer.method.lm.model.state_dict().items()}
    steps = _run(trainer)
    first, last = (sum(s.answer_loss for s in part) / 5 for part in (steps[:5], steps[-5:]))
    assert last < 0.7 * first
    assert {s.learning_rate for s in steps} == {3e-3}
    for name, tensor in trainer.method.lm.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_resumed_run_ends_where_an_unbroken_one_does(make: Callable[..., Trainer]) -> None:
    whole = make("whole")
    _run(whole)

    def interrupt(progress: StepReport) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("broken").run(interrupt)
    resumed = make("broken")
    assert [s.step for s in _run(resumed, resume=True)] == [3, 4, 5]
    theirs = resumed.stack.state_dict()
    for name, tensor in whole.stack.state_dict().items():
        assert torch.equal(tensor, theirs[name])


def test_a_checkpoint_comes_back(make: Callable[..., Trainer], tmp_path: Path) -> None:
    trainer = make()
    _run(trainer)
    loaded = load_stack(trainer.out)
    assert isinstance(loaded, PaperStack)
    for name, tensor in trainer.stack.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=1e-3, rtol=2e-3)
    card = (trainer.out / "README.md").read_text()
    assert "# A `paper` checkpoint" in card and "amortizer t5, 4 latents of size 72" in card
    before = checkpoint.fingerprint(trainer.out)
    config = trainer.out / "config.json"
    saved = json.loads(config.read_text())
    assert saved["training"]["examples"] == 20
    config.write_text(json.dumps({**saved, "group": 7, "documents": 3}))
    assert checkpoint.fingerprint(trainer.out) == before
    config.write_text(json.dumps({**saved, "blocks": 1}))
    with pytest.raises(CheckpointError, match="not expected in"):
        load_stack(trainer.out)
    config.write_text(json.dumps({**saved, "colour": "blue"}))
    with pytest.raises(CheckpointError, match="does not know: colour"):
        config_of(trainer.out)
    again = make("again", start=trainer.stack)
    again.method.initialise(None, lambda _: None)
    assert torch.equal(again.method.stack.head.mlps.down, trainer.stack.head.mlps.down)


def test_another_base_lm_is_refused(make_config: MakeConfig, lm: BaseLM, reader: Any) -> None:
    with pytest.raises(CheckpointError, match="with 1 kv_heads, this one has 3"):
        PaperMethod(SETTINGS, make_config(kv_heads=1), lm, reader)
