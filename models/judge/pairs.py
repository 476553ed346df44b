"""A question and a passage as the one sequence of tokens that a judge reads.

[CLS] question [SEP] context passage [SEP], where the context is the title and the headings above
the passage. Letters: B sequences, T tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.base.encoder import SentenceEncoder
from models.base.tokens import TextTokenizer

QUESTION_TOKENS, CONTEXT_TOKENS = 64, 32
"""Of a longer question or context only the last tokens are read."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with a passage, or with a part of a passage that is too long to be read at once.

    Attributes:
        ids: token ids.
        second: the index of the first token after the question.
        first: the index of the passage's first token.
        spans: the offsets (start, end) in the passage of each of its tokens.
    """

    ids: list[int]
    second: int
    first: int
    spans: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Inputs:
    """A batch of pairs.

    Attributes:
        ids: token ids, int64 [B, T].
        types: 0 in the question and 1 after it, int64 [B, T].
        real: bool [B, T], which tokens are not padding.
        passage: bool [B, T], which tokens are of the passage.
    """

    ids: Tensor
    types: Tensor
    real: Tensor
    passage: Tensor


class PairReader:
    """Turns texts into pairs with the tokenizer of a sentence encoder.

    Args:
        encoder: whose tokenizer; it must be one like BERT's, with [CLS] and [SEP].
        max_tokens: the most tokens of a pair.
    """

    def __init__(self, encoder: SentenceEncoder, max_tokens: int) -> None:
        tokenizer: Any = encoder.tokenizer
        self._text = TextTokenizer(tokenizer)
        self._begin, self._end = int(tokenizer.cls_token_id), int(tokenizer.sep_token_id)
        self._pad = int(tokenizer.pad_token_id)
        self.max_tokens = min(max_tokens, encoder.positions)

    def pairs(self, question: str, text: str, context: str = "") -> list[Pair]:
        """Return the question with the passage: one pair, or several that overlap by a half."""
        asked, above = self._text.ids([question, context])
        # What stands around the passage leaves it half of the room at least.
        asked = asked[-min(QUESTION_TOKENS, self.max_tokens // 4) :]
        above = above[-min(CONTEXT_TOKENS, self.max_tokens // 8) :]
        head = [self._begin, *asked, self._end]
        room = self.max_tokens - len(head) - len(above) - 1
        tokens, spans = self._text.placed(text)
        starts = range(0, max(1, len(tokens) - room // 2), max(1, room // 2))
        if len(tokens) <= room:
            starts = range(1)
        return [
            Pair(
                [*head, *above, *tokens[start : start + room], self._end],
                len(head),
                len(head) + len(above),
                spans[start : start + room],
            )
            for start in starts
        ]

    def inputs(self, pairs: Sequence[Pair], device: torch.device) -> Inputs:
        """Return pairs as a batch."""
        size = (len(pairs), max(len(pair.ids) for pair in pairs))
        ids = torch.full(size, self._pad)
        types = torch.zeros(size, dtype=torch.long)
        real, passage = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
        for row, pair in enumerate(pairs):
            length = len(pair.ids)
            ids[row, :length] = torch.tensor(pair.ids)
            types[row, pair.second : length] = 1
            real[row, :length] = True
            passage[row, pair.first : pair.first + len(pair.spans)] = True
        return Inputs(ids.to(device), types.to(device), real.to(device), passage.to(device))
