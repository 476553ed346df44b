"""Shared fixtures: tiny, randomly initialised models on disk, and a home directory of their own.

Every model has two layers and a few thousand weights, is seeded, and is saved once a session the
way a converted base model lies in the cache: config, tokenizer, `model.safetensors`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SENTENCES = (
    "The town of Varnholt opened a new bridge over the Elm in March.",
    "Who opened the bridge? The mayor, Ida Brandt, cut the ribbon at noon.",
    "Answer the question in a few words: where was the prize awarded, and to whom?",
    "The jury gave the prize of 40,000 crowns to the poet Tomas Reyl on 12 June 2026.",
    "Heavy rain closed the northern road for 3 days; no one was hurt.",
)
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"  # ids 0, 1, 2 as in SmolLM2

# What a shell starts with `&` ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the user's models, store and settings out of reach, and the network unused."""
    for name in ("MAC_STORE", "MAC_MODEL", "MAC_ENCODER", "MAC_SERVER_KEY", "MAC_SERVER_KEYS"):
        monkeypatch.delenv(name, raising=False)
    if "real" not in request.keywords:
        monkeypatch.delenv("MAC_WEIGHTS", raising=False)
        monkeypatch.setenv("MAC_HOME", str(request.getfixturevalue("tmp_path") / "mac-home"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", "")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    yield


@pytest.fixture(autouse=True)
def torch_as_it_comes() -> Iterator[None]:
    """Undo what `prefer_onednn` did to this process: other products have other last digits."""
    if (torch := sys.modules.get("torch")) is None:
        yield
        return
    matmul: Any = torch.backends.mkldnn.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "none"
    yield
    matmul.fp32_precision = before


def _lm_tokenizer(pad: str = STOP) -> Any:
    """A byte-level BPE of a few hundred tokens that adds no special tokens by itself."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=384,
            special_tokens=[END, START, STOP],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=START, eos_token=STOP, unk_token=END, pad_token=pad
    )


def _save(folder: Path, model_class: str, config_class: str, tokenizer: Any, **sizes: Any) -> Path:
    import torch
    import transformers

    config = getattr(transformers, config_class)(vocab_size=len(tokenizer), **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, model_class)(config)
        # The usual 0.02 leaves such small layers near the identity: everything would look equal.
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
_GROUPED = {
    "hidden_size": 72,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    **_SPECIAL,
}


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llama, 9 attention heads of size 8 over 3 key/value heads, as in SmolLM2-135M."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    return _save(folder, "LlamaForCausalLM", "LlamaConfig", _lm_tokenizer(), **_GROUPED)


@pytest.fixture(scope="session")
def tiny_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen2: biases on the queries, keys and values."""
    folder = tmp_path_factory.mktemp("models") / "tiny-qwen2"
    return _save(folder, "Qwen2ForCausalLM", "Qwen2Config", _lm_tokenizer(), **_GROUPED)


@pytest.fixture(scope="session")
def tiny_gemma3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 3: norms on queries and keys, a sliding-window layer of 8 tokens and a full one."""
    sizes = {
        **_GROUPED,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    folder = tmp_path_factory.mktemp("models") / "tiny-gemma3"
    return _save(folder, "Gemma3ForCausalLM", "Gemma3TextConfig", _lm_tokenizer(), **sizes)


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2: learned positions, no rotary embedding; its keys and values have as many heads."""
    sizes = {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 256, **_SPECIAL}
    folder = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    return _save(folder, "GPT2LMHeadModel", "GPT2Config", _lm_tokenizer(), **sizes)


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """T5 encoder-decoder, as the `paper` stack uses for amortizer and input encoder."""
    sizes = {
        "d_model": 48,
        "d_kv": 12,
        "d_ff": 64,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "pad_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 0,
    }
    folder = tmp_path_factory.mktemp("models") / "tiny-t5"
    return _save(folder, "T5ForConditionalGeneration", "T5Config", _lm_tokenizer(pad=END), **sizes)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BERT with a lower-casing WordPiece tokenizer, as all-MiniLM-L6-v2."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {
        word
        for sentence in SENTENCES
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(sentence))
    }
    # Not trained: the trainer gives another vocabulary each time, and so another encoder.
    letters = sorted({letter for word in words for letter in word})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += dict.fromkeys([*letters, *(f"##{letter}" for letter in letters), *sorted(words)])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pieces = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    pieces.normalizer, pieces.pre_tokenizer = normalizer, splitter
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    folder = tmp_path_factory.mktemp("models") / "tiny-encoder"
    return _save(folder, "BertModel", "BertConfig", tokenizer, **sizes)


