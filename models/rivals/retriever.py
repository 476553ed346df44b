"""Retrievers of others: any encoder that sentence-transformers runs (arXiv 1908.10084).

Read are: `modules.json` with pooling and normalisation, `sentence_bert_config.json` with the
longest text, `config_sentence_transformers.json` with what stands in front of queries and
documents. A folder without them, such as Contriever's (arXiv 2112.09118), is mean-pooled.

Letters: B texts, T tokens, E size of the embedding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.base.encoder import SentenceEncoder
from models.errors import WeightsError

LONGEST = 512
"""Where a folder does not say how long texts may be, in tokens."""
_DOCUMENT = ("document", "passage", "corpus")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How token states become an embedding, as a folder says.

    Attributes:
        pooling: the state of the first token, or the mean of all.
        normalised: whether embeddings are brought to unit length; relevance is their product.
        max_tokens: longer texts are cut.
        query: stands in front of every question.
        document: stands in front of every document.
    """

    pooling: Literal["cls", "mean"] = "mean"
    normalised: bool = False
    max_tokens: int = LONGEST
    query: str = ""
    document: str = ""

    @classmethod
    def read(cls, folder: Path) -> Recipe:
        """Read the recipe of a folder.

        Raises:
            WeightsError: a file is damaged, or it needs what is not supported.
        """
        pooling: Literal["cls", "mean"] = "mean"
        normalised = False
        modules = _read(folder / "modules.json", [])
        for module in modules if isinstance(modules, list) else [modules]:
            kind = str(module.get("type", "")).rpartition(".")[2] if module else ""
            if kind == "Pooling":
                pooling = _pooling(folder / str(module.get("path", "")) / "config.json")
            elif kind == "Normalize":
                normalised = True
            elif kind != "Transformer" or module.get("path"):
                raise WeightsError(
                    f"{folder / 'modules.json'}: a module {kind or 'of no type'} in "
                    f"{module.get('path', '')!r} cannot be run",
                    "take an encoder of a transformer, pooling and normalisation only",
                )
        general = _dictionary(folder / "config_sentence_transformers.json")
        prompts = general.get("prompts") or {}
        longest = _dictionary(folder / "sentence_bert_config.json").get("max_seq_length")
        return cls(
            pooling,
            normalised or general.get("similarity_fn_name") == "cosine",
            int(longest or LONGEST),
            str(prompts.get("query") or ""),
            next((str(prompts[name]) for name in _DOCUMENT if prompts.get(name)), ""),
        )


class SentenceTransformer(SentenceEncoder):
    """A frozen encoder that is run as its folder says; see `Recipe`."""

    recipe: Recipe

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> SentenceTransformer:
        """Load a folder of safetensors weights and a tokenizer, with its recipe.

        Raises:
            WeightsError: the folder does not hold a readable encoder.
        """
        recipe = Recipe.read(path)
        try:
            made = super().load(path, device=device)
        except (ValueError, KeyError, AttributeError) as error:  # transformers' own, by the model
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(f"no readable sentence encoder in {path}: {said}") from error
        assert isinstance(made, cls)
        made.recipe = recipe
        made.max_tokens = min(recipe.max_tokens, made.positions)
        return made

    def encode_queries(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [B, E] of questions, float32."""
        return self.encode([self.recipe.query + text for text in texts])

    def encode_documents(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [B, E] of documents, float32; their relevance is the product with a query."""
        return self.encode([self.recipe.document + text for text in texts])

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Embeddings [B, E] of token states [B, T, E]; `mask`, int64 [B, T], is 0 where padded."""
        if self.recipe.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return F.normalize(pooled, dim=-1) if self.recipe.normalised else pooled


def _pooling(file: Path) -> Literal["cls", "mean"]:
    """The one way of pooling that a file names; both generations of the format."""
    said = _dictionary(file)
    modes = {name for name, on in said.items() if name.startswith("pooling_mode_") and on is True}
    modes |= {f"pooling_mode_{name}" for name in [said.get("pooling_mode")] if name}
    if modes in ({"pooling_mode_cls_token"}, {"pooling_mode_cls"}):
        return "cls"
    if modes in ({"pooling_mode_mean_tokens"}, {"pooling_mode_mean"}):
        return "mean"
    named = ", ".join(sorted(modes)) or "none"
    raise WeightsError(f"{file}: pooling {named} is not supported", "take one of cls or mean")


def _dictionary(file: Path) -> dict[str, Any]:
    read = _read(file, {})
    if not isinstance(read, dict):
        raise WeightsError(f"{file} does not hold a JSON object")
    return read


def _read(file: Path, missing: Any) -> Any:
    if not file.is_file():
        return missing
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {file}: {error}") from error
