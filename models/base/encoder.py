"""The sentence encoder that turns questions and documents into keys of the memory bank.

Letters: B texts, T tokens, E key size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.base.batching import batch_tokens, length_batches
from models.base.encoder_rules import EncoderRules, read_rules
from models.base.native.bert import Bert
from models.base.native.prepared import prepare
from models.base.tokens import TextTokenizer, load_tokenizer
from models.errors import WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from models.base.tokens import AnyTokenizer

MAX_TOKENS = 256
"""Longer texts are cut: all-MiniLM-L6-v2 was trained on no more."""


class SentenceEncoder:
    """A frozen encoder whose token states are pooled to unit length (arXiv 1908.10084).

    Args:
        model: the network.
        tokenizer: its tokenizer.
        rules: how it pools, and what stands before questions and documents.

    Attributes:
        documents_dtype: what documents are encoded in; everything else is in float32.
    """

    def __init__(
        self,
        model: PreTrainedModel | Bert,
        tokenizer: AnyTokenizer,
        rules: EncoderRules | None = None,
    ) -> None:
        self.model = prepare(model.eval().requires_grad_(False))
        self.tokenizer, self.rules = tokenizer, rules or EncoderRules()
        self.documents_dtype = torch.float32
        self._text = TextTokenizer(tokenizer)
        config: Any = model.config
        self.size: int = config.hidden_size
        # A tiny model may have fewer positions than the usual cut; some have no end of them.
        self.positions: int = getattr(config, "max_position_embeddings", MAX_TOKENS)
        self.max_tokens = min(MAX_TOKENS, self.positions)

    @classmethod
    def load(
        cls, path: Path, *, device: torch.device, rules: EncoderRules | None = None
    ) -> SentenceEncoder:
        """Load a folder of safetensors weights and a tokenizer.

        Args:
            path: the folder.
            device: where it is to run.
            rules: how it is run; None for as the folder's own files say.

        Raises:
            WeightsError: the folder does not hold a readable encoder.
        """
        from safetensors import SafetensorError

        rules = rules or read_rules(path)
        try:
            if (native := Bert.load(path, device)) is not None:
                return cls(native, load_tokenizer(path), rules)
            from transformers import AutoModel

            model, report = AutoModel.from_pretrained(
                path, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            tokenizer = load_tokenizer(path)
        except (OSError, ValueError, SafetensorError) as error:
            raise WeightsError(f"no readable sentence encoder in {path}: {error}") from error
        if model.config.is_encoder_decoder:
            raise WeightsError(f"no sentence encoder in {path}: it has a decoder, too")
        # A tensor under another name would be left random; the pooler is not used.
        if missing := sorted(n for n in report["missing_keys"] if not n.startswith("pooler.")):
            raise WeightsError(f"no readable sentence encoder in {path}: it has no {missing[0]}")
        return cls(model.to(device), tokenizer, rules)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, with the model's special tokens around it.

        What looks like a special token in a text is text; each is cut to `max_tokens`.
        """
        return self._text.framed(texts, self.max_tokens)

    def encode_queries(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors [B, E] of questions, each after its prefix; see `encode`."""
        return self.encode([self.rules.query_prefix + text for text in texts])

    def encode_documents(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors [B, E] of documents, each after its prefix; see `encode`.

        Products are computed in `documents_dtype`. In bfloat16 they take half of the time, and a
        vector is at most a hundredth off; one question is encoded as fast in float32.
        """
        half = self.documents_dtype != torch.float32
        with torch.autocast(self.model.device.type, self.documents_dtype, enabled=half):
            return self.encode([self.rules.document_prefix + text for text in texts])

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors [B, E], float32, in the order of the texts, with no prefix.

        Args:
            texts: any number of texts; each is cut to `max_tokens`.
        """
        device = self.model.device
        out = torch.empty(len(texts), self.size, device=device)
        if not texts:
            return out
        rows = self.tokenize(texts)
        for batch in length_batches([len(row) for row in rows], batch_tokens(device)):
            ids = pad_sequence([torch.tensor(rows[i], device=device) for i in batch], True)
            lengths = torch.tensor([len(rows[i]) for i in batch], device=device)
            mask = torch.arange(ids.shape[1], device=device) < lengths[:, None]
            hidden = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            out[batch] = self.pool(hidden, mask)
        return out

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return vectors [B, E] of token states [B, T, E]; `mask`, [B, T], is 0 for the padding.

        Padding stands on the right.
        """
        if self.rules.pooling == "mean":
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        else:
            last = mask.sum(1) - 1 if self.rules.pooling == "lasttoken" else 0
            pooled = hidden[torch.arange(len(hidden), device=hidden.device), last]
        return torch.nn.functional.normalize(pooled, dim=-1)
