"""Meta-learned token weights on a tiny model: their gradient, their learning, their use."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.errors import CheckpointError
from models.rivals import camels
from models.rivals.camels import Camels, CamelsConfig, CamelsMethod, Weigher
from models.rivals.finetune import Tuner, weighted_loss
from models.training.batches import Sampler
from models.training.corpus import Corpus, build
from models.training.settings import TrainConfig
from models.training.trainer import StepReport, Trainer

from ..conftest import prizes

EXAMPLES = prizes("Rain fell on the old road. The prize number {i} went to {name}.")
SETTINGS = TrainConfig(steps=3, groups=2, documents=2, learning_rate=3e-3, save_minutes=60, seed=3)


def config(lm: BaseLM, **more: float) -> CamelsConfig:
    given: dict[str, float] = {"inner_rate": 0.05, "inner_layers": 1, **more}
    return CamelsConfig("tiny", None, lm.shape.hidden_size, chunk_tokens=64, **given)  # type: ignore[arg-type]


@pytest.fixture
def corpus(lm: BaseLM, encoder: SentenceEncoder) -> Corpus:
    made = build([EXAMPLES], lambda texts: [len(r) for r in lm.tokenize(texts)], chunk_tokens=64)
    made.embed(encoder, None, lambda _: None)
    return made


def test_it_begins_with_equal_weights_and_a_plain_step(lm: BaseLM) -> None:
    """With weights of 1 a step is plain gradient descent on the last layer alone."""
    network = Camels(config(lm))
    tokens = lm.tokenize([EXAMPLES[0].document])[0]
    counts = network.weigh(lm, tokens)
    torch.testing.assert_close(counts, torch.ones(len(tokens)))
    learner = camels._Learner(lm, 1)
    start = learner.weights()
    moved = learner.step(start, tokens, counts, 0.1)
    assert all("layers.1." in name for name in moved)
    own = {f"model.{n}": w for n, w in lm.model.named_parameters() if "layers.1." in n}
    assert set(own) == set(moved)
    for weight in own.values():
        weight.requires_grad_(True)
    weighted_loss(lm, tokens).backward()
    for name, weight in own.items():
        assert weight.grad is not None
        torch.testing.assert_close(moved[name], weight - 0.1 * weight.grad)
    lm.model.requires_grad_(False)
    for weight in own.values():
        weight.grad = None


def test_the_gradient_is_that_of_finite_differences(lm: BaseLM, corpus: Corpus) -> None:
    """Through two steps: what is learned of the second depends on the first."""
    torch.manual_seed(0)
    lm.model.double()
    method = CamelsMethod(SETTINGS, config(lm, locality=0.5), lm)
    method._learner = camels._Learner(lm, 1)  # the method's own is float32
    batch = Sampler(corpus, [1.0], groups=1, documents=2, seed=0).batch(0)
    network = method.stack.double()
    network.outer.weight.data.normal_(std=0.1, generator=torch.Generator().manual_seed(0))

    def total() -> torch.Tensor:
        return method.loss(corpus, batch, random.Random(5)).total

    total().backward()
    assert network.outer.weight.grad is not None
    steepest = int(network.outer.weight.grad.abs().argmax())  # small ones drown in rounding
    for parameter, place in ((network.outer.bias, 0), (network.outer.weight, (0, steepest))):
        assert parameter.grad is not None
        step = 0.02
        with torch.no_grad():
            parameter[place] += step
            high = float(total())
            parameter[place] -= 2 * step
            low = float(total())
            parameter[place] += step
        assert float(parameter.grad[place]) == pytest.approx((high - low) / (2 * step), rel=0.05)


def test_the_meta_loss_falls(
    lm: BaseLM, encoder: SentenceEncoder, corpus: Corpus, tmp_path: Path
) -> None:
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    settings = replace(SETTINGS, steps=15)
    model = config(lm)
    method = CamelsMethod(settings, model, lm)
    batches = [Sampler(corpus, [1.0], groups=2, documents=2, seed=9).batch(i) for i in range(4)]

    def measured() -> float:
        with torch.no_grad():
            return sum(float(method.loss(corpus, batch, None).total) for batch in batches)

    untrained = measured()
    steps: list[StepReport] = []
    made = tmp_path / "made"
    trainer = Trainer(method, encoder, [EXAMPLES], [1.0], made, note=lambda _: None)
    trainer.run(steps.append)
    trained = measured()
    assert trained < untrained - 0.05
    assert all(step.relevance_loss >= 0 for step in steps)
    for name, weight in lm.model.state_dict().items():
        assert torch.equal(weight, before[name])
    # The file weighs as what was trained, above 0 and not all alike.
    weigh = Weigher(camels.load(tmp_path / "made"), lm)
    for example in EXAMPLES:
        weights = weigh(example.document)
        tokens = lm.tokenize([example.document])[0]
        torch.testing.assert_close(weights, method.stack.weigh(lm, tokens).detach())
        assert weights.shape == (len(tokens),) and not weights.requires_grad
        assert bool((weights > 0).all()) and bool((weights < 20).all())
        assert float(weights.std()) > 0.01


def test_a_resumed_run_ends_where_an_unbroken_one_does(
    lm: BaseLM, encoder: SentenceEncoder, tmp_path: Path
) -> None:
    def make(out: str) -> Trainer:
        method = CamelsMethod(SETTINGS, config(lm), lm)
        return Trainer(method, encoder, [EXAMPLES], [1.0], tmp_path / out, note=lambda _: None)

    whole = make("whole")
    whole.run(lambda _: None)
    broken = make("broken")

    def interrupt(progress: StepReport) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run(interrupt)
    resumed = make("broken")
    resumed.run(lambda _: None, resume=True)
    ours, theirs = resumed.stack.state_dict(), whole.stack.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_tuner_learns_what_counts(lm: BaseLM) -> None:
    document = EXAMPLES[0].document
    tokens = lm.tokenize([document])[0]
    half = torch.zeros(len(tokens))
    half[len(tokens) // 2 :] = 1.0
    tuner = Tuner(lm, 1e-2, weigh=lambda _: half)
    tuner.learn([document] * 5)
    kinds = (half, 1 - half)
    gained = [float(weighted_loss(lm, tokens, w) - tuner.loss(tokens, w)) for w in kinds]
    assert gained[0] > 2 * gained[1]
    # What does not count at all is no step.
    still = Tuner(lm, 1e-2, weigh=lambda _: torch.zeros(len(tokens)))
    still.learn([document])
    for name, weight in lm.model.state_dict().items():
        assert torch.equal(still.lm.model.state_dict()[name], weight)


def test_long_documents_are_weighed_in_pieces(lm: BaseLM) -> None:
    weigh = Weigher(Camels(config(lm)), lm)
    text = EXAMPLES[0].document * 60
    assert len(lm.tokenize([text])[0]) > 512
    assert weigh(text).shape == (len(lm.tokenize([text])[0]),)


def test_files_that_cannot_be_used(
    lm: BaseLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="holds no weighting network") as caught:
        camels.load(tmp_path)
    assert caught.value.hint is not None

    def silent(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.safe_open", silent)
        with pytest.raises(CheckpointError, match="holds no weighting network: OSError"):
            camels.load(tmp_path)
    (tmp_path / camels.FILE).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="holds no weighting network"):
        camels.load(tmp_path / camels.FILE)
    with pytest.raises(CheckpointError, match="hidden size 5, this one has 72"):
        Weigher(Camels(CamelsConfig("x", None, 5)), lm)
