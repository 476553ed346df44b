"""Tokens that cannot come next in any text: bytes from the middle of a character.

Byte-level vocabularies have a token for every byte, and those for bytes that only continue a
character are hardly ever trained. After a prefix of keys and values one of them can win by
accident, and an answer would end in the middle of a name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from models.base.tokens import AnyTokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Characters:
    """What a vocabulary has of characters in UTF-8 that are spread over several tokens.

    Args:
        tokenizer: of a byte-level vocabulary, or of one that falls back to bytes; with any other,
            every token may come next.
    """

    def __init__(self, tokenizer: AnyTokenizer) -> None:
        self._parts = _parts(tokenizer)
        self._continuing = [i for i, part in self._parts.items() if 0x80 <= part[0] < 0xC0]
        self._breaking = frozenset(self._continuing)

    def choose(self, scores: Tensor, missing: int) -> int:
        """Return the most likely token that breaks no character.

        Args:
            scores: [vocabulary].
            missing: bytes that the last character still lacks.
        """
        token = int(scores.argmax())
        if missing or token not in self._breaking:
            return token
        scores = scores.clone()
        scores[self._continuing] = float("-inf")
        return int(scores.argmax())

    def choose_each(self, scores: Tensor, missing: Sequence[int]) -> list[int]:
        """Return `choose` for N sequences: scores [N, vocabulary], and what each lacks."""
        return [
            self.choose(row, lacking) if token in self._breaking else token
            for row, lacking, token in zip(scores, missing, scores.argmax(-1).tolist(), strict=True)
        ]

    def missing(self, before: int, token: int) -> int:
        """Return how many bytes the last character lacks after a token, given those before it."""
        for byte in self._parts.get(token, b"\0"):
            if 0x80 <= byte < 0xC0:
                before = max(0, before - 1)
            else:
                before = (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
        return before


def _parts(tokenizer: AnyTokenizer) -> dict[int, bytes]:
    """Return the bytes of every token that is not a whole number of characters."""
    parts: dict[int, bytes] = {}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    byte_level = "ByteLevel" in type(getattr(backend, "decoder", None)).__name__
    alphabet = _alphabet()
    for token, number in tokenizer.get_vocab().items():
        if fallback := _BYTE.fullmatch(token):
            data = bytes.fromhex(fallback[1])
        elif byte_level and not token.lstrip("\u0120\u010a").isascii():  # spaces, line ends
            data = bytes(alphabet.get(character, 0) for character in token)
        else:
            continue
        try:
            data.decode()
        except UnicodeDecodeError:
            parts[number] = data
    return parts


def _alphabet() -> dict[str, int]:
    """Return the byte that each character stands for in a byte-level vocabulary like GPT-2's."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    return {chr(b): b for b in shown} | {chr(256 + n): b for n, b in enumerate(others)}
