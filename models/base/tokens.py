"""Texts to tokens: what stands in a text is text, and never one of the model's special tokens.

A document that contains `<|im_end|>` or `[SEP]` could end its own text else, and speak to the model
as if it were the user. Offsets (start, end) are always those of the text that was handed in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.base.native.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    AnyTokenizer = PreTrainedTokenizerBase | Tokenizer

_UNREADABLE = re.compile("[\0\ud800-\udfff]")
_MESSAGE = "\ue000"  # for private use: stands for a message in a chat template


def readable(text: str) -> str:
    """Return a text without what tokenizers fail on: lone surrogates and NULs become U+FFFD."""
    return _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def load_tokenizer(folder: Path) -> AnyTokenizer:
    """Return the tokenizer in a folder.

    Raises:
        OSError, ValueError: there is none, or it cannot be read.
    """
    if (native := Tokenizer.load(folder)) is not None:
        return native
    from transformers import AutoTokenizer

    tokenizer: AnyTokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer


class TextTokenizer:
    """Reads texts with a model's tokenizer.

    Args:
        tokenizer: a tokenizer that knows offsets ("fast").
    """

    def __init__(self, tokenizer: AnyTokenizer) -> None:
        self._tokenizer: Any = tokenizer
        added: dict[int, Any] = self._tokenizer.added_tokens_decoder
        special = {*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
        self._unknown: int | None = self._tokenizer.unk_token_id
        # Unknown words are tokens of it, too: it tells nothing unless it is written out.
        self._special = frozenset(special - {self._unknown})

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, without special tokens."""
        if not texts:
            return []
        texts = [readable(text) for text in texts]
        rows: list[list[int]] = self._encode(texts)["input_ids"]
        return [
            self._as_text(text)[0] if self._has_special(text, row) else row
            for text, row in zip(texts, rows, strict=True)
        ]

    def framed(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Return the token ids of each text between the special tokens that the model expects.

        Args:
            texts: any number of texts.
            max_tokens: where each is cut, its special tokens included.
        """
        before, after = self._frame
        most = max(0, max_tokens - len(before) - len(after))
        return [[*before, *row[:most], *after] for row in self.ids(texts)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the offsets (start, end) of each of the `ids` of a text."""
        return self.placed(text)[1]

    def placed(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the `ids` of a text and the offsets (start, end) of each."""
        return self._as_text(readable(text))

    def chat(self, message: str) -> list[int] | None:
        """Return a user's message in the model's chat template, up to where the answer begins.

        Returns:
            its token ids; None if the model has no chat template.
        """
        if self._tokenizer.chat_template is None:
            return None
        message = readable(message)
        own = self.ids([message])[0]
        if own == self._tokenizer(message, add_special_tokens=False)["input_ids"]:
            ids: list[int] = self._chat(message, return_dict=True)["input_ids"]
            return ids
        # It holds special tokens, which only the template may write.
        before, _, after = self._chat(_MESSAGE, tokenize=False).partition(_MESSAGE)
        sides = self._tokenizer([before, after], add_special_tokens=False)["input_ids"]
        return [*sides[0], *own, *sides[1]]

    def _chat(self, message: str, **how: bool) -> Any:
        messages = [{"role": "user", "content": message}]
        return self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, **how)

    def _encode(self, texts: Sequence[str], **more: bool) -> Any:
        return self._tokenizer(
            list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False, **more
        )

    def _has_special(self, text: str, row: Sequence[int]) -> bool:
        if not self._special.isdisjoint(row):
            return True
        return self._unknown in row and self._tokenizer.unk_token in text

    def _as_text(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the token ids of a readable text, and their offsets.

        Some tokenizers find special tokens although they are told not to (`</s>` is a word of T5's
        vocabulary): where one does, it is handed the text in two parts.
        """
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        pieces = [(0, len(text))]
        while pieces:
            first, last = pieces.pop()
            read = self._encode([text[first:last]], return_offsets_mapping=True)
            row: list[int] = read["input_ids"][0]
            places = [(first + start, first + end) for start, end in read["offset_mapping"][0]]
            cuts = [
                start + 1
                for token, (start, end) in zip(row, places, strict=True)
                if end - start > 1 and self._has_special(text[start:end], [token])
            ]
            if cuts:
                pieces.extend(reversed(list(pairwise([first, *cuts, last]))))
            else:
                ids += row
                spans += places
        return ids, spans

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer adds before and after a text by itself."""
        own: list[int] = self._encode(["a"])["input_ids"][0]
        whole: list[int] = self._tokenizer("a")["input_ids"]
        at = next(i for i in range(len(whole)) if whole[i : i + len(own)] == own)
        return whole[:at], whole[at + len(own) :]
