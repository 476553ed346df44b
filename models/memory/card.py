"""The model card of a checkpoint: a README.md in the Hub's format."""

from __future__ import annotations

from typing import Any

from models.memory.protocol import ModelConfig

_REPOSITORY = {
    "smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2",
}
"""The Hub ids of the pinned models' originals."""


def card(config: ModelConfig) -> str:
    """Return the card: what the checkpoint is, its base models, and how it was trained."""
    return _page(
        config.base_lm,
        [
            f"# A `{config.stack}` checkpoint for {config.base_lm}",
            "",
            "Turns documents into modulations of a frozen base LM, and questions into the",
            "modulation that answers them (arXiv 2403.04317). The base LM is not inside.",
            "",
            f"- {config.sizes()}, chunks of up to {config.chunk_tokens} tokens",
            f"- sentence encoder: {config.encoder}",
            f"- base LM, SHA-256: {config.base_sha256 or 'not pinned'}",
        ],
        config.training,
    )


def judge_card(encoder: str, training: dict[str, Any]) -> str:
    """Return the card of a judge: what it was tuned from, and how it was trained."""
    return _page(
        encoder,
        [
            f"# A judge, tuned from {encoder}",
            "",
            "Reads a question together with a passage: whether the passage answers it, and with",
            "which words. The embeddings are those of the encoder, and not inside.",
        ],
        training,
    )


def _page(base_model: str, about: list[str], training: dict[str, Any]) -> str:
    """Return a card in the Hub's format, with some lines about what was trained.

    Base model and data decide on the licence, so whoever publishes a checkpoint has to state it.
    """
    return "\n".join(
        [
            "---",
            "library_name: mac",
            f"base_model: {repository(base_model)}",
            "pipeline_tag: question-answering",
            "---",
            "",
            *about,
            "",
            "## Training",
            "",
            *_runs(training),
        ]
    )


def repository(name: str) -> str:
    """Return the Hub id of a base model; one that is not pinned is named by it already."""
    return _REPOSITORY.get(name, name)


def _runs(training: dict[str, Any]) -> list[str]:
    """Return commands and settings of the training run, after those of the run it started from."""
    settings = dict(training)
    earlier, command = settings.pop("from", None), settings.pop("command", None)
    return [
        *([*_runs(earlier), "Then:", ""] if earlier else []),
        *(["```", str(command), "```", ""] if command else []),
        *(f"- {name}: {value}" for name, value in settings.items()),
        "",
    ]
