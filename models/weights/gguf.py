"""Turn a GGUF file into a folder that transformers loads quickly: safetensors and a tokenizer."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import get_verbosity, set_verbosity


def convert_gguf(gguf: Path, out: Path) -> None:
    """Write config, tokenizer and the dequantized weights of a GGUF file to the folder `out`.

    The weights are float32: a Q4_1 value is scale * quant + minimum with both in float16, a sum
    that float16 and bfloat16 cannot hold (it would change 42% and 79% of SmolLM2-135M's weights).

    Raises:
        ValueError, OSError: transformers cannot read the file or does not know its architecture.
    """
    source: dict[str, Any] = {
        "pretrained_model_name_or_path": str(gguf.parent),
        "gguf_file": gguf.name,
    }
    with _silence():
        tokenizer = AutoTokenizer.from_pretrained(**source)
        model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    if _pre_tokenizer(gguf) == "smollm":
        # transformers reads the merges but not how text is cut before them: SmolLM2 takes digits
        # one by one, which shows where more than one space stands before a number.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # the weights below are not quantized any more
    config.architectures = [type(model).__name__]
    # Not model.save_pretrained: it refuses a model that was read from GGUF.
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    state = {name: t.contiguous() for name, t in model.state_dict().items() if name not in tied}
    out.mkdir(parents=True, exist_ok=True)
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _pre_tokenizer(gguf: Path) -> str | None:
    field = GGUFReader(gguf).fields.get("tokenizer.ggml.pre")
    return None if field is None else str(field.contents())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the libraries' own progress bars and advice off the terminal."""
    before = get_verbosity()
    set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        set_verbosity(before)
