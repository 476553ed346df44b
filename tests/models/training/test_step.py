"""What a training step takes and computes in: forgetting layers, bfloat16, several batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.base.device import choose_dtype
from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.errors import CheckpointError
from models.latent.memory import LatentMemory
from models.latent.method import LatentMethod
from models.paper.config import PaperConfig
from models.paper.method import PaperMethod
from models.paper.reading import StateReader
from models.training.batches import Batch
from models.training.method import TrainingMethod
from models.training.settings import TrainConfig, autocast, average_gradients
from models.training.trainer import Trainer

from ..conftest import prizes

EXAMPLES = prizes("The jury gave prize number {i} to {name} in March.")
SETTINGS = TrainConfig(steps=2, groups=2, documents=2, learning_rate=1e-3, save_minutes=60, seed=3)

Make = Callable[..., Trainer]


@pytest.fixture(params=["latent", "paper"])
def make(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_llama: Path, tiny_encoder: Path,
    build_memory: Any,
) -> Make:  # fmt: skip
    """A trainer of either stack."""

    def trainer(settings: TrainConfig = SETTINGS, out: str = "out") -> Trainer:
        memory: LatentMemory = build_memory(tiny_llama)
        method: TrainingMethod = LatentMethod(settings, memory.config, memory.lm)
        if request.param == "paper":
            encoder = SentenceEncoder.load(tiny_encoder, device=torch.device("cpu"))
            shape = memory.lm.shape
            config = PaperConfig(
                base_lm=str(tiny_llama), base_sha256=None, encoder=str(tiny_encoder),
                encoder_sha256=None, layers=shape.layers, kv_heads=shape.kv_heads,
                head_size=shape.head_size, hidden_size=shape.hidden_size, key_size=encoder.size,
                amortizer="encoder", network={"hidden_size": encoder.size}, tokens=4, blocks=2,
                heads=2, attention_size=8, head_hidden=32, chunk_tokens=64,
            )  # fmt: skip
            method = PaperMethod(settings, config, memory.lm, StateReader(encoder))
        return Trainer(
            method, memory.encoder, [EXAMPLES], [1.0], tmp_path / out, note=lambda _: None
        )

    return trainer


def _step(trainer: Trainer, pack: Callable[[Tensor], Tensor] = lambda t: t) -> tuple[float, Any]:
    """Loss and gradients of the first batch, before anything is learned."""
    trainer.method.lm.gradient_checkpointing = trainer.config.gradient_checkpointing
    corpus = trainer._corpus(trainer.sources, trainer.weights, 64, "embeddings")
    torch.manual_seed(0)
    trainer.method.initialise(corpus, lambda _: None)
    batch = trainer._sampler(corpus, trainer.weights, 2).batch(0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        with autocast(trainer.config, trainer.method.lm.device):
            terms = trainer.method.loss(corpus, batch, None)
        terms.total.backward()
    gradients = {n: p.grad for n, p in trainer.stack.named_parameters() if p.grad is not None}
    return float(terms.total.detach()), gradients


def test_forgetting_layers_changes_no_gradient_and_saves_memory(make: Make) -> None:
    kept: dict[bool, int] = {}
    found = {}
    for forget in (False, True):
        octets = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal octets
            if not isinstance(tensor, nn.Parameter):  # weights are there in any case
                octets += tensor.numel() * tensor.element_size()
            return tensor

        found[forget] = _step(make(replace(SETTINGS, gradient_checkpointing=forget)), count)
        kept[forget] = octets
    assert found[True][0] == pytest.approx(found[False][0], abs=1e-6)
    assert found[True][1].keys() == found[False][1].keys()
    for name, gradient in found[False][1].items():
        torch.testing.assert_close(found[True][1][name], gradient, atol=1e-6, rtol=1e-5)
    assert kept[True] < 0.7 * kept[False]


def test_checkpointing_changes_nothing_without_gradients(tiny_llama: Path) -> None:
    lm = BaseLM.load(tiny_llama, device=torch.device("cpu"), dtype=torch.float32)
    ids = lm.pad(lm.tokenize(["The mayor cut the ribbon."]))
    with torch.no_grad():
        expected = lm.forward(ids)
        lm.gradient_checkpointing = True
        cache = lm.new_cache(None, *ids.shape)
        torch.testing.assert_close(lm.forward(ids, cache=cache), expected)
    assert cache.length == ids.shape[1]


def test_bfloat16_computes_about_the_same(make: Make) -> None:
    exact, _ = _step(make())
    rounded, gradients = _step(make(replace(SETTINGS, precision="bf16")))
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.02)
    assert {g.dtype for g in gradients.values()} == {torch.float32}


def test_a_run_in_bfloat16_ends_and_keeps_float32_weights(make: Make) -> None:
    settings = replace(SETTINGS, precision="bf16", gradient_checkpointing=True)
    trainer = make(settings)
    trainer.run(lambda _: None)
    assert {p.dtype for p in trainer.stack.parameters()} == {torch.float32}
    run = trainer.stack.config.training
    assert (run["precision"], run["gradient_checkpointing"]) == ("bf16", True)


def test_the_base_lm_has_the_run_s_type() -> None:
    cpu = torch.device("cpu")
    assert choose_dtype(cpu, "bf16") == torch.bfloat16
    assert choose_dtype(cpu, "fp32") == torch.float32


def test_several_batches_a_step_are_the_mean_of_their_gradients(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(replace(SETTINGS, accumulate=2, steps=1, clip=1e9))
    gradients: list[dict[str, Tensor]] = []
    method = trainer.method
    loss = type(method).loss

    def watched(self: Any, corpus: Any, batch: Batch, rng: Any) -> Any:
        terms = loss(self, corpus, batch, None)  # nothing at random
        named = dict(self.stack.named_parameters())
        found = torch.autograd.grad(
            terms.total, list(named.values()), retain_graph=True, allow_unused=True
        )
        gradients.append({n: g for n, g in zip(named, found, strict=True) if g is not None})
        return terms

    monkeypatch.setattr(type(method), "loss", watched)
    steps: list[Any] = []
    trainer.run(steps.append)
    assert len(gradients) == 2
    assert steps[0].examples == 8
    for name, parameter in trainer.stack.named_parameters():
        if name in gradients[0]:
            mean = (gradients[0][name] + gradients[1][name]) / 2
            torch.testing.assert_close(parameter.grad, mean, atol=1e-6, rtol=1e-5)


def test_a_resumed_run_keeps_its_settings(make: Make) -> None:
    make(replace(SETTINGS, steps=1)).run(lambda _: None)
    for change, message in (
        ({"precision": "bf16"}, "had precision=None, not bf16"),
        ({"accumulate": 2}, "had accumulate=1, not 2"),
        ({"clip": 2.0}, "had clip=1.0, not 2.0"),
    ):
        with pytest.raises(CheckpointError, match=message):
            make(replace(SETTINGS, steps=1, **change)).run(lambda _: None, resume=True)
    make(replace(SETTINGS, steps=1, gradient_checkpointing=True)).run(lambda _: None, resume=True)


@pytest.mark.parametrize(
    "change", [{"precision": "fp16"}, {"accumulate": 0}, {"clip": 0.0}], ids=str
)
def test_wrong_settings_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        TrainConfig(**change)


def test_one_process_waits_for_no_other() -> None:
    layer = nn.Linear(2, 1)
    average_gradients(layer, 1)
    assert layer.weight.grad is None
