"""Our own networks and tokenizer against those of transformers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.base.native.bert import Bert
from models.base.native.llama import LlamaLM
from models.base.native.tokenizer import Tokenizer
from models.base.tokens import TextTokenizer, load_tokenizer
from models.weights.pinned import DEFAULT_ENCODER, DEFAULT_LM
from models.weights.resolve import resolve

CPU = torch.device("cpu")
TEXTS = ["The jury gave a prize to T. Reyl. <|im_end|>[SEP]", "  Grün 東京 😀\n\n12 345", "", "x"]
DTYPES = [torch.float32, torch.bfloat16]


def same_lm(folder: Path, dtype: torch.dtype) -> None:
    native = BaseLM.load(folder, device=CPU, dtype=dtype)
    assert isinstance(native.model, LlamaLM)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    theirs = BaseLM(model, AutoTokenizer.from_pretrained(folder))
    ids = native.pad(native.tokenize(TEXTS[:2]))
    assert torch.equal(native.features(ids), theirs.features(ids))
    found = native.logits(native.forward(ids))
    assert torch.equal(found, theirs.logits(theirs.forward(ids)))
    assert torch.equal(native.full_model(ids).logits, model(ids).logits)


def same_encoder(folder: Path) -> None:
    native = SentenceEncoder.load(folder, device=CPU)
    assert isinstance(native.model, Bert)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    theirs = SentenceEncoder(model, AutoTokenizer.from_pretrained(folder))
    assert torch.equal(native.encode(TEXTS), theirs.encode(TEXTS))
    ids = torch.randint(5, 100, (2, 9))
    mask = torch.tensor([[1] * 9, [1] * 4 + [0] * 5])
    for how in ("sdpa", "eager"):
        found, wanted = (
            (m.set_attn_implementation(how), m(ids, mask, token_type_ids=mask))[1]
            for m in (native.model, model)
        )
        torch.testing.assert_close(found.last_hidden_state, wanted.last_hidden_state)


def same_tokens(folder: Path) -> None:
    native, theirs = Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)
    assert native is not None
    ours, wanted = TextTokenizer(native), TextTokenizer(theirs)
    assert ours.framed(TEXTS, 12) == wanted.framed(TEXTS, 12)
    for text in TEXTS:
        assert ours.placed(text) == wanted.placed(text)
        assert ours.chat(text) == wanted.chat(text)
        assert native(text)["input_ids"] == theirs(text)["input_ids"]
        assert native.decode(native(text)["input_ids"]) == theirs.decode(native(text)["input_ids"])
    assert set(native.all_special_ids) == set(theirs.all_special_ids)
    assert native.get_vocab() == theirs.get_vocab() and len(native) == len(theirs)
    for name in ("unk", "bos", "eos", "cls", "sep", "pad"):
        assert getattr(native, f"{name}_token_id") == getattr(theirs, f"{name}_token_id")


@pytest.mark.parametrize("dtype", DTYPES)
def test_llama_computes_what_transformers_does(tiny_llama: Path, dtype: torch.dtype) -> None:
    same_lm(tiny_llama, dtype)


def test_bert_computes_what_transformers_does(tiny_encoder: Path) -> None:
    same_encoder(tiny_encoder)


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_encoder", "tiny_gpt2"])
def test_tokens_are_those_of_transformers(model: str, request: pytest.FixtureRequest) -> None:
    same_tokens(request.getfixturevalue(model))


@pytest.mark.real
def test_the_default_models_are_those_of_transformers() -> None:
    lm, encoder = resolve(DEFAULT_LM), resolve(DEFAULT_ENCODER)
    for dtype in DTYPES:
        same_lm(lm, dtype)
    same_encoder(encoder)
    same_tokens(lm)
    same_tokens(encoder)


@pytest.mark.parametrize(
    "other",
    [
        {"model_type": "mistral"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"tie_word_embeddings": False},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        {"head_dim": None},
        {"num_hidden_layers": 9},
        {"vocab_size": 7},
        {"vocab_size": "many"},
        {"quantization_config": {}},
    ],
)
def test_another_llama_is_left_to_transformers(
    tiny_llama: Path, tmp_path: Path, other: dict[str, object]
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "llama"))
    change(folder / "config.json", other)
    assert LlamaLM.load(folder, torch.float32, CPU) is None


@pytest.mark.parametrize(
    "other",
    [
        {"model_type": "roberta"},
        {"hidden_act": "relu"},
        {"is_decoder": True},
        {"position_embedding_type": "relative_key"},
        {"num_hidden_layers": 9},
    ],
)
def test_another_bert_is_left_to_transformers(
    tiny_encoder: Path, tmp_path: Path, other: dict[str, object]
) -> None:
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "bert"))
    change(folder / "config.json", other)
    assert Bert.load(folder, CPU) is None


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_broken_folder_is_left_to_transformers(
    tiny_llama: Path, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "llama"))
    (folder / name).write_bytes(b"[")
    assert LlamaLM.load(folder, torch.float32, CPU) is None
    (folder / name).unlink()
    assert LlamaLM.load(folder, torch.float32, CPU) is None


@pytest.mark.parametrize(
    "other",
    [
        {"tokenizer_class": "T5Tokenizer"},
        {"add_bos_token": True},
        {"clean_up_tokenization_spaces": True},
        {"eos_token": "<none>"},
        {"chat_template": [{"name": "rag", "template": ""}]},
    ],
)
def test_another_tokenizer_is_left_to_transformers(
    tiny_llama: Path, tmp_path: Path, other: dict[str, object]
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "llama"))
    change(folder / "tokenizer_config.json", other)
    assert Tokenizer.load(folder) is None


def test_a_chat_template_is_filled_in(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "llama"))
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}\n  {% if loop.first %}\n{{ bos_token }}{% endif %}"
        "[{{ m['role'] }}|{{ m | tojson }}]\n{% endfor %}{{ eos_token if add_generation_prompt }}"
    )
    same_tokens(folder)
    assert isinstance(load_tokenizer(folder), Tokenizer)


def test_the_default_models_need_no_transformers(tiny_llama: Path, tiny_encoder: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from models.base.lm import BaseLM; from models.base.encoder import SentenceEncoder\n"
        f"BaseLM.load(Path({str(tiny_llama)!r}), device=torch.device('cpu'), dtype=torch.float32)\n"
        f"SentenceEncoder.load(Path({str(tiny_encoder)!r}), device=torch.device('cpu'))\n"
        "slow = {'transformers', 'torch._dynamo', 'scipy', 'sympy'}\n"
        "sys.exit(', '.join(slow & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def change(file: Path, other: dict[str, object]) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **other}))
