"""Small random base LMs of every family, in which no weight is zero and none is one; examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.data.files import Example

FAMILIES = ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma3", "GPT2"]
WINDOWED = ("Mistral", "Gemma3")
"""Families of which the small models have sliding windows."""
POSITIONS = 128
"""That the small GPT-2 has learned."""

MakeLM = Callable[..., Any]


class Steps(list[int]):
    """A progress that remembers how it was advanced."""

    advance = list.append


NAMES = ("Ida", "Tomas", "Nadia", "Ines", "Otto", "Mara", "Jonas", "Vera")


def prizes(document: str, number: int = len(NAMES)) -> list[Example]:
    """Questions about so many documents, alike but for {i} and {name} in them."""
    return [
        Example(
            id=str(i),
            source="made",
            document_id=str(i),
            document=document.format(i=i, name=name),
            question=f"Who got prize number {i}?",
            answers=(name,),
        )
        for i, name in enumerate(NAMES[:number])
    ]


@pytest.fixture
def lm(tiny_llama: Path) -> BaseLM:
    return BaseLM.load(tiny_llama, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def encoder(tiny_encoder: Path) -> SentenceEncoder:
    return SentenceEncoder.load(tiny_encoder, device=torch.device("cpu"))


@pytest.fixture
def any_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let parts of characters be chosen anywhere, as transformers does: random models like them."""
    from models.base.characters import Characters

    monkeypatch.setattr(Characters, "choose", lambda _self, scores, _missing: int(scores.argmax()))


@pytest.fixture
def make_lm(tiny_llama: Path) -> MakeLM:
    """A function that makes a `BaseLM` of a family.

    Its 9 attention heads share 3 pairs of keys and values (GPT-2 knows no such sharing: it has 3),
    and its matrices are such that a narrow copy can be made of them: rows of whole groups of 32.
    """

    def make(kind: str, window: int = 8) -> Any:
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_llama)
        sizes: dict[str, Any] = {
            **{"hidden_size": 288, "intermediate_size": 128, "num_hidden_layers": 2},
            **{"num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 32},
            **{"max_position_embeddings": 512, "tie_word_embeddings": True},
            **({"sliding_window": window} if kind in WINDOWED else {}),
        }
        if kind == "GPT2":
            sizes = {"n_embd": 96, "n_layer": 2, "n_head": 3, "n_positions": POSITIONS}
        name = "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config"
        special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
        config = getattr(transformers, name)(vocab_size=len(tokenizer), **sizes, **special)
        head = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model = getattr(transformers, head)(config)
            for weight in model.parameters():
                torch.nn.init.normal_(weight, mean=float(weight.dim() == 1), std=0.15)
        return BaseLM(model, tokenizer)

    return make
