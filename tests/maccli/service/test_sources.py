from __future__ import annotations

import numpy as np

from maccli.service.sources import by_answer, by_attention, by_words

TEXT = "One is here. Two is there. Three."
SPANS = [(0, 3), (4, 6), (7, 12), (13, 16), (17, 19), (20, 26), (27, 33)]


def chosen(*mass: float) -> str | None:
    span = by_attention(TEXT, SPANS, np.array(mass, np.float32))
    return span and TEXT[span[0] : span[1]]


def test_the_sentence_with_most_attention() -> None:
    assert chosen(0, 0, 0, 1, 1, 0, 1.5) == "Two is there."
    assert chosen(0, 0, 0, 0, 0, 0, 1) == "Three."
    assert chosen(1, 0, 0, 0, 0, 0, 0) == "One is here."


def test_without_attention_there_is_no_telling() -> None:
    assert chosen(0, 0, 0, 0, 0, 0, 0) is None
    assert by_attention(TEXT, SPANS[:3], np.ones(7, np.float32)) is None
    assert by_attention(TEXT, [], np.ones(0, np.float32)) is None


def test_the_sentence_with_most_words_of_the_question() -> None:
    assert by_words(TEXT, "what is there") == (13, 26)
    assert by_words(TEXT, "zebra") == (0, 12)


def test_the_words_of_the_answer_decide_which_row_it_was() -> None:
    text = "Berth: A1; Price: 120\nBerth: B2; Price: 240\nLogs of berths are kept for 240 days."
    row = by_answer(text, "What is the price of a berth?", "240")
    assert row and text[slice(*row)] == "Berth: B2; Price: 240"
    assert by_answer(text, "What is the price of a berth?", "24") is None
    assert by_answer(text, "What?", "") is None
