"""Exported modulations, loaded by `peft` itself onto the base LM."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import export
from models.base.decode import generate_batch
from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.base.lora import default_targets, projections, sizes
from models.errors import ModelError, UnsupportedModelError
from models.export import export_adapter
from models.latent.memory import LatentMemory
from models.memory.answering import Answerer
from models.memory.base_models import BaseModels
from models.memory.modulation import Selected
from models.paper.config import PaperConfig
from models.paper.memory import PaperMemory
from models.paper.reading import StateReader
from models.paper.stack import PaperStack

pytestmark = [
    # peft asks transformers for it under a name that was deprecated since.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.usefixtures("any_byte"),
]
CPU = torch.device("cpu")
QUESTION = "Who opened the bridge over the Elm?"
TEXTS = [
    "The town of Varnholt opened a new bridge over the Elm in March.",
    "The jury gave the prize of 40,000 crowns to the poet Tomas Reyl.",
    "Heavy rain closed the northern road for 3 days; no one was hurt.",
]


@pytest.fixture
def multi_head(tiny_llama: Path, tmp_path: Path) -> Path:
    """Llama whose attention heads have a key and a value each."""
    import transformers

    folder = tmp_path / "multi-head"
    config = transformers.AutoConfig.from_pretrained(tiny_llama)
    config.num_key_value_heads = config.num_attention_heads
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    return folder


@pytest.fixture
def paper(tiny_encoder: Path) -> Callable[..., PaperMemory]:
    def make(base: Path, modulation: str = "prefix") -> PaperMemory:
        lm = BaseLM.load(base, device=CPU, dtype=torch.float32)
        encoder = SentenceEncoder.load(tiny_encoder, device=CPU)
        hidden, shape = lm.shape.hidden_size, lm.shape
        config = PaperConfig(
            base_lm=str(base), base_sha256=None, encoder=str(tiny_encoder), encoder_sha256=None,
            layers=shape.layers, kv_heads=shape.kv_heads, head_size=shape.head_size,
            hidden_size=hidden, key_size=encoder.size, amortizer="encoder",
            network={"hidden_size": encoder.size}, tokens=4, blocks=1, heads=2, attention_size=8,
            decoder_blocks=1, head_hidden=16, modulation=modulation, r=3, lora_alpha=5,
            lora_targets={
                name: list(sizes(projections(lm, name)[0])) for name in default_targets(lm)
            },
        )  # fmt: skip
        torch.manual_seed(0)
        stack = PaperStack(config)
        for maps in getattr(stack.head, "maps", ()):
            torch.nn.init.normal_(maps.up)
        return PaperMemory(stack, BaseModels.loaded(lm, encoder), "0" * 16, StateReader(encoder))

    return make


def selected(memory: Answerer, *texts: str, log_weight: float = 0.0) -> list[Selected]:
    made = memory.amortize(texts)
    return [Selected(m.latents, m.scales, log_weight) for m in made]


def same_by_peft(memory: Answerer, documents: Sequence[Selected], folder: Path) -> Any:
    """Export, load with peft, compare logits and greedy tokens; returns the adapter's config."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    lm = memory.lm
    export_adapter(memory, QUESTION, documents, folder)
    prompt = memory.prompt(QUESTION)
    base = AutoModelForCausalLM.from_pretrained(memory.config.base_lm, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder).eval()
    ids = torch.tensor([prompt])
    with torch.no_grad():
        with memory.applied(QUESTION, [documents]) as prefix:
            expected = lm.logits(lm.forward(ids, prefix))
            tokens = generate_batch(lm, [prompt], prefix, 12)[0]
        found = model(input_ids=ids).logits
        torch.testing.assert_close(found, expected, atol=5e-4, rtol=1e-3)
        plain = lm.logits(lm.forward(ids))
        assert (expected - plain).abs().max() > 0.02
        for mask in ({}, {"attention_mask": torch.ones_like(ids)}):
            made = model.generate(
                input_ids=ids, do_sample=False, max_new_tokens=12,
                eos_token_id=lm.eos_id, pad_token_id=lm.eos_id, **mask,
            )  # fmt: skip
            assert [t for t in made[0, len(prompt) :].tolist() if t != lm.eos_id] == tokens
    assert f"ids = torch.tensor([{prompt}])" in (folder / "README.md").read_text()
    return json.loads((folder / "adapter_config.json").read_text())