@pytest.fixture(scope="session")
def described_encoder(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """Another encoder, of keys of 24 numbers, whose files ask for the first token and prefixes."""
    import transformers

    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_encoder)
    folder = tmp_path_factory.mktemp("models") / "described-encoder"
    _save(folder, "BertModel", "BertConfig", tokenizer, **sizes)
    describe_encoder(
        folder,
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        {"prompts": {"query": "who: ", "document": "the "}},
    )
    return folder


def describe_encoder(
    folder: Path,
    pooling: dict[str, Any],
    settings: dict[str, Any] | None = None,
    modules: tuple[str, ...] = ("Transformer", "Pooling", "Normalize"),
) -> None:
    """Write the files by which the sentence-transformers library knows how to run an encoder."""
    paths = {"Pooling": "1_Pooling", "Normalize": "2_Normalize", "Dense": "2_Dense"}
    listed = [
        {"idx": i, "name": str(i), "path": paths.get(name, ""), "type": f"{_MODULES}.{name}"}
        for i, name in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    size = json.loads((folder / "config.json").read_text())["hidden_size"]
    written = {"word_embedding_dimension": size, **pooling}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(written))
    file = folder / "config_sentence_transformers.json"
    file.write_text(json.dumps(settings or {}))


_MODULES = "sentence_transformers.models"

LATENT_TEXTS = [
    "The town of Varnholt opened a new bridge over the Elm in March.",
    "The mayor, Ida Brandt, cut the ribbon at noon. Heavy rain closed the northern road.",
    "The jury gave the prize of 40,000 crowns to the poet Tomas Reyl.",
]


@pytest.fixture
def build_memory(tiny_encoder: Path) -> Any:
    """A function that makes a `LatentMemory` on any of the tiny base LMs, untrained, on the CPU.

    `full_rank` gives it as many latent numbers as a token has features, and one constant prefix
    token that is the begin-of-sequence token's own keys and values.
    """
    import torch

    from models.base.encoder import SentenceEncoder
    from models.base.lm import BaseLM
    from models.latent.config import LatentConfig
    from models.latent.initialise import initialise
    from models.latent.memory import LatentMemory
    from models.latent.networks import LatentStack
    from models.memory.base_models import BaseModels

    def build(folder: Path, *, full_rank: bool = False, latent_size: int = 16) -> LatentMemory:
        lm = BaseLM.load(folder, device=torch.device("cpu"), dtype=torch.float32)
        encoder = SentenceEncoder.load(tiny_encoder, device=torch.device("cpu"))
        shape = lm.shape
        config = LatentConfig(
            base_lm=str(folder),
            base_sha256=None,
            encoder=str(tiny_encoder),
            encoder_sha256=None,
            layers=shape.layers,
            kv_heads=shape.kv_heads,
            head_size=shape.head_size,
            latent_size=shape.features if full_rank else latent_size,
            key_size=encoder.size,
            constant_tokens=1 if full_rank else 4,
            chunk_tokens=64,
            documents=2,
        )
        stack = LatentStack(config)
        initialise(stack, lm, LATENT_TEXTS)
        return LatentMemory(stack, BaseModels.loaded(lm, encoder), "0" * 16)

    return build
