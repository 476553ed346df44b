from __future__ import annotations

import random
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.chunking import Chunk, sentences, split

LINES = ["```", "~~~~", "- a", "  - b:", "1. c", "a: b", "a: b; c: d.", "| a |", "a\tb"]
LINES += ["x:", "# h", "", "", "A b. C d.", "---", "word " * 9]


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def octets(texts: Sequence[str]) -> list[int]:
    return [len(text.encode("utf-8", "surrogatepass")) for text in texts]


def shown(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. It poured!  Did it? Yes.", ["It rained.", "It poured!", "Did it?", "Yes."]),
        ("Mr. Smith met Dr. Jones. They ate.", ["Mr. Smith met Dr. Jones.", "They ate."]),
        ("The U.S. economy grew 3.5 percent.", ["The U.S. economy grew 3.5 percent."]),
        (
            "He lives in the U.S. The weather is fine.",
            ["He lives in the U.S.", "The weather is fine."],
        ),
        ("Fruit, e.g. apples, i.e. food. Good.", ["Fruit, e.g. apples, i.e. food.", "Good."]),
        ("J. R. R. Tolkien wrote it. It sold.", ["J. R. R. Tolkien wrote it.", "It sold."]),
        ("See No. 5 on p. 12. Then stop.", ["See No. 5 on p. 12.", "Then stop."]),
        (
            "Apple Inc. said so. Apple Inc. The end.",
            ["Apple Inc. said so.", "Apple Inc.", "The end."],
        ),
        ("“Stop!” he said. She left.", ["“Stop!” he said.", "She left."]),
        ('He said "no." Then he went.', ['He said "no."', "Then he went."]),
        ("Wait ... what? Well… Fine.", ["Wait ... what?", "Well…", "Fine."]),
        ("Go to example.com now. Bye.", ["Go to example.com now.", "Bye."]),
        ("# A title. Long\ntext here\n\nmore", ["# A title. Long", "text here", "more"]),
        ("Things:\n- one\n- two\n1. three", ["Things:", "- one", "- two", "1. three"]),
        (
            "今日は晴れ。明日は雨！本当？「はい。」終",
            ["今日は晴れ。", "明日は雨！", "本当？", "「はい。」", "終"],
        ),
        ("यह एक है। वह दो है।", ["यह एक है।", "वह दो है।"]),
        ("hard\nwrapped line. next\none.", ["hard\nwrapped line.", "next\none."]),
        ("It ended in 1999. Then 2000 came.", ["It ended in 1999.", "Then 2000 came."]),
        ("first\r\n\r\nsecond", ["first", "second"]),
        ("Rules:\n(a) one\nb) two\n– three", ["Rules:", "(a) one", "b) two", "– three"]),
        ("Nach § 7 Abs. 3 gilt das. Ja.", ["Nach § 7 Abs. 3 gilt das.", "Ja."]),
        ("  \n\t ", []),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert shown(text) == expected


def test_whole_sentences_are_packed() -> None:
    text = "One two three. Four five. Six seven eight nine. Ten."
    chunks = split(text, words, 5)
    assert [chunk.text for chunk in chunks] == [
        "One two three. Four five.",
        "Six seven eight nine. Ten.",
    ]
    assert [chunk.tokens for chunk in chunks] == [5, 5]


def test_a_chunk_half_full_ends_at_the_paragraph() -> None:
    text = "a b c d e f. g.\n\nh i. j k l m n o."
    assert [chunk.text for chunk in split(text, words, 10)] == [
        "a b c d e f. g.",
        "h i. j k l m n o.",
    ]
    # Less than half full: the paragraph break is not worth it
    text = "a b.\n\nc d e. F g h i j k."
    assert [chunk.text for chunk in split(text, words, 10)] == ["a b.\n\nc d e.", "F g h i j k."]


def test_a_heading_stays_with_its_text() -> None:
    text = "a b c d.\n\n# Heading\n\ne f g h i j."
    assert [chunk.text for chunk in split(text, words, 8)] == [
        "a b c d.",
        "# Heading\n\ne f g h i j.",
    ]


def test_a_long_sentence_is_cut_between_words_and_a_long_word_anywhere() -> None:
    text = "word " * 50 + "x" * 100 + " end."
    chunks = split(text, octets, 20)
    assert all(chunk.tokens <= 20 for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks).replace(" ", "") == text.replace(" ", "")
    assert all(not chunk.text.endswith("wor") for chunk in chunks)


def test_what_does_not_add_up_is_split_again() -> None:
    def superadditive(texts: Sequence[str]) -> list[int]:
        return [len(text.split()) ** 2 for text in texts]

    text = "One two. Three four. Five six. Seven eight nine ten eleven."
    chunks = split(text, superadditive, 9)
    assert all(chunk.tokens <= 9 for chunk in chunks)
    assert " ".join(chunk.text for chunk in chunks).split() == text.split()


def test_tokens_are_counted_in_few_calls() -> None:
    calls = 0

    def counting(texts: Sequence[str]) -> list[int]:
        nonlocal calls
        calls += 1
        return words(texts)

    split("A sentence of six words here. " * 2000, counting, 50)
    assert calls <= 3


def test_no_chunk_spans_a_wide_gap() -> None:
    text = "a b" + " " * 500 + "c d"
    assert split(text, octets, 50) == [Chunk(0, 3, "a b", 3), Chunk(503, 506, "c d", 3)]


def test_a_character_that_is_too_much_alone_is_kept() -> None:
    assert [chunk.text for chunk in split("😀😀", octets, 2)] == ["😀", "😀"]


def test_max_tokens_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="not 0"):
        split("a", words, 0)


