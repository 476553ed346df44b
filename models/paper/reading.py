"""Turns texts into the input of an amortizer: token ids, or states of a frozen sentence encoder.

Letters: N texts, S input tokens, E width of the sentence encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.base.batching import batch_tokens, length_batches
from models.base.encoder import SentenceEncoder
from models.base.tokens import TextTokenizer, load_tokenizer
from models.errors import WeightsError
from models.paper.networks import Inputs

if TYPE_CHECKING:
    from models.base.tokens import AnyTokenizer

MAX_TOKENS = 512
"""The longest text; the rest is cut off. T5 was trained on no more."""


class Reader(Protocol):
    """Turns texts into an amortizer's inputs; it is not trained."""

    def read(self, texts: Sequence[str]) -> list[Tensor]:
        """Return a row for each text: token ids [S], or states [S, E]."""


class TokenReader:
    """Reads texts as token ids, with the special tokens that the tokenizer adds by itself."""

    def __init__(self, tokenizer: AnyTokenizer, device: torch.device) -> None:
        self._text, self.device = TextTokenizer(tokenizer), device

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> TokenReader:
        """Load a tokenizer from a folder.

        Raises:
            WeightsError: the folder holds none.
        """
        try:
            return cls(load_tokenizer(folder), device)
        except (OSError, ValueError) as error:
            raise WeightsError(f"no readable tokenizer in {folder}: {error}") from error

    def read(self, texts: Sequence[str]) -> list[Tensor]:
        """See `Reader.read`; int64 [S]."""
        rows = self._text.framed(texts, MAX_TOKENS)
        # An empty text is read as one token: there must be something to attend to.
        return [torch.tensor(row or [0], device=self.device) for row in rows]


class StateReader:
    """Reads texts as the token states of a frozen sentence encoder."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self.encoder = encoder

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> list[Tensor]:
        """See `Reader.read`; float32 [S, E]."""
        encoder, device = self.encoder, self.encoder.model.device
        ids = [torch.tensor(row, device=device) for row in encoder.tokenize(texts)]
        out = [torch.empty(0)] * len(ids)
        for batch in length_batches([len(row) for row in ids], batch_tokens(device)):
            inputs = collate([ids[i] for i in batch])
            states = encoder.model(
                input_ids=inputs.values, attention_mask=inputs.mask.long()
            ).last_hidden_state
            for i, row in zip(batch, states, strict=True):
                out[i] = row[: len(ids[i])]
        return out


def collate(rows: Sequence[Tensor]) -> Inputs:
    """Return rows [S] or [S, E] as a batch, padded on the right."""
    lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
    values = pad_sequence(list(rows), batch_first=True)
    places = torch.arange(values.shape[1], device=values.device)
    return Inputs(values, places < lengths[:, None])
