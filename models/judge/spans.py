"""Which words of a passage may be an answer: no half word, no mark-up at the ends, one table cell.

A span is the offsets (start, end) of characters in a passage.
"""

from __future__ import annotations

import re

Span = tuple[int, int]

_INSIDE = re.compile(r"\w\w|\d[.,]\d")
"""What is not cut: a word, a number with its decimals."""
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_NAME = r"[^\n:;]{1,60}: "
_RECORD = re.compile(rf"^{_NAME}[^\n]*?; {_NAME}[^\n]*\n?", re.MULTILINE)
"""A row of a table, as files are read: "Item: lamp; Price: 6.25"."""
_NAME_IN_RECORD = re.compile(rf"(?:^|; ){_NAME}|\n")
_MARKS, _QUOTES = " \t\n\r*_|:,;", "`\"'“”\u2018\u2019"
_BRACKETS = dict(zip("()[]{}<>", ")(][}{><", strict=True))
"""Each with its other half."""


def boundaries(text: str) -> list[Span]:
    """Return what no answer reaches across: blank lines, and in rows of a table the column names.

    So an answer out of a row is a single cell.
    """
    found = [blank.span() for blank in _BLANK_LINE.finditer(text)]
    for record in _RECORD.finditer(text):
        begin = record.start()
        names = _NAME_IN_RECORD.finditer(record.group())
        found += [(begin + name.start(), begin + name.end()) for name in names]
    return found


def crosses(span: Span, between: list[Span]) -> bool:
    """Return whether a span reaches into one of the `boundaries`."""
    return any(start < span[1] and end > span[0] for start, end in between)


def tidied(text: str, start: int, end: int) -> Span:
    """Return a span widened to whole words, then without space, quotes and mark-up at its ends.

    A quote or bracket stays where its other half is in the span, too.
    """
    while _is_inside(text, start):
        start -= 1
    while _is_inside(text, end):
        end += 1
    while start < end:
        inner = text[start:end]
        if _is_around(inner, inner[0]):
            start += 1
        elif inner[-1] == "." or _is_around(inner, inner[-1]):
            end -= 1
        else:
            break
    return start, end


def _is_inside(text: str, place: int) -> bool:
    """Return whether a cut at this place would be one through a word or a number."""
    return any(
        0 <= first < place < last <= len(text) and bool(_INSIDE.fullmatch(text[first:last]))
        for first, last in ((place - 1, place + 1), (place - 1, place + 2), (place - 2, place + 1))
    )


def _is_around(text: str, mark: str) -> bool:
    """Return whether the character at one end of a text is not part of what it says.

    So is a quote without the other, or around all of the text; and a bracket without its other
    half.
    """
    if mark in _QUOTES:
        return text.count(mark) % 2 == 1 or text[0] == text[-1]
    if mark in _BRACKETS:
        return text.count(mark) > text.count(_BRACKETS[mark])
    return mark in _MARKS