@given(
    st.text(alphabet="ab .!?\n#-1。\"'", max_size=200)
    | st.lists(st.sampled_from(LINES), max_size=20).map("\n".join)
    | st.text(max_size=60),
    st.integers(1, 30),
    st.lists(st.integers(0, 200), max_size=5).map(sorted),
)
def test_chunks_cover_the_text_in_order(text: str, max_tokens: int, breaks: list[int]) -> None:
    chunks = split(text, octets, max_tokens, breaks)
    position = 0
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end] == chunk.text.strip() != ""
        assert text[position : chunk.start].strip() == ""
        assert chunk.tokens <= max_tokens or len(chunk.text) == 1
        position = chunk.end
    assert text[position:].strip() == ""


@pytest.mark.parametrize(
    "unit",
    [
        *["x", "word ", ".", ". ", " ", "\n", "a.", "# ", "。", "\n \n", "Mr. ", '."'],
        *["```\n", "````\n```\n", "~~~\n\n", "- a\n", "a: b\n", "| a |\n", "a\tb\n", "a:\n"],
        *["; ", "a: b; ", "a\n---\n\n", "\t- a\n\n", "```\na\n```\n"],
    ],
)
def test_work_is_linear(unit: str) -> None:
    """Twenty times the text means about twenty times the executed lines and counted characters."""

    def work(length: int) -> tuple[int, int]:
        text, lines, characters = (unit * length)[:length], 0, 0

        def trace(*_: object) -> object:
            nonlocal lines
            lines += 1
            return trace

        def count(texts: Sequence[str]) -> list[int]:
            nonlocal characters
            characters += sum(map(len, texts))
            return [len(text) // 4 + 1 for text in texts]

        before = sys.gettrace()
        sys.settrace(trace)  # type: ignore[arg-type]
        try:
            split(text, count, 160)
        finally:
            sys.settrace(before)
        return lines, characters

    for small, large in zip(work(2_000), work(40_000), strict=True):
        assert large < 30 * small + 1000


def test_realistic_text_keeps_chunks_well_filled() -> None:
    generator = random.Random(1)
    text = " ".join(
        " ".join(
            "w" * generator.randint(2, 9) for _ in range(generator.randint(4, 20))
        ).capitalize()
        + "."
        for _ in range(500)
    )
    chunks = split(text, words, 120)
    assert sum(chunk.tokens for chunk in chunks[:-1]) / len(chunks[:-1]) > 100
