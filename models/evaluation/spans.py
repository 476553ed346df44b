"""Finds possible answers in a text by rules: dates, numbers with what they count, names.

There is no tagger and no model: the same text gives the same spans on every machine. The rules know
English months and how Western names are written; a text without capital letters has no names.
"""

# ruff: noqa: RUF001 - quotation marks and dashes are meant as they stand
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from models.text.sentences import word_set

Kind = Literal["date", "number", "name"]


_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_YEAR = r"(?:1[0-9]|20)\d\d"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = re.compile(
    rf"(?<![\w–-])(?:{_MONTH} {_DAY},? {_YEAR}|{_DAY} {_MONTH} {_YEAR}|{_MONTH},? {_YEAR}"
    rf"|{_MONTH} \d{{1,2}}\b(?!,?\d)|\d{{1,2}} {_MONTH}|{_YEAR}(?![\d,.]\d|s|['’]s))\b(?![–-])"
)
_SCALE = "(?:hundred|thousand|million|billion|trillion|per ?cent)"
_NUMBER = re.compile(
    r"(?<![\w.,–-])(?:[$€£¥] ?)?\d+(?:,\d{3})*(?:\.\d+)?"
    rf"(?: ?%|°[CF]?|(?: {_SCALE})?(?: (?:[a-z]+[a-z-]* )?[a-z]+s\b)?)(?![\w–-]|[.,]\d)"
)
_BARE = re.compile(rf"[$€£¥]? ?[\d,.]+(?: ?%|°[CF]?| {_SCALE}\b)?")
_WORD = r"(?:(?:[A-Z]\.){2,}|[^\W\d_a-z][\w'’&-]*(?:\.(?=[^\W\d_a-z]))?)"
_NAME = re.compile(
    rf"(?<![\w.])(?:{_WORD})(?: (?:(?:of|the|de|la|van|von|der|du|di|al|and the|of the) )?"
    rf"(?:{_WORD}))*(?!\w)"
)
# Words that are capitalised for their place or kind, not because they name something.
_NO_NAMES = word_set(
    "the a an this that these those he she it they we i you his her its their our my your in on at "
    "by for from with after before when while where as if but and so or nor yet however although "
    "though since because there here what who whom which why how one two three some many most all "
    "both each other another during under over then now not also according meanwhile moreover "
    "january february march april may june july august september october november december monday "
    "tuesday wednesday thursday friday saturday sunday mr mrs ms dr prof sir yes no only such "
    "despite until upon unlike like several few more today later thus between among through to "
    "first second third instead even once early late"
)
_ARTICLE = re.compile(r"(?:The|A|An) (?=\S)")


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text that may be an answer: `text == document[start:end]`."""

    start: int
    end: int
    text: str
    kind: Kind

    @property
    def answers(self) -> tuple[str, ...]:
        """The text, and for a number also the number without what it counts."""
        if self.kind == "number" and (bare := _BARE.match(self.text)):
            return tuple(dict.fromkeys((self.text, bare[0].strip())))
        return (self.text,)


def spans(text: str) -> list[Span]:
    """Return the dates, numbers and names in a sentence, in its order; none overlap.

    A number of one digit is taken only with what it counts ("3 days"). The beginning of the
    sentence is a name only if it has two words or is in `text` again, capitalised.
    """
    out = [Span(m.start(), m.end(), m.group(), "date") for m in _DATE.finditer(text)]
    for match in _NUMBER.finditer(text):
        bare = match.group().strip()
        if not (len(bare) == 1 or _inside(match.start(), out)):
            out.append(Span(match.start(), match.start() + len(bare), bare, "number"))
    for match in _NAME.finditer(text):
        start, name = match.start(), match.group()
        if article := _ARTICLE.match(name):
            start, name = start + article.end(), name[article.end() :]
        name = re.sub(r"['’]s?$", "", name)
        words = name.split()
        if all(word.lower().rstrip(".") in _NO_NAMES for word in words) or _short(name):
            continue
        if words[0].lower() in _NO_NAMES or _inside(start, out):
            continue
        begins = not text[:start].strip(" \"'“‘(") or article is not None
        if begins and len(words) == 1 and text.count(name) < 2:
            continue
        out.append(Span(start, start + len(name), name, "name"))
    return sorted(out, key=lambda span: span.start)


def names_something(text: str) -> bool:
    """Return whether a question has a name or a date in it, not counting its first word."""
    _, _, rest = text.partition(" ")
    return any(span.kind != "number" for span in spans(f". {rest}"))


def _short(name: str) -> bool:
    return len(name) < (2 if name.isupper() else 3)


def _inside(place: int, taken: list[Span]) -> bool:
    return any(span.start <= place < span.end for span in taken)
