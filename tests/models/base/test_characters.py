from __future__ import annotations

from typing import Any

import torch

from models.base.characters import Characters


def test_bytes_of_characters_are_known_token_by_token(tiny_llama: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    characters = Characters(tokenizer)
    for text, left in (("Grün 東京 😀.", 0), ("plain", 0)):
        missing = 0
        for token in tokenizer(text)["input_ids"]:
            missing = characters.missing(missing, token)
            whole = "\N{REPLACEMENT CHARACTER}" not in tokenizer.decode([token])
            assert missing == 0 or not whole
        assert missing == left
    first, second, *_ = tokenizer("é")["input_ids"]
    assert characters.missing(0, first) == 1
    assert characters.missing(1, second) == 0


def test_the_middle_of_a_character_is_chosen_only_inside_one(tiny_llama: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    characters = Characters(tokenizer)
    first, second = tokenizer("é")["input_ids"]
    (letter,) = tokenizer("x")["input_ids"]
    scores = torch.zeros(len(tokenizer))
    scores[second], scores[letter], scores[first] = 3.0, 2.0, 1.0
    assert characters.choose(scores, 0) == letter
    assert characters.choose(scores, 1) == second
    scores[first] = 4.0
    assert characters.choose(scores, 0) == first
    assert scores[second] == 3.0
    scores[first] = 1.0
    assert characters.choose_each(torch.stack([scores, scores]), [0, 1]) == [letter, second]


class Vocabulary:
    def __init__(self, *tokens: str) -> None:
        self.tokens = tokens

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}


def test_vocabularies_that_fall_back_to_bytes_and_others() -> None:
    characters = Characters(Vocabulary("a", "<0xC3>", "<0xA9>", "é", "<0x41>"))  # type: ignore[arg-type]
    assert [characters.missing(0, token) for token in range(5)] == [0, 1, 0, 0, 0]
    assert characters.choose(torch.tensor([1.0, 0, 2, 0, 0]), 0) == 0
    words = Characters(Vocabulary("a", "\u00a9", "\u0120b"))  # type: ignore[arg-type]
    assert words.choose(torch.tensor([1.0, 2, 0]), 0) == 1
