"""Retrievers of others: any encoder that the sentence-transformers library runs (arXiv 1908.10084).

A folder without that library's files, such as Contriever's (arXiv 2112.09118), is mean-pooled.

Letters: B texts, E size of the embedding.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from models.base.encoder import SentenceEncoder
from models.base.encoder_rules import DOCUMENT_PROMPTS, EncoderRules, documented_prefixes
from models.base.tokens import readable
from models.errors import WeightsError, first_line, optional
from models.weights.identity import identity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LIBRARY = "config_sentence_transformers.json"


class ExternalEncoder:
    """A frozen encoder that turns questions and documents into vectors as its folder says.

    Args:
        folder: safetensors weights, a tokenizer, and how the encoder is to be run.
        device: where it runs.

    Attributes:
        size: E.

    Raises:
        MissingPackageError: sentence-transformers is not installed.
        WeightsError: the folder does not hold a readable encoder.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        library: Any = optional("sentence_transformers", "rivals")
        # It warns that it pools a bare folder, which is what we want of it.
        logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
        if (folder / "config.json").exists():
            # The library leaves weights under unknown names random; ours refuses them.
            SentenceEncoder.load(folder, device=torch.device("cpu"), rules=EncoderRules())
        try:
            self._model = library.SentenceTransformer(
                str(folder),
                device=str(device),
                local_files_only=True,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
            self._model.tokenizer.split_special_tokens = True  # those in a text are text
            described = folder / _LIBRARY
            settings = json.loads(described.read_text("utf-8")) if described.exists() else {}
            # Relevance is a product here; the library normalises only when it compares.
            self._normalise = settings.get("similarity_fn_name") == "cosine"
        except (OSError, ValueError, KeyError, AttributeError, TypeError, ImportError) as error:
            raise WeightsError(
                f"no readable sentence encoder in {folder}: {first_line(error)}"
            ) from error
        self._documented = documented_prefixes(folder)
        self.size = self.encode_queries([""]).shape[1]

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings [B, E] of questions."""
        return self._encode(self._model.encode_query, texts, ("query",), self._documented[0])

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings [B, E] of documents; relevance is the product with a query."""
        encode = self._model.encode_document
        return self._encode(encode, texts, DOCUMENT_PROMPTS, self._documented[1])

    def _encode(
        self, encode: Any, texts: Sequence[str], names: Sequence[str], documented: str
    ) -> NDArray[np.float32]:
        # The library takes the prompt of the first name that it knows, even if that one is empty.
        prompts = [self._model.prompts.get(name) for name in names]
        vectors: NDArray[np.float32] = encode(
            [readable(text) for text in texts],
            prompt=next(filter(None, prompts), documented or None),
            show_progress_bar=False,
            normalize_embeddings=self._normalise,
        )
        return vectors


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of an encoder's weights and of all that says how they are run.

    Raises:
        WeightsError: the folder holds no weights.
    """
    digest = hashlib.sha256(str(identity("", folder)).encode())
    for file in sorted(folder.rglob("*.json")):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
