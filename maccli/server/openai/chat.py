"""A conversation to a question, and an answer to the text and the sources of a reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from maccli.api import Answer, Passage, Source
from maccli.output import one_line
from maccli.server.problems import RequestError
from maccli.server.shapes import Message
from maccli.service.ask import is_excuse
from maccli.service.evidence import COUNTS
from maccli.service.sources import where

_SHOWN = 3
"""Sources in the list at a reply's end; those whose weight rounds to nothing are left out."""
_SENTENCE = 300
_MARKDOWN = re.compile(r"[\\`*_\[\]<>~|$#&!]")
_SOURCES = "\n\n**Sources**\n\n"
_PIECE = re.compile(r"\s*\S+|\s+$")


def conversation(messages: Sequence[Message]) -> tuple[str, list[tuple[str, str]]]:
    """Return the question that a conversation ends with, and the questions before it.

    That is the last message of the user; each question before it has its answer, "" if there was
    none.

    Raises:
        RequestError: there is none, or it holds something else than text.
    """
    asked = [i for i, message in enumerate(messages) if message.role == "user"]
    if not asked:
        raise RequestError(400, "invalid_request", "messages has no message of the role user.")
    question = _text(messages[asked[-1]])
    if not question.strip():
        raise RequestError(400, "invalid_request", "The question is empty.")
    history = []
    for this, following in pairwise(asked):
        replies = [m for m in messages[this:following] if m.role == "assistant"]
        answer = _answer(_text(replies[-1])) if replies else ""
        history.append((_text(messages[this]), answer))
    return question, history


def _text(message: Message) -> str:
    """Return the text of a message.

    Raises:
        RequestError: it holds something else.
    """
    content = message.content or ""
    if isinstance(content, list):
        if any(piece.type != "text" for piece in content):
            raise RequestError(400, "invalid_request", "Only text can be read, no pictures.")
        content = "\n".join(piece.text or "" for piece in content)
    return content


def _answer(reply: str) -> str:
    """Return the answer in a reply; "" if there was none, or a list of passages."""
    said = reply.partition(_SOURCES)[0].strip()
    return "" if is_excuse(said) or len(said) > _SENTENCE else said


def answer_text(answer: Answer) -> str:
    """Return an answer in Markdown; where there is none, what is known instead of it."""
    if not answer.abstained:
        return answer.answer
    if answer.outcome == "not sure" and answer.sources:
        shown = answer.sources if answer.request == "summary" else answer.sources[:1]
        quotes = (f"> {_said(source.text)}" for source in shown)
        return "\n\n".join([answer.excuse, *quotes])
    return answer.excuse


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
    return _SOURCES + "\n".join(lines) if shown else ""


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
