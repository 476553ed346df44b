"""Passages, answers and documents as text for a language model, or for the one who reads along.

A quotation has "> " before each line, or is indented, so that nothing in a document can look like
the words of this program, and has nothing in it that cannot be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from maccli.api import Source
from maccli.output import clean, count, escaped, one_line
from maccli.service.evidence import COUNTS
from maccli.service.sources import where
from store.marks import Mark, in_words

if TYPE_CHECKING:
    from maccli.api import Answer, Document, Passage
    from store.records import ChunkRow

_MOST_SOURCES = 3


def quoted(text: str, before: str = "> ") -> str:
    """Return a text of a document with `before` in front of each line."""
    return "\n".join(f"{before}{line}" for line in clean(text).split("\n"))


def quotation(found: Passage | Source) -> str:
    """Return a passage: where it is from, how relevant it is, and its words."""
    title = found.title if found.title and found.title not in found.heading else ""
    place = in_words(Mark(0, found.heading, found.place))
    if isinstance(found, Source):
        text, numbers = found.passage, f"weight {found.weight:.2f}"
    else:
        text, numbers = found.text, f"score {found.score:.2f}, weight {found.weight:.2f}"
    lines = [f"Document: {escaped(found.source)}"]
    if title:
        lines.append(f"Title: {one_line(title)}")
    lines.append(f"Place: {one_line(place)} ({numbers})" if place else f"Relevance: {numbers}")
    if found.also:
        lines.append(f"Also in: {'; '.join(escaped(other.source) for other in found.also[:3])}")
    if found.stale:
        lines.append(f"This is an older version of the file, which {one_line(found.stale)} now.")
    return "\n".join([*lines, quoted(text)])


def passages_text(passages: Sequence[Passage]) -> str:
    """Return the passages of a search, numbered, the most relevant first."""
    if not passages:
        return "Nothing found: no document has these tags and dates."
    head = f"{count(len(passages), 'passage')}, the most relevant first."
    return "\n\n".join([head, *_numbered(map(quotation, passages))])


def answer_text(answer: Answer) -> str:
    """Return an answer with its outcome, its probability and its sources."""
    lines = [f"Outcome: {answer.outcome}"]
    if answer.answer:
        lines.append(f"Answer: {one_line(answer.answer)}")
    if answer.probability is not None:
        what = "it is right" if answer.answer else "the model's answer, not given, is right"
        lines.append(f"Probability that {what}: {answer.probability:.2f}")
    if answer.free:
        lines.append("The answer is in the model's own words: no passage says it.")
    if answer.outcome == "nothing relevant":
        lines.append(answer.excuse)
    sources = _best(answer)
    if sources:
        lines.append(f"\n{_heading(answer, len(sources))}")
    return "\n\n".join(["\n".join(lines), *_numbered(map(quotation, sources))])


def answer_for_people(answer: Answer) -> tuple[str, str]:
    """Return an answer as `mac ask` writes it: the answer, or why there is none; and its source."""
    sources = _best(answer)[:1]
    said = answer.answer or "Not sure."
    if answer.outcome == "nothing relevant":
        said = answer.excuse
    if not sources:
        return said, ""
    heading = _heading(answer, 1)
    if answer.answer and answer.probability is not None:
        words = "In its own words, " if answer.free else ""
        heading = f"{words}{100 * answer.probability:.0f} % sure. {heading}"
    (source,) = sources
    return said, f"{heading}\n  {where(source)}\n{quoted(source.passage, '    ')}"


def document_text(document: Document, chunks: Sequence[ChunkRow]) -> str:
    """Return the text of a document, put together from its chunks.

    A character stands where it stood in the document. The store does not keep the space between
    chunks, so line ends stand for it; what has not been amortized yet is named in its place.
    """
    parts: list[str] = []
    end, position = 0, 0
    for chunk in chunks:
        gap = max(0, chunk.start - end)
        if chunk.position > position:
            parts.append(_missing(gap))
        else:
            parts.append("\n" * min(gap, 2) + " " * (gap - 2))
        parts.append(chunk.text)
        end, position = chunk.end, chunk.position + 1
    if position < document.expected:
        parts.append(_missing(document.characters - end))
    return "".join(parts)


def document_line(document: Document) -> str:
    """Return one line on a document: its name, its title and what else there is to say."""
    more = [count(document.characters, "character")]
    if document.date:
        more.append(document.date)
    if document.tags:
        more.append(f"tags: {', '.join(document.tags)}")
    if document.partial:
        more.append(f"{100 * document.chunks // document.expected} % of it amortized")
    if document.stale:
        more.append("an older version of its file")
    title = f" ({one_line(document.title)})" if document.title else ""
    return f"{escaped(document.source)}{title}: {', '.join(more)}"


def _missing(characters: int) -> str:
    return f"\n[{count(characters, 'character')} not in the store yet]\n"


def _best(answer: Answer) -> list[Source]:
    """Return the sources worth showing: first the one that says the answer.

    What stands for a summary is shown whole.
    """
    if answer.request == "summary":
        return answer.sources
    sources = sorted(answer.sources, key=lambda source: source.marked is None)
    return [*sources[:1], *(s for s in sources[1:_MOST_SOURCES] if s.weight >= COUNTS)]


def _heading(answer: Answer, number: int) -> str:
    many = "s" if number > 1 else ""
    if answer.outcome == "answer":
        return f"Source{many}:"
    if answer.request is not None:
        return answer.excuse
    if answer.outcome == "not sure":
        return f"{'These' if many else 'This'} passage{many} may hold it:"
    return f"Nearest passage{many}:"


def _numbered(texts: Iterable[str]) -> list[str]:
    return [f"Passage {number}\n{text}" for number, text in enumerate(texts, 1)]
