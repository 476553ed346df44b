"""Every prompt that a language model is given, as text, not as tokens.

A checkpoint is trained on these words: a change of one changes answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

INSTRUCTION = (
    "Answer the question with a few words taken from the text. Be brief, exact and correct.\n\n"
)
"""What the constant prefix tokens stand for before any training."""

FEW_SHOT = (
    "Answer the question from the text, with a few words of it.\n\n"
    "Text: The library of Oldbridge reopened in May; its repairs had cost 4 million euros.\n"
    "Question: How much did the repairs cost?\nAnswer: 4 million euros\n\n"
    "Text: Nadia Brandt took the silver medal behind Ines Kovar at the indoor finals in Lahti.\n"
    "Question: Who won the indoor finals?\nAnswer: Ines Kovar\n\n"
)
"""The worked examples of `rag`, invented so that no answer to a real question is in them."""


History = Sequence[tuple[str, str]]
"""Questions that were asked before, each with its answer, "" if it had none."""
_BEFORE = 300
"""The most characters of a question, or an answer, before a follow-up to them."""
_TITLE, _HEADING, _LEAD = 80, 160, 160
"""The most characters of each part of a context."""


def context(title: str | None, heading: str, lead: str) -> str:
    """Return what is read before a chunk, so that it can be understood alone; "" if nothing is.

    Each part is cut to a sane length; of a long heading path the innermost headings are kept.

    Args:
        title: of the document; not said again where the heading path begins with it.
        heading: the headings above the chunk, the outermost first: "Governance > Decisions".
        lead: the line that introduces the list in whose middle the chunk begins.
    """
    path = [words for part in heading.split(" > ") if (words := " ".join(part.split()))]
    name = " ".join((title or "").split())
    if path and path[0].casefold() == name.casefold():
        del path[0]
    while len(path) > 1 and len(" > ".join(path)) > _HEADING:
        del path[0]
    above = " > ".join(filter(None, (_cut(name, _TITLE), _cut(" > ".join(path), _HEADING))))
    lines = (above, _cut(" ".join(lead.split()), _LEAD))
    return "".join(f"{line}\n" for line in lines if line)


def in_context(texts: Sequence[str], contexts: Sequence[str]) -> list[str]:
    """Return each text after its context; just the texts where there are no contexts.

    Raises:
        ValueError: there is not a context for each text.
    """
    return [c + t for c, t in zip(contexts or [""] * len(texts), texts, strict=True)]


def _cut(text: str, most: int) -> str:
    """Return a text of one line, cut after its last whole word where it is too long."""
    return text if len(text) <= most else text[: most + 1].rpartition(" ")[0] or text[:most]


def following(history: History, question: str) -> str:
    """Return a follow-up after the last two of the questions that it follows up."""
    pairs = ((" ".join(q.split()), " ".join(a.split())) for q, a in history[-2:])
    before = (
        f"{_cut(q, _BEFORE)} {_cut(a, _BEFORE)}." if a else _cut(q, _BEFORE) for q, a in pairs
    )
    return " ".join((*before, question))


def question_prompt(question: str) -> str:
    """Return the question as the base LM reads it after a prefix; the answer follows."""
    return f"Question: {' '.join(question.split())}\nAnswer:"


def text_prompt(question: str, texts: Sequence[str]) -> str:
    """Return the question after its texts.

    The most relevant text, `texts[0]`, stands last: nearest to the question it is read best.
    """
    return f"{' '.join(reversed(texts))}\n{question_prompt(question)}"


def few_shot_text(text: str) -> str:
    """Return the worked examples and a text; any number of `question_prompt`s may follow."""
    return f"{FEW_SHOT}Text: {text}\n"


def few_shot_prompt(question: str, texts: Sequence[str]) -> str:
    """Return `text_prompt` after the worked examples."""
    return f"{FEW_SHOT}Text: {text_prompt(question, texts)}"


_WRITE = (
    "Write a question to which the answer is given in the text. Name whom and what it is about.\n\n"
)
QUESTION_EXAMPLES: Mapping[str, str] = {
    "date": _WRITE + "Text: The Harrow Line, 31 miles long, was opened by Queen Edda in 1874.\n"
    "Answer: 1874\nQuestion: When did Queen Edda open the Harrow Line?\n\n"
    "Text: On 4 May 2009, Oldbridge was hit by the storm Tilda, and its harbour had to close.\n"
    "Answer: 4 May 2009\nQuestion: When did the storm Tilda hit Oldbridge?\n\n"
    "Text: The library in Dorvik burned down in March 1961, and with it the town's charter.\n"
    "Answer: March 1961\nQuestion: When did the library in Dorvik burn down?\n\n",
    "number": _WRITE + "Text: The repairs of the Oldbridge library cost $4 million in the end.\n"
    "Answer: $4 million\nQuestion: How much did the repairs of the Oldbridge library cost?\n\n"
    "Text: The Harrow Line has 31 stations, and was opened by Queen Edda in 1874.\n"
    "Answer: 31 stations\nQuestion: How many stations does the Harrow Line have?\n\n"
    "Text: In 2011, 12% of the people in Dorvik worked for the Salm company.\n"
    "Answer: 12%\nQuestion: What percentage of the people in Dorvik worked for Salm in 2011?\n\n",
    "name": _WRITE
    + "Text: Nadia Brandt took silver behind Ines Kovar at the indoor finals in Lahti.\n"
    "Answer: Ines Kovar\nQuestion: Who beat Nadia Brandt at the indoor finals in Lahti?\n\n"
    "Text: Since 1961 the Salm company has been making boats in Dorvik.\n"
    "Answer: Dorvik\nQuestion: In which town does the Salm company make boats?\n\n"
    "Text: The Blue Heron, a novel by Per Aske, was awarded the Ashgrove Prize in 2011.\n"
    "Answer: Ashgrove Prize\nQuestion: Which prize did the novel The Blue Heron win in 2011?\n\n",
}
"""For each kind of answer, how the base LM is shown to write a question to it."""


def question_request(sentence: str, answer: str, start: str) -> str:
    """Return what asks the base LM, after `QUESTION_EXAMPLES`, for a question.

    Args:
        sentence: what the question is about.
        answer: the words of the sentence that answer it.
        start: how the question begins, with a space in front; may be empty.
    """
    return f"Text: {sentence}\nAnswer: {answer}\nQuestion:{start}"
