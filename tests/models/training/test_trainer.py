"""Meta-training on a tiny model: it learns, repeats, resumes, and leaves the base LM alone."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from models.data.files import Example
from models.errors import CheckpointError, DataError
from models.latent.features import FeatureCache
from models.latent.memory import LatentMemory
from models.latent.method import LatentMethod
from models.latent.objective import amortize_batch, loss
from models.memory import checkpoint
from models.memory.modulation import dequantise, quantise
from models.stacks import load_stack
from models.training.batches import Sampler
from models.training.corpus import Corpus, build
from models.training.loss import IGNORE, supervised_rows
from models.training.settings import TrainConfig
from models.training.state import FILE
from models.training.trainer import StepReport, Trainer

NAMES = ["Ida", "Tomas", "Nadia", "Ines", "Otto", "Mara", "Jonas", "Vera"]


def _examples(count: int = 8, split: str = "train") -> list[Example]:
    return [
        Example(
            id=f"{split}-{i}",
            source="made",
            document_id=f"{split}-{i}",
            document=f"The jury gave prize number {i} to {NAMES[i % 8]} in {split}.",
            question=f"Who got prize number {i}?",
            answers=(NAMES[i % 8],),
            split=split,
        )
        for i in range(count)
    ]


SETTINGS = TrainConfig(
    steps=6, groups=2, documents=2, learning_rate=3e-3, warmup=2, save_minutes=60, seed=3
)

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make(tmp_path: Path, tiny_llama: Path, build_memory: Any) -> MakeTrainer:
    def trainer(
        settings: TrainConfig = SETTINGS, out: str = "out", start: Any = None, **more: Any
    ) -> Trainer:
        memory: LatentMemory = build_memory(tiny_llama)
        return Trainer(
            LatentMethod(settings, memory.config, memory.lm, start=start),
            memory.encoder,
            [_examples()],
            [1.0],
            tmp_path / out,
            note=lambda _: None,
            **more,
        )

    return trainer


def _run(trainer: Trainer, **more: Any) -> list[StepReport]:
    steps: list[StepReport] = []
    trainer.run(steps.append, **more)
    return steps


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def test_the_loss_falls_and_the_base_lm_stays(make: MakeTrainer) -> None:
    trainer = make(replace(SETTINGS, steps=40))
    before = copy.deepcopy(trainer.method.lm.model.state_dict())
    steps = _run(trainer)
    first, last = (sum(s.answer_loss for s in part) / 5 for part in (steps[:5], steps[-5:]))
    assert last < 0.7 * first
    assert steps[-1].examples == 40 * 4
    for name, tensor in trainer.method.lm.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(p.grad is None for p in trainer.method.lm.model.parameters())
    assert all(p.grad is None for p in trainer.encoder.model.parameters())


def test_a_run_repeats_bit_for_bit(make: MakeTrainer) -> None:
    one, two = make(out="one"), make(out="two")
    first, second = _run(one), _run(two)
    assert [s.answer_loss for s in first] == [s.answer_loss for s in second]
    assert _same(one.stack, two.stack)


def test_a_resumed_run_ends_where_an_unbroken_one_does(make: MakeTrainer) -> None:
    whole = make(out="whole")
    _run(whole)
    broken = make(out="broken")

    def interrupt(progress: StepReport) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run(interrupt)
    resumed = make(out="broken")
    steps = _run(resumed, resume=True)
    assert [s.step for s in steps] == [4, 5, 6]
    assert _same(whole.stack, resumed.stack)


def test_another_run_s_state_is_not_resumed(make: MakeTrainer) -> None:
    _run(make())
    with pytest.raises(CheckpointError, match="had seed=3, not 4"):
        _run(make(replace(SETTINGS, seed=4)), resume=True)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        _run(make(out="elsewhere"), resume=True)


@pytest.mark.parametrize("metadata", [None, {"run": "not JSON"}], ids=["none", "damaged"])
def test_a_state_without_settings_is_not_resumed(
    metadata: dict[str, str] | None, make: MakeTrainer
) -> None:
    trainer = make()
    trainer.out.mkdir()
    (trainer.out / FILE).write_bytes(save({"model.weight": torch.zeros(1)}, metadata))
    with pytest.raises(CheckpointError, match="does not fit this run"):
        trainer.run(lambda _: None, resume=True)


def test_training_goes_on_from_a_checkpoint(make: MakeTrainer) -> None:
    first = make()
    _run(first)
    further = make(replace(SETTINGS, steps=1, learning_rate=1e-9), "further", start=first.stack)
    _run(further)
    for one, other in zip(first.stack.parameters(), further.stack.parameters(), strict=True):
        assert torch.allclose(one, other, atol=2e-3)
    assert torch.equal(first.stack.amortizer.scale, further.stack.amortizer.scale)


def test_a_compact_run_begins_with_another_basis(make: MakeTrainer) -> None:
    first = make()
    _run(first)
    compact = make(replace(SETTINGS, steps=1, learning_rate=1e-9), "compact", start=first.stack)
    compact.method.model = replace(compact.method.model, compact=True)  # type: ignore[misc]
    compact.method.stack.config = compact.method.model
    _run(compact)
    one, other = first.stack, compact.stack
    assert not torch.allclose(one.amortizer.weight, other.amortizer.weight, atol=0.05)
    both = [stack.amortizer.weight @ stack.head.weight for stack in (one, other)]
    torch.testing.assert_close(*both, atol=2e-3, rtol=2e-3)
    assert load_stack(compact.out).config.compact
    weights = other.amortizer.weight.clone()
    further = make(replace(SETTINGS, steps=1, learning_rate=1e-9), "further", start=other)
    further.method.model = further.method.stack.config = other.config  # type: ignore[misc]
    _run(further)
    torch.testing.assert_close(further.stack.amortizer.weight, weights, atol=2e-3, rtol=2e-3)


def test_dev_loss_is_measured_and_kept(make: MakeTrainer) -> None:
    trainer = make(dev=[_examples(4, "dev")])
    steps = _run(trainer)
    assert [s.dev_loss is not None for s in steps] == [False] * 5 + [True]
    config = json.loads((trainer.out / "config.json").read_text())
    assert config["training"]["dev_loss"] == steps[-1].dev_loss
    assert config["training"]["examples"] == 24


def test_only_the_main_process_measures_and_saves(
    make: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SimpleNamespace(num_processes=1, process_index=0, is_main_process=False)
    monkeypatch.setattr("accelerate.PartialState", lambda cpu: other)
    trainer = make(replace(SETTINGS, save_minutes=0), dev=[_examples(4, "dev")])
    assert [s.dev_loss for s in _run(trainer)] == [None] * 6
    assert not trainer.out.exists()


def test_the_saved_checkpoint_is_the_trained_one(make: MakeTrainer) -> None:
    trainer = make()
    _run(trainer)
    loaded = load_stack(trainer.out)
    for name, tensor in trainer.stack.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=2e-3, rtol=2e-3)
    assert len(checkpoint.fingerprint(trainer.out)) == 16


def _corpus(memory: LatentMemory, examples: list[Example] | None = None) -> Corpus:
    corpus = build([examples or _examples()], memory.count_tokens, chunk_tokens=64)
    corpus.embed(memory.encoder, note=lambda _: None)
    return corpus


def test_dropped_documents_give_the_amortizer_no_gradient(
    tiny_llama: Path, build_memory: Any
) -> None:
    memory: LatentMemory = build_memory(tiny_llama)
    stack = memory.stack.requires_grad_(True)
    corpus = _corpus(memory)
    cache = FeatureCache(memory.lm, 64, None, stack.amortizer.mean)
    batch = Sampler(corpus, [1.0], groups=2, documents=2, seed=0).batch(0)
    loss(stack, memory.lm, corpus, cache, batch, [False] * 4).total.backward()
    assert stack.amortizer.weight.grad is None
    assert stack.head.weight.grad is not None and stack.head.weight.grad.abs().max() > 0
    loss(stack, memory.lm, corpus, cache, batch, [True] * 4).total.backward()
    assert stack.amortizer.weight.grad.abs().max() > 0


def test_training_sees_what_a_store_keeps(tiny_llama: Path, build_memory: Any) -> None:
    memory: LatentMemory = build_memory(tiny_llama)
    torch.manual_seed(0)
    weight = memory.stack.amortizer.weight.requires_grad_()
    features = [torch.randn(n, memory.config.features) for n in (5, 9)]
    exact = amortize_batch(memory.stack, features, [True, False])
    rounded = amortize_batch(memory.stack, features, [True, False], rounded=True)
    for z, other in zip(exact, rounded, strict=True):
        stored = dequantise(*quantise(z.detach().numpy(), memory.config.rounding))
        np.testing.assert_allclose(other.detach().numpy(), stored, rtol=2e-3, atol=1e-4)
        assert not torch.allclose(other, z, atol=1e-2)
    through = [torch.autograd.grad(z[0].sum(), weight)[0] for z in (exact, rounded)]
    torch.testing.assert_close(*through)  # the gradient passes as if nothing was rounded


def test_dropping_changes_no_latent(tiny_llama: Path, build_memory: Any) -> None:
    memory: LatentMemory = build_memory(tiny_llama)
    cache = FeatureCache(memory.lm, 64, None, memory.stack.amortizer.mean)
    features = cache.get([e.document for e in _examples(4)])
    every = amortize_batch(memory.stack, features, [True] * 4)
    some = amortize_batch(memory.stack, features, [True, False, False, True])
    for one, other in zip(every, some, strict=True):
        torch.testing.assert_close(one, other)


def test_groups_hold_each_question_s_document(tiny_llama: Path, build_memory: Any) -> None:
    corpus = _corpus(build_memory(tiny_llama))
    sampler = Sampler(corpus, [1.0], groups=2, documents=4, seed=0)
    for step in range(20):
        batch = sampler.batch(step)
        for n, question in enumerate(batch.questions):
            group = batch.chunks[n // 4]
            target = int(batch.target[n])
            assert group[target] == corpus.questions[question].chunk
            assert bool(batch.visible[n, target])
            assert len(set(group)) == 4
    again = Sampler(corpus, [1.0], groups=2, documents=4, seed=0).batch(7)
    assert again.questions == sampler.batch(7).questions


def test_a_question_that_does_not_stand_alone_sees_its_document_only(
    tiny_llama: Path, build_memory: Any
) -> None:
    examples = [replace(e, standalone=False) for e in _examples()]
    corpus = _corpus(build_memory(tiny_llama), examples)
    batch = Sampler(corpus, [1.0], groups=2, documents=4, seed=0).batch(0)
    assert batch.visible.sum(1).tolist() == [1] * 8


def test_labels_are_the_answer_and_its_end(tiny_llama: Path, build_memory: Any) -> None:
    lm = build_memory(tiny_llama).lm
    ids, labels = supervised_rows(lm, [("Who got it?", "Ida Brandt"), ("Who?", "Otto")])
    for row, label, answer in zip(ids, labels, (" Ida Brandt", " Otto"), strict=True):
        wanted = label != IGNORE
        assert label[wanted].tolist() == [*lm.tokenize([answer])[0], lm.eos_id]
        places = wanted.nonzero()[:, 0].tolist()
        assert row[places[1:]].tolist() == label[places[:-1]].tolist()


def test_cached_features_are_the_computed_ones(
    tmp_path: Path, tiny_llama: Path, build_memory: Any
) -> None:
    memory: LatentMemory = build_memory(tiny_llama)
    texts = [e.document for e in _examples(3)]
    center = memory.stack.amortizer.mean
    plain = FeatureCache(memory.lm, 64, None, center).get(texts)
    folder = tmp_path / "cache"
    FeatureCache(memory.lm, 64, folder, center).get(texts[:2])
    for name in ("features.bin", "index.jsonl"):
        with (folder / name).open("ab") as file:
            file.write(b"cut off by a cra")
    shared = [FeatureCache(memory.lm, 64, folder, center) for _ in range(2)]
    for cache, asked in ((shared[0], texts), (shared[1], texts[::-1]), (shared[1], texts)):
        for one, other in zip(
            cache.get(asked), plain if asked is texts else plain[::-1], strict=True
        ):
            assert (one - other).abs().max() <= 0.02 * one.abs().max()
    assert len((folder / "index.jsonl").read_text().splitlines()) == 3


def test_features_behind_a_context_are_cached_apart(
    tmp_path: Path, tiny_llama: Path, build_memory: Any
) -> None:
    memory: LatentMemory = build_memory(tiny_llama)
    text, center = _examples(1)[0].document, memory.stack.amortizer.mean
    contexts = ["", "Prizes\n", "Rules\n", "Prizes\n"]
    cached = FeatureCache(memory.lm, 64, tmp_path / "cache", center).get([text] * 4, contexts)
    plain = FeatureCache(memory.lm, 64, None, center).get([text] * 4, contexts)
    for one, other in zip(cached, plain, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 0.02 * one.abs().max()
    assert not torch.allclose(plain[0], plain[1]) and not torch.allclose(plain[1], plain[2])
    assert len((tmp_path / "cache" / "index.jsonl").read_text().splitlines()) == 3


def test_data_without_an_answer_in_its_document_is_refused(
    tiny_llama: Path, build_memory: Any
) -> None:
    memory: LatentMemory = build_memory(tiny_llama)
    with pytest.raises(DataError, match="nothing to train on"):
        build(
            [[replace(_examples(1)[0], answers=("absent",))]], memory.count_tokens, chunk_tokens=64
        )


def test_fewer_documents_than_a_group_holds_are_refused(
    tiny_llama: Path, build_memory: Any
) -> None:
    corpus = _corpus(build_memory(tiny_llama), _examples(3))
    with pytest.raises(DataError, match="no source has 4 documents"):
        Sampler(corpus, [1.0], groups=2, documents=4, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"documents": 1}, "documents"),
        ({"backprop_dropout": 1.0}, "in \\[0"),
    ],
)
def test_settings_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)
