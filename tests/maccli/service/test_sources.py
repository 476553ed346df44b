from __future__ import annotations

import re

import numpy as np

from maccli.reading.items import Piped
from maccli.service.evidence import Evidence
from maccli.service.ingest import ingest
from maccli.service.session import Session
from maccli.service.sources import SECTIONS, by_answer, by_attention, by_words, outline

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


def test_an_outline_has_the_first_sentence_of_each_paragraph(opened: Session) -> None:
    text = (
        "# Rules of the house\n\n5 May 2026\n\n"
        "The door is shut at ten at night. Keys are with Ida.\n\n"
        "Nobody parks in the yard, ever. It is too small."
    )
    ingest(opened, [Piped(text.encode(), "rules.md")])
    sources = outline(opened.require_store(), Evidence("Summarise rules.md"), relevant=False)
    assert [(source.text, source.place) for source in sources] == [
        ("The door is shut at ten at night.", "line 5"),
        ("Nobody parks in the yard, ever.", "line 7"),
    ]


def test_an_outline_of_a_long_document_has_the_first_sentence_of_each_heading(
    opened: Session,
) -> None:
    parts = [
        f"# Part {n}\n\nThis is what part {n} says.\n\nAnd this is what follows there."
        for n in range(1, 31)
    ]
    ingest(opened, [Piped("\n\n".join(parts).encode(), "long.md")])
    store = opened.require_store()
    sources = outline(store, Evidence("Summarise long.md"), relevant=False)
    assert len(sources) == SECTIONS
    assert all(re.fullmatch(r"This is what part \d+ says\.", s.text) for s in sources)
    assert sources[0].text == "This is what part 1 says."
    assert not outline(store, Evidence("Summarise it"), relevant=False)