@pytest.mark.parametrize("base", ["tiny_llama", "tiny_qwen2", "tiny_gpt2", "multi_head"])
@pytest.mark.parametrize("modulation", ["prefix", "lora"])
def test_peft_answers_as_the_paper_stack_does(
    base: str, modulation: str, paper: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    memory = paper(request.getfixturevalue(base), modulation)
    config = same_by_peft(memory, selected(memory, *TEXTS), tmp_path / "adapter")
    if modulation == "prefix":
        kv_heads = memory.lm.shape.kv_heads
        assert (config["num_virtual_tokens"], config["num_attention_heads"]) == (2, kv_heads)
    else:
        changed = len(default_targets(memory.lm)) * memory.lm.shape.layers
        assert (config["r"], config["lora_alpha"], len(config["target_modules"])) == (3, 5, changed)


@pytest.mark.parametrize("base", ["tiny_llama", "multi_head"])
def test_peft_answers_as_the_latent_stack_does_from_one_document(
    base: str, build_memory: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    memory: LatentMemory = build_memory(request.getfixturevalue(base))
    (document,) = selected(memory, TEXTS[0])
    config = same_by_peft(memory, [document], tmp_path / "adapter")
    tokens = memory.config.constant_tokens + len(document.latents)
    assert config["num_virtual_tokens"] == tokens


def test_tokens_that_stand_for_several_are_repeated(
    build_memory: Any, tiny_llama: Path, tmp_path: Path
) -> None:
    memory: LatentMemory = build_memory(tiny_llama)
    (document,) = selected(memory, TEXTS[0])
    which = np.arange(len(document.latents)) // 3
    merged = Selected(
        document.latents[: which[-1] + 1], document.scales[: which[-1] + 1], 0.0, which
    )
    with memory.applied(QUESTION, [[merged]]) as prefix:
        assert prefix is not None and int(prefix.length[0]) < 4 + len(which)
    config = same_by_peft(memory, [merged], tmp_path / "adapter")
    assert config["num_virtual_tokens"] == 4 + len(which)


def test_what_an_adapter_cannot_say_is_refused(
    build_memory: Any, tiny_llama: Path, tiny_gemma3: Path, paper: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    memory = build_memory(tiny_llama)
    two = selected(memory, *TEXTS[:2], log_weight=float(np.log(0.5)))
    for weight in (0.5, 1e-5):
        pair = [
            replace(two[0], log_weight=float(np.log(1 - weight))),
            replace(two[1], log_weight=float(np.log(weight))),
        ]
        with pytest.raises(ModelError, match="several documents") as refused:
            export_adapter(memory, QUESTION, pair, folder)
        assert "-k 1" in str(refused.value.hint)
    alone = [replace(two[0], log_weight=0.0), replace(two[1], log_weight=-30.0)]
    same_by_peft(memory, alone, tmp_path / "alone")
    # Both as heavy as a document alone: two tokens in the place of one, which an adapter can say.
    same_by_peft(memory, [replace(d, log_weight=0.0) for d in two], tmp_path / "heavy")
    windowed = paper(tiny_gemma3)
    with pytest.raises(UnsupportedModelError, match="look back 8 tokens"):
        export_adapter(windowed, QUESTION, selected(windowed, TEXTS[0]), folder)
    same_by_peft(paper(tiny_gemma3, "lora"), selected(windowed, TEXTS[0]), tmp_path / "lora")
    assert not folder.exists()
    for factor in (1.0, 1.5):  # learned positions; a rotary embedding that scales
        memory.lm.rotate_keys = lambda keys, _, factor=factor: factor * keys
        with pytest.raises(UnsupportedModelError, match="cannot be moved"):
            export._moved(memory.lm, torch.ones(2, 1, 3, 4, 8), 1)


def test_a_folder_with_something_in_it_stays_as_it_is(
    paper: Any, tiny_llama: Path, tmp_path: Path
) -> None:
    memory = paper(tiny_llama)
    folder = tmp_path / "adapter"
    folder.mkdir()
    documents = selected(memory, TEXTS[0])
    export_adapter(memory, QUESTION, documents, folder)
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(written) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    with pytest.raises(OSError):
        export_adapter(memory, "Who?", documents, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written
    assert [path.name for path in tmp_path.iterdir() if "adapter" in path.name] == ["adapter"]
