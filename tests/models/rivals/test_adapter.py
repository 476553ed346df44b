"""LoRA adapters: trained, saved as `peft` wants them, and loaded back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.errors import CheckpointError, MissingPackageError
from models.rivals import adapter as adapters
from models.rivals.adapter import Adapter, AdapterConfig, merged, rank_for
from models.rivals.qa_tune import QATuning, examples, latent_parameters, prompt_tokens
from models.training.settings import TrainConfig
from models.training.trainer import StepReport, Trainer

from ..conftest import MakeLM, prizes

EXAMPLES = prizes("The jury gave prize number {i} to {name}.")
SETTINGS = TrainConfig(
    steps=4, groups=2, documents=2, learning_rate=1e-2, warmup=2, save_minutes=60, seed=3
)


def made(lm: BaseLM, rank: int = 3) -> Adapter:
    """An adapter that changes something."""
    config = AdapterConfig(str(lm.full_model.name_or_path), None, rank=rank, alpha=2.0 * rank)
    adapter = Adapter(config, lm, seed=1)
    generator = torch.Generator().manual_seed(2)
    for weight in adapter.weights:
        weight.data.normal_(std=0.1, generator=generator)
    return adapter


MakeTrainer = Callable[..., Trainer]
# peft asks transformers for it under a name that was deprecated since.
PEFT = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture
def trainer(lm: BaseLM, tiny_encoder: Path, tmp_path: Path) -> MakeTrainer:
    encoder = SentenceEncoder.load(tiny_encoder, device=torch.device("cpu"))

    def make(task: Any, out: str = "out", settings: TrainConfig = SETTINGS) -> Trainer:
        model = AdapterConfig("tiny", None, rank=4, alpha=8.0, task=task, chunk_tokens=64)
        method = QATuning(settings, model, lm)
        return Trainer(method, encoder, [EXAMPLES], [1.0], tmp_path / out, note=lambda _: None)

    return make


@pytest.mark.parametrize("task", ["closed-book", "text"])
def test_the_loss_falls_and_the_base_lm_stays(trainer: MakeTrainer, lm: BaseLM, task: str) -> None:
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    steps: list[StepReport] = []
    run = trainer(task, settings=replace(SETTINGS, steps=30))
    run.run(steps.append)
    first, last = (sum(s.answer_loss for s in part) / 4 for part in (steps[:4], steps[-4:]))
    assert last < 0.7 * first
    for name, weight in lm.model.state_dict().items():
        assert torch.equal(weight, before[name])
    # What was written answers as what was trained.
    loaded = adapters.load(run.out, lm)
    assert (loaded.config.task, loaded.config.training["step"]) == (task, 30)
    ids = lm.pad([prompt_tokens(lm, EXAMPLES[0].question)])
    with torch.no_grad():
        trained = run.method.lm.forward(ids)
        torch.testing.assert_close(merged(lm, loaded).forward(ids), trained, atol=1e-4, rtol=1e-3)
        assert not torch.allclose(lm.forward(ids), trained, atol=1e-2)


def test_a_resumed_run_ends_where_an_unbroken_one_does(trainer: MakeTrainer) -> None:
    whole = trainer("text", "whole")
    whole.run(lambda _: None)
    broken = trainer("text", "broken")

    def interrupt(progress: StepReport) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run(interrupt)
    resumed = trainer("text", "broken")
    resumed.run(lambda _: None, resume=True)
    ours, theirs = resumed.stack.state_dict(), whole.stack.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_the_loss_is_that_of_the_prompt(trainer: MakeTrainer, lm: BaseLM) -> None:
    """One mean over all answers' tokens, however the rows are batched."""
    run = trainer("text", settings=replace(SETTINGS, groups=4))
    corpus = run._corpus([EXAMPLES], [1.0], 16, "embeddings")
    batch = run._sampler(corpus, [1.0], 4).batch(0)
    assert run.method is not None
    got = run.method.loss(corpus, batch, None)
    surprise, tokens = 0.0, 0
    for prompt, answer in examples(corpus, batch, "text"):
        front, rest = lm.tokenize([prompt, " " + answer])
        ids = torch.tensor([[lm.bos_id, *front, *rest, lm.eos_id]])
        logits = lm.full_model(ids).logits[0].log_softmax(-1)
        places = range(len(front), len(front) + len(rest) + 1)
        surprise -= float(sum(logits[i, ids[0, i + 1]] for i in places))
        tokens += len(places)
    assert float(got.answer.detach()) == pytest.approx(surprise / tokens, rel=1e-4)
    assert float(got.relevance) == 0


def test_gradient_checkpointing_changes_no_gradient(trainer: MakeTrainer, lm: BaseLM) -> None:
    found = []
    for again in (False, True):
        run = trainer("text")
        assert run.method is not None
        run.method.lm.gradient_checkpointing = again
        run.stack.load_state_dict(made(lm, rank=4).state_dict())
        corpus = run._corpus([EXAMPLES], [1.0], 16, "embeddings")
        run.method.loss(corpus, run._sampler(corpus, [1.0], 2).batch(0), None).answer.backward()
        found.append([weight.grad for weight in run.stack.parameters()])
    for one, other in zip(*found, strict=True):
        assert one is not None and one.abs().max() > 0
        torch.testing.assert_close(other, one)


