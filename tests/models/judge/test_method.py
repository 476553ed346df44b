"""Training a judge: what it learns from, and that it learns."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from models.data.files import Example
from models.judge.config import JudgeConfig
from models.judge.judge import Judge
from models.judge.method import JudgeMethod, misspelled
from models.training.batches import Sampler
from models.training.corpus import Corpus, build
from models.training.settings import TrainConfig
from models.training.trainer import Trainer

NAMES = ["Ida", "Tomas", "Nadia", "Ines", "Otto", "Mara", "Jonas", "Vera"]


def example(i: int, question: str, *answers: str) -> Example:
    text = f"The jury gave the prize to {NAMES[i % 8]} in town {i}. It was not late."
    return Example(f"e{i}", "made", f"d{i % 8}", text, question, answers, title="Prizes")


EXAMPLES = [
    *(example(i, f"Who got the prize in town {i}?", NAMES[i]) for i in range(8)),
    *(example(i, f"Was it late in town {i}?", "No") for i in range(8)),
    *(example(i, f"Who paid for the prize in town {i}?") for i in range(8)),
]


@pytest.fixture
def memory(tiny_llama: Path, build_memory: Any) -> Any:
    return build_memory(tiny_llama)


def corpus_of(memory: Any) -> Corpus:
    corpus = build([EXAMPLES], memory.count_tokens, chunk_tokens=64)
    corpus.embed(memory.encoder, note=lambda _: None)
    return corpus


def method_of(memory: Any, **settings: Any) -> JudgeMethod:
    config = TrainConfig(**{"steps": 4, "groups": 2, "documents": 2, "seed": 1, **settings})
    return JudgeMethod(config, JudgeConfig("tiny"), memory.lm, memory.encoder)


def test_all_kinds_of_answers_are_in_the_loss(memory: Any) -> None:
    corpus, method = corpus_of(memory), method_of(memory)
    assert {question.kind for question in corpus.questions} == {"span", "no", "none"}
    batch = Sampler(corpus, [1.0], groups=4, documents=4, seed=0).batch(0)
    loss = method.loss(corpus, batch, random.Random(0))
    loss.total.backward()
    for part in ("kind", "span", "body"):
        grads = [p.grad for p in getattr(method.stack, part).parameters() if p.requires_grad]
        assert any(g is not None and g.abs().sum() > 0 for g in grads), part
    embeddings = memory.encoder.model.embeddings.parameters()
    assert all(weight.grad is None for weight in embeddings)


def test_without_chance_the_loss_is_always_the_same(memory: Any) -> None:
    corpus, method = corpus_of(memory), method_of(memory)
    batch = Sampler(corpus, [1.0], groups=2, documents=2, seed=0).batch(0)
    one, other = (float(method.loss(corpus, batch, None).total.detach()) for _ in range(2))
    assert one == other


def test_the_places_of_answers(memory: Any) -> None:
    corpus, method = corpus_of(memory), method_of(memory)
    number = next(i for i, q in enumerate(corpus.questions) if q.kind == "span")
    question = corpus.questions[number]
    pair, _, (first, last) = method._own(corpus, question, question.text, random.Random(0))
    assert question.span is not None
    start, end = pair.spans[first - pair.first][0], pair.spans[last - pair.first][1]
    assert corpus.chunks[question.chunk][start:end] == question.answers[0]


def test_a_judge_learns(memory: Any, tmp_path: Path) -> None:
    method = method_of(memory, steps=120, groups=4, learning_rate=3e-3, warmup=5)
    losses: list[float] = []
    trainer = Trainer(method, memory.encoder, [EXAMPLES], [1.0], tmp_path, note=lambda _: None)
    trainer.run(lambda step: losses.append(step.answer_loss))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    judge = Judge.load(str(tmp_path), memory.encoder)
    texts = [example(i, "").document for i in range(8)]
    found = [
        judge.read(f"Who got the prize in town {i}?", [text])[0] for i, text in enumerate(texts)
    ]
    assert sum(r.answers[0].text == name for r, name in zip(found, NAMES, strict=True)) >= 6
    assert judge.read("Was it late in town 3?", [texts[3]])[0].answers[0].text == "no"


def test_typing_errors_are_drawn() -> None:
    question = "Who received the Griffin medal for firefighters?"
    drawn = {misspelled(question, random.Random(seed)) for seed in range(20)}
    assert len(drawn) > 15
    assert all(3 * len(text) > 2 * len(question) for text in drawn)
    assert misspelled("a b c", random.Random(0)) in ("a b c", "A B C".lower())


def test_two_trainings_are_equal(memory: Any, tmp_path: Path) -> None:
    def run(name: str) -> torch.Tensor:
        method = method_of(memory)
        Trainer(
            method, memory.encoder, [EXAMPLES], [1.0], tmp_path / name, note=lambda _: None
        ).run(lambda _: None)
        return method.stack.span.weight.detach()

    assert torch.equal(run("one"), run("other"))
