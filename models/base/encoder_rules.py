"""How a sentence encoder is run: what it pools, and what stands before questions and documents.

The files that say it are those of the sentence-transformers library (arXiv 1908.10084), which most
encoders on the Hub have. torch is not imported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import CheckpointError, WeightsError

POOLINGS = ("mean", "cls", "lasttoken")
"""Whose states make the vector: all tokens', the first one's, the last one's."""
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""The names under which an encoder's files may have the prefix of documents."""
_MODULES = ("Transformer", "Pooling", "Normalize")
_OLD_MODE = "pooling_mode_"
_OLD_MODES = {"cls_token": "cls", "mean_tokens": "mean"}
# Families whose model cards ask for prefixes that their files do not have: of questions, documents.
_DOCUMENTED = {
    r"intfloat/(multilingual-)?e5-(small|base|large)(-v2|-unsupervised)?": ("query: ", "passage: "),
    r"BAAI/bge-(small|base|large)-en(-v1\.5)?": (
        "Represent this sentence for searching relevant passages: ",
        "",
    ),
}


@dataclass(frozen=True, slots=True)
class EncoderRules:
    """How a sentence encoder is run; kept in config.json as `encoder_rules`.

    Attributes:
        pooling: one of `POOLINGS`.
        query_prefix: stands before every question.
        document_prefix: stands before every document.

    Raises:
        CheckpointError: the pooling is not known, or a prefix is no text.
    """

    pooling: str = "mean"
    query_prefix: str = ""
    document_prefix: str = ""

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise CheckpointError(
                f"unknown pooling {self.pooling!r}; known: {', '.join(POOLINGS)}",
                hint="update mac, or use the version that trained the checkpoint",
            )
        for prefix in (self.query_prefix, self.document_prefix):
            if not isinstance(prefix, str):
                raise CheckpointError(f"an encoder's prefix must be a text, not {prefix!r}")


def rules_of(written: Mapping[str, Any]) -> EncoderRules:
    """Return the rules in a config.json; an empty mapping, as in older ones, is mean pooling.

    Raises:
        CheckpointError: they cannot be understood.
    """
    try:
        return EncoderRules(**written)
    except TypeError as error:
        raise CheckpointError(
            f"encoder_rules must give pooling, query_prefix and document_prefix, not {written!r}"
        ) from error


def read_rules(folder: Path) -> EncoderRules:
    """Return how the encoder in a folder is to be run; mean-pooled where no file says it.

    Raises:
        WeightsError: a file is damaged, or asks for what this program does not do.
    """
    return EncoderRules(_pooling(folder), *_prefixes(folder))


def documented_prefixes(folder: Path) -> tuple[str, str]:
    """Return the prefixes of questions and documents that only a model card on the Hub asks for.

    Such a model is known by its folder in the Hub client's cache, which is named after it; of any
    other folder nothing is guessed, and both are "".
    """
    repository = folder.parent.parent.name  # models--OWNER--NAME/snapshots/REVISION
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        name = repository.removeprefix("models--").replace("--", "/", 1)
        for pattern, prefixes in _DOCUMENTED.items():
            if re.fullmatch(pattern, name):
                return prefixes
    return "", ""


def _pooling(folder: Path) -> str:
    file = folder / "modules.json"
    if not file.exists():
        return "mean"
    modules = _read(file, list)
    try:
        paths = {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in modules}
    except (KeyError, TypeError) as error:
        raise _damaged(file, "each module needs a type and a path") from error
    for name in (*paths, "Pooling"):
        if name not in paths:
            raise _damaged(file, f"there is no module {name}")
        if name not in _MODULES:
            raise _unsupported(folder, f"has a module {name}")
    file = folder / paths["Pooling"] / "config.json"
    config = _read(file, dict)
    if config.get("include_prompt") is False:
        raise _unsupported(folder, "does not pool the tokens of its prefix")
    return _mode(folder, config)


def _mode(folder: Path, config: Mapping[str, Any]) -> str:
    """Return the pooling in the config of a pooling module, in the old form or the new one."""
    on = [n.removeprefix(_OLD_MODE) for n, is_on in config.items() if is_on and _OLD_MODE in n]
    modes = config.get("pooling_mode", [_OLD_MODES.get(name, name) for name in on] or "mean")
    if isinstance(modes, list) and len(modes) == 1:
        modes = modes[0]
    if modes not in POOLINGS:
        raise _unsupported(folder, f"is pooled by {modes!r}")
    return str(modes)


def _prefixes(folder: Path) -> tuple[str, str]:
    file = folder / "config_sentence_transformers.json"
    settings = _read(file, dict) if file.exists() else {}
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(p or "", str) for p in prompts.values()):
        raise _damaged(file, "prompts must be texts by their names")
    query = prompts.get("query") or ""
    document = next(filter(None, map(prompts.get, DOCUMENT_PROMPTS)), "")
    if query or document:
        return query, document
    if default := prompts.get(str(settings.get("default_prompt_name"))):
        return default, default
    return documented_prefixes(folder)


def _read(file: Path, kind: type) -> Any:
    """Return the content of a JSON file, which must be of a kind."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(content, kind):
        raise _damaged(file, f"it does not hold a {kind.__name__}")
    return content


def _damaged(file: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{file} is damaged: {what}", "download the encoder again, or choose another one"
    )


def _unsupported(folder: Path, what: str) -> WeightsError:
    return WeightsError(
        f"the encoder in {folder} {what}, which mac cannot do",
        f"choose an encoder whose pooling is one of {', '.join(POOLINGS)}, with no layer behind it",
    )
