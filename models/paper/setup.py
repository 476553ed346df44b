"""Makes the config of a new `paper` stack from the names of models, its reader and its method."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.base.lora import default_targets, projections, sizes
from models.errors import CheckpointError, WeightsError
from models.paper.config import PaperConfig
from models.paper.method import PaperMethod
from models.paper.reading import Reader, StateReader, TokenReader
from models.paper.stack import PaperStack
from models.training.settings import TrainConfig
from models.weights.carriers import Transfer
from models.weights.resolve import resolve

DEFAULT_MODEL = {"decoder-only": "distilbert/distilgpt2"}
"""The pretrained models that an amortizer starts from; for the others it is `T5`."""
T5 = "google-t5/t5-small"
TOKENS = 12
"""The usual number of latents."""


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """The settings of a new `paper` stack that a user chooses.

    Attributes:
        amortizer: see `PaperConfig`.
        model: the model that amortizer and input encoder start from, a Hub id or a folder.
        tokens: T; None: 12, or as many as the base LM's layers take.
        question: another model, with the same vocabulary, that the input encoder starts from.
        modulation: see `PaperConfig`.
        lora_rank: r of `lora`; alpha is twice that.
    """

    amortizer: str = "t5"
    model: str | None = None
    tokens: int | None = None
    question: str | None = None
    modulation: str = "prefix"
    lora_rank: int = 8

    def name(self) -> str | None:
        """Return the name of the pretrained model that is needed, if any."""
        if self.amortizer == "encoder":
            return None
        return self.model or DEFAULT_MODEL.get(self.amortizer, T5)


def describe(
    options: PaperOptions,
    lm: BaseLM,
    encoder: SentenceEncoder,
    /,
    *,
    progress: Transfer | None = None,
    **identities: Any,
) -> PaperConfig:
    """Return the config of a new stack.

    Args:
        options: the user's settings.
        lm: the base LM.
        encoder: the sentence encoder.
        progress: told about downloads.
        identities: `base_lm`, `base_sha256`, `encoder`, `encoder_sha256`, `encoder_rules`,
            `chunk_tokens`.

    Raises:
        WeightsError: the pretrained model cannot be found or downloaded.
        CheckpointError: it does not suit this amortizer, or a size does not fit.
    """
    name = options.name()
    network = {"hidden_size": encoder.size}
    if name is not None:
        network = _description(options.amortizer, name, progress)
    question: dict[str, Any] = {}
    if options.question is not None:
        question = _description(options.amortizer, options.question, progress)
        if question["vocab_size"] != network.get("vocab_size"):
            raise CheckpointError(f"{options.question} and {name} do not read the same tokens")
    prefix_tokens = 2
    most = 2 * prefix_tokens * lm.shape.layers
    lora: dict[str, Any] = {}
    if options.modulation == "lora":
        most = TOKENS
        targets = {name: list(sizes(projections(lm, name)[0])) for name in default_targets(lm)}
        rank = options.lora_rank
        lora = {"r": rank, "lora_alpha": 2 * rank, "lora_targets": targets}
    return PaperConfig(
        layers=lm.shape.layers,
        kv_heads=lm.shape.kv_heads,
        head_size=lm.shape.head_size,
        hidden_size=lm.shape.hidden_size,
        key_size=encoder.size,
        amortizer=options.amortizer,
        network=network,
        question_network=question,
        tokenizer=name or "",
        tokens=options.tokens or min(TOKENS, most),
        modulation=options.modulation,
        prefix_tokens=prefix_tokens,
        **lora,
        **identities,
    )


def reader(
    config: PaperConfig, lm: BaseLM, encoder: SentenceEncoder, progress: Transfer | None = None
) -> Reader:
    """Return what reads texts for the amortizer of a config.

    Raises:
        WeightsError: its tokenizer cannot be found or downloaded.
    """
    if config.amortizer == "encoder":
        return StateReader(encoder)
    if not config.tokenizer:
        return TokenReader(lm.tokenizer, lm.device)
    return TokenReader.load(resolve(config.tokenizer, progress=progress), lm.device)


def method(
    run: TrainConfig,
    config: PaperConfig,
    lm: BaseLM,
    encoder: SentenceEncoder,
    start: PaperStack | None = None,
    progress: Transfer | None = None,
    *,
    question: str | None = None,
) -> PaperMethod:
    """Return the method that trains a stack of this config; `question` as in `PaperOptions`.

    Raises:
        WeightsError: a pretrained model cannot be found or downloaded.
        CheckpointError: the base LM is not the config's.
    """
    pretrained = pretrained_question = None
    if start is None and config.tokenizer:
        pretrained = resolve(config.tokenizer, progress=progress)
    if start is None and question is not None:
        pretrained_question = resolve(question, progress=progress)
    reads = reader(config, lm, encoder, progress)
    return PaperMethod(run, config, lm, reads, pretrained, start, pretrained_question)


def _description(amortizer: str, name: str, progress: Transfer | None) -> dict[str, Any]:
    """Return the sizes in a pretrained model's config.json."""
    from transformers import AutoConfig

    try:
        folder = resolve(name, progress=progress)
        settings: dict[str, Any] = json.loads(AutoConfig.from_pretrained(folder).to_json_string())
    except WeightsError as error:
        raise WeightsError(str(error), f"{error.hint}; or use --amortizer encoder") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"no readable config of {name}: {error}") from error
    kind = settings["model_type"]
    if (kind == "t5") != amortizer.startswith("t5"):
        raise CheckpointError(f"the amortizer {amortizer!r} cannot use {name}, which is a {kind}")
    return {key: value for key, value in settings.items() if key not in _NOT_SIZES}


_NOT_SIZES = frozenset(
    {"_name_or_path", "architectures", "dtype", "task_specific_params", "transformers_version"}
)
