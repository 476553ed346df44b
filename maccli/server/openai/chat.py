"""A conversation to a question, and an answer to the text and the sources of a reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from maccli.api import Answer, Passage, Source
from maccli.output import one_line
from maccli.server.problems import RequestError
from maccli.server.shapes import Message
from maccli.service.evidence import COUNTS
from maccli.service.sources import excuse, where

_SHOWN = 3
"""Sources in the list at a reply's end; those whose weight rounds to nothing are left out."""
_SENTENCE = 300
_MARKDOWN = re.compile(r"[\\`*_\[\]<>~|$#&!]")
_PIECE = re.compile(r"\s*\S+|\s+$")


def question_of(messages: Sequence[Message]) -> str:
    """Return the question that a conversation ends with: the last message of the user.

    This is where the history of a conversation enters once `Mac.ask` takes one: the messages before
    it are read from here, and nowhere else.

    Raises:
        RequestError: there is none, or it holds something else than text.
    """
    last = next((message for message in reversed(messages) if message.role == "user"), None)
    if last is None:
        raise RequestError(400, "invalid_request", "messages has no message of the role user.")
    content = last.content
    if isinstance(content, list):
        if any(piece.type != "text" for piece in content):
            raise RequestError(400, "invalid_request", "Only text can be read, no pictures.")
        content = "\n".join(piece.text or "" for piece in content)
    if not content or not content.strip():
        raise RequestError(400, "invalid_request", "The question is empty.")
    return content


def answer_text(answer: Answer) -> str:
    """Return an answer in Markdown; where there is none, what is known instead of it."""
    if not answer.abstained:
        return answer.answer
    if answer.outcome == "not sure" and answer.sources:
        shown = answer.sources if answer.request == "summary" else answer.sources[:1]
        quotes = (f"> {_said(source.text)}" for source in shown)
        return "\n\n".join([excuse(answer.outcome, answer.request, answer.searched), *quotes])
    return excuse(answer.outcome, answer.request, answer.searched)


def passages_text(passages: Sequence[Passage]) -> str:
    """Return the passages of a search as a list in Markdown."""
    if not passages:
        return "Nothing found."
    lines = (
        f"{number}. **{_plain(where(passage))}**: {_plain(passage.text)}"
        for number, passage in enumerate(passages, 1)
    )
    return "\n".join(lines)


def sources_text(sources: Sequence[Source]) -> str:
    """Return the list of sources that a reply ends with; "" if there are none."""
    shown = [source for source in sources if source.weight >= COUNTS][:_SHOWN]
    lines = (
        f"{number}. {_plain(where(source))}: {_said(source.text)}"
        for number, source in enumerate(shown, 1)
    )
    return "\n\n**Sources**\n\n" + "\n".join(lines) if shown else ""


def pieces(text: str) -> list[str]:
    """Return a text cut before its words."""
    return _PIECE.findall(text)


def cited(found: Sequence[Source] | Sequence[Passage]) -> dict[str, Any]:
    """Return `citations` and `sources` of a reply, of the same length and in the same order."""
    return {"citations": list(map(where, found)), "sources": list(map(_source, found))}


def _source(found: Source | Passage) -> dict[str, Any]:
    """Return a source in the shape that Open WebUI shows."""
    if isinstance(found, Source):
        passage, sentence = found.passage, found.text
    else:
        passage, sentence = found.text, found.text[found.match_start : found.match_end]
    about = {name: getattr(found, name) for name in ("title", "heading", "place", "start", "end")}
    name = where(found)
    return {
        "source": {"id": found.source, "name": name},
        "document": [passage],
        "metadata": [{"source": name, "name": name, **about, "sentence": sentence}],
        "distances": [round(found.weight, 4)],
    }


def _said(text: str) -> str:
    """Return a sentence of a document on one line, shortened."""
    line = one_line(text).strip()
    return _plain(line if len(line) <= _SENTENCE else line[: _SENTENCE - 1] + "…")


def _plain(text: str) -> str:
    """Return text of a document as Markdown that shows it, and does nothing else."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(one_line(text).split()))
