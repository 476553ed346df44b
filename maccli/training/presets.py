"""Ready settings of `mac train --preset`: those with which the authors of arXiv 2403.04317 trained.

They are read off the configuration files that the authors publish (github.com/jihoontack/MAC,
conf/): the base LM, what T5 reads documents and questions, T, questions a batch and batches an
optimiser step, epochs, the largest gradient norm and what is computed in. Adam, its constant
learning rate after a warm-up over a hundredth of the steps, 4 blocks of cross-attention and 2
prefix tokens a layer are the `paper` stack's own defaults. Their ratio of documents *with* gradient
is 1 - p here.

Two things stay this project's: a batch's documents are drawn in groups of confusable ones
(`--documents`), and a document is cut at `--chunk-tokens`, where theirs ends after 1,024 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

Value = str | int | float

_ALL: dict[str, Value] = {
    "stack": "paper",
    "amortizer": "t5",
    "lr": 1e-5,
    "epochs": 50,
    "clip": 100.0,
}
_DISTILGPT2: dict[str, Value] = {
    **_ALL,
    "amortizer-model": "google-t5/t5-base",
    "tokens": 12,
    "batch": 16,
    "accumulate": 4,
    "backprop-dropout": 0.0,
    "precision": "fp32",
}
_LARGE: dict[str, Value] = {
    **_ALL,
    "tokens": 24,
    "batch": 4,
    "accumulate": 8,
    "backprop-dropout": 0.75,
    "precision": "bf16",
}
_LARGE_T5: dict[str, Value] = {
    **_LARGE,
    "amortizer-model": "google-t5/t5-large",
    "question-model": "google-t5/t5-base",
}

PRESETS: Mapping[str, Mapping[str, Value]] = MappingProxyType(
    {
        "distilgpt2": {**_DISTILGPT2, "base": "distilbert/distilgpt2"},
        "gpt2-large": {
            **_LARGE,
            "base": "openai-community/gpt2-large",
            "amortizer-model": "google-t5/t5-base",
        },
        "gpt2-xl": {**_LARGE_T5, "base": "openai-community/gpt2-xl"},
        "llama2-7b": {
            **_LARGE_T5,
            "base": "meta-llama/Llama-2-7b-hf",
            "batch": 8,
            "accumulate": 4,
            "quantize": "4bit",
        },
        "smollm2-135m": _DISTILGPT2,
    }
)
"""By name, the options of `mac train` that each stands for. `smollm2-135m` is ours: what the paper
has for distilgpt2, the base LM of the same size, on the default one."""


def about() -> str:
    """One line that says what each preset is."""
    return "; ".join(f"{name} ({_summary(options)})" for name, options in PRESETS.items())


def _summary(options: Mapping[str, Value]) -> str:
    reads = str(options["amortizer-model"]).rpartition("/")[2]
    return (
        f"{reads}, T {options['tokens']}, batch {options['batch']} x {options['accumulate']}, "
        f"p {options['backprop-dropout']:g}, {options['precision']}"
        f"{', 4-bit base' if options.get('quantize') else ''}"
    )