def test_text_stands_in_the_prompt_nearest_first(trainer: MakeTrainer) -> None:
    run = trainer("text")
    corpus = run._corpus([EXAMPLES], [1.0], 16, "embeddings")
    batch = run._sampler(corpus, [1.0], 2).batch(0)
    for number, (prompt, answer) in enumerate(examples(corpus, batch, "text")):
        asked = corpus.questions[batch.questions[number]]
        texts = prompt.partition("\n")[0]
        assert texts.count("prize number") == int(batch.visible[number].sum())
        assert corpus.chunks[asked.chunk] in prompt and answer == asked.answers[0]
    closed = examples(corpus, batch, "closed-book")
    assert all(prompt.startswith("Question: ") for prompt, _ in closed)


@PEFT
def test_peft_loads_it(lm: BaseLM, tiny_llama: Path, tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    adapter = made(lm)
    adapter.save(tmp_path / "made")
    base = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path / "made")).eval()
    ids = torch.tensor([[1, 40, 50, 60, 70]])
    with torch.no_grad():
        wanted = theirs(ids).logits
        torch.testing.assert_close(merged(lm, adapter).model(ids).logits, wanted)
        torch.testing.assert_close(adapter.lm.full_model(ids).logits, wanted)
    assert not torch.allclose(lm.full_model(ids).logits, wanted, atol=1e-3)


@PEFT
def test_one_that_peft_saved_is_read(lm: BaseLM, tiny_llama: Path, tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    config = peft.LoraConfig(
        r=2, lora_alpha=3, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    theirs = peft.get_peft_model(base, config).eval()
    theirs.save_pretrained(tmp_path / "made")
    ours = adapters.load(tmp_path / "made", lm)
    assert (ours.config.rank, ours.config.alpha, len(ours.weights)) == (2, 3, 8)
    assert (ours.config.task, ours.config.base_sha256) == (None, None)
    ids = torch.tensor([[1, 40, 50, 60, 70]])
    with torch.no_grad():
        torch.testing.assert_close(merged(lm, ours).model(ids).logits, theirs(ids).logits)


@PEFT
def test_layers_that_keep_their_weights_the_other_way_round(
    tiny_gpt2: Path, tmp_path: Path
) -> None:
    """GPT-2's, which are `Conv1D`."""
    import peft
    from transformers import AutoModelForCausalLM

    lm = BaseLM.load(tiny_gpt2, device=torch.device("cpu"), dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(tiny_gpt2, dtype=torch.float32)
    adapter = made(lm)
    adapter.save(tmp_path)
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path)).eval()
    ids = torch.tensor([[1, 40, 50, 60]])
    with torch.no_grad():
        wanted = adapter.lm.full_model(ids).logits
        torch.testing.assert_close(theirs(ids).logits, wanted)
        tuned = merged(lm, adapters.load(tmp_path, lm))
        torch.testing.assert_close(tuned.model(ids).logits, wanted)


def test_a_rank_of_so_many_parameters(lm: BaseLM) -> None:
    each = sum(weight.numel() for weight in made(lm, rank=1).weights)
    assert (rank_for(5 * each + each // 3, lm), rank_for(1, lm)) == (5, 1)
    from models.latent.config import LatentConfig
    from models.latent.networks import LatentStack

    shape = lm.shape
    config = LatentConfig(
        *("a", None, "b", None, shape.layers, shape.kv_heads, shape.head_size),
        latent_size=16,
        key_size=32,
    )
    real = sum(weight.numel() for weight in LatentStack(config).parameters())
    assert latent_parameters(config) == real


def test_a_copy_of_fewer_bits_keeps_its_rotary_embedding(lm: BaseLM) -> None:
    half = merged(lm, None, torch.bfloat16)
    assert half.dtype == torch.bfloat16 and lm.dtype == torch.float32
    buffers = dict(half.model.named_buffers())
    for name, buffer in lm.model.named_buffers():
        assert buffers[name].dtype == buffer.dtype


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"peft_type": "IA3"}, "peft_type = 'IA3' is not supported"),
        ({"r": 4}, "size mismatch"),
        ({"target_modules": ["nowhere"]}, "nowhere"),
        ({"r": "x"}, "no adapter can be read"),
    ],
)
def test_what_is_no_plain_lora(
    lm: BaseLM, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    made(lm).save(tmp_path)
    config = json.loads((tmp_path / adapters.CONFIG).read_text())
    (tmp_path / adapters.CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=says):
        adapters.load(tmp_path, lm)


def test_what_cannot_be_read(lm: BaseLM, make_lm: MakeLM, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read") as caught:
        adapters.load(tmp_path / "nowhere", lm)
    assert caught.value.hint is not None
    made(lm).save(tmp_path)
    with pytest.raises(CheckpointError, match="size mismatch"):  # another base LM
        adapters.load(tmp_path, make_lm("Llama"))
    tensors = load_file(tmp_path / adapters.WEIGHTS)
    left_out = tensors.pop(min(tensors))
    save_file(tensors, tmp_path / adapters.WEIGHTS)
    with pytest.raises(CheckpointError, match="is no LoRA adapter: tensor"):
        adapters.load(tmp_path, lm)
    save_file({**tensors, "odd": left_out}, tmp_path / adapters.WEIGHTS)
    with pytest.raises(CheckpointError, match="is no LoRA adapter: tensor"):
        adapters.load(tmp_path, lm)
    (tmp_path / adapters.WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="no adapter can be read"):
        adapters.load(tmp_path, lm)


def test_without_peft_one_line_names_the_extra(lm: BaseLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match="peft is not installed") as caught:
        made(lm)
    assert caught.value.hint == "pip install 'maccli[rivals]' (in a clone: pip install '.[rivals]')"
