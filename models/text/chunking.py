"""Cut a text into chunks of whole sentences, with character offsets.

A chunk is what the paper (arXiv 2403.04317) calls a document: the piece of text that becomes one
modulation. This module knows nothing of tokenizers or tensors: the caller hands in a function that
counts tokens. Everything here is linear in the length of the text, whatever the text is made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from models.text.layout import Kind, Lists, blocks
from models.text.sentences import HEADING, sentences, skip_space

__all__ = ["VERSION", "Chunk", "CountTokens", "sentences", "split"]

VERSION = "sentence-2"
"""Names these rules; stored with every document, so that a change of rules is noticed."""

CountTokens = Callable[[Sequence[str]], list[int]]

_WIDE = 64
"""A chunk ends where so much space stands in the text."""
_BLANK_LINE = re.compile(r"\n[ \t\r\f\v]*+\n")
_UP_TO_LAST_SPACE = re.compile(r".*\s", re.DOTALL)
_COLONS = ":\N{FULLWIDTH COLON}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `text == document[start:end]`, without space around it."""

    start: int
    end: int
    text: str
    tokens: int  # as counted by the caller
    lead: str = ""  # the line that introduces the list in whose middle it begins


class _Begins(IntEnum):
    """What begins with a unit."""

    NOTHING = 0
    PARAGRAPH = 1
    PART = 2


@dataclass(slots=True)
class _Unit:
    """The smallest thing packed.

    It is a sentence, a row or a block of code; or a piece of one that is too long for a chunk.
    """

    start: int
    end: int
    tokens: int
    begins: _Begins = _Begins.NOTHING
    lead: str = ""  # what introduces the list that it is in
    introduces: bool = False  # what follows: no chunk should end with it
    torn: bool = False  # a wide gap stands before it: it must begin a chunk


def split(
    text: str, count_tokens: CountTokens, max_tokens: int, breaks: Sequence[int] = ()
) -> list[Chunk]:
    """Split `text` into chunks of at most `max_tokens` tokens, covering everything but space.

    Whole sentences, rows of tables and blocks of code are packed greedily. A chunk that is at least
    a quarter full rather ends where a part of the document does (a heading begins one, too) than in
    the middle of the next part, one that is half full likewise with paragraphs. Headings, and lines
    that introduce something, stay with what follows. Only what is longer than `max_tokens` is cut:
    at line ends, else between words, else anywhere; a single character is never cut, so only its
    chunk can exceed `max_tokens`.

    Args:
        text: the document.
        count_tokens: counts the tokens of each string; called a few times a document, with many
            strings each time.
        max_tokens: the most tokens a chunk may have.
        breaks: offsets at which a part of the document begins, such as a page or a message, in
            order: chunks rather end there.

    Raises:
        ValueError: `max_tokens` is less than 1.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
    units = _units(text, count_tokens, max_tokens, breaks)
    pending = _pack(units, max_tokens)
    done: list[Chunk] = []
    # The counts of sentences do not add up exactly to that of their chunk: halve what is too long.
    while pending:
        spans = [(group[0].start, group[-1].end) for group in pending]
        counts = count_tokens([text[start:end] for start, end in spans])
        too_long: list[list[_Unit]] = []
        for group, (start, end), tokens in zip(pending, spans, counts, strict=True):
            if tokens <= max_tokens or end - start == 1:
                done.append(Chunk(start, end, text[start:end], tokens, group[0].lead))
            else:
                too_long.extend(_halves(text, group))
        pending = too_long
    done.sort(key=lambda chunk: chunk.start)
    return done


def _units(
    text: str, count_tokens: CountTokens, max_tokens: int, breaks: Sequence[int]
) -> list[_Unit]:
    """Return the units of `text`; each fits into a chunk if it can."""
    units: list[_Unit] = []
    lists = Lists()
    previous, ahead = 0, 0  # the end of the last unit, and the first of the breaks after it
    before: Kind = "text"
    for start, end, kind, tokens in _counted(text, count_tokens, max_tokens, breaks):
        gap, unit = text[previous:start], text[start:end]
        lead = lists.follow(gap if units else f"\n{gap}", unit, kind)
        if lists.begins:
            units[-1].introduces = True
        heading = kind == "text" and HEADING.match(unit) is not None
        part = heading
        while ahead < len(breaks) and breaks[ahead] <= start:
            part, ahead = True, ahead + 1
        begins = _Begins.NOTHING
        if not (units and units[-1].introduces):  # else it belongs to that
            blank = _BLANK_LINE.search(gap) is not None
            begins = _Begins.PART if part else _Begins(blank)
        fence = kind == "code" and before != "code" and "\n" not in unit
        introduces = heading or fence or unit[-1] in _COLONS
        units.append(_Unit(start, end, tokens, begins, lead, introduces, len(gap) >= _WIDE))
        previous, before = end, kind
    return units


def pieces(text: str) -> list[tuple[int, int]]:
    """Return the spans (start, end) of the sentences, rows and blocks of code of a text."""
    return [(start, end) for start, end, _ in _spans(text, ())]


def _spans(text: str, breaks: Sequence[int]) -> Iterator[tuple[int, int, Kind]]:
    """Yield the sentences, rows and blocks of code of `text`; none goes on after a break."""
    ahead = 0
    for first, last, kind in blocks(text):
        for start, end in sentences(text, first, last) if kind == "text" else [(first, last)]:
            bounds = [start]
            while ahead < len(breaks) and breaks[ahead] < end:
                if breaks[ahead] > start:
                    bounds.append(breaks[ahead])
                ahead += 1
            for part in pairwise([*bounds, end]):
                begin, stop = _strip(text, *part)
                if begin < stop:
                    yield begin, stop, kind


def _counted(
    text: str, count_tokens: CountTokens, max_tokens: int, breaks: Sequence[int]
) -> list[tuple[int, int, Kind, int]]:
    """Return the spans of `text` with their tokens, cut into pieces where they are too long."""
    # Hardly anything of so many characters fits: it is cut unseen, so that no tokenizer gets a
    # megabyte at once. (The pieces are packed together again, so nothing is lost.)
    spans: list[tuple[int, int, Kind, int | None]] = [
        (*piece, kind, None)
        for start, end, kind in _spans(text, breaks)
        for piece in _bounded(text, start, end, max_tokens)
    ]
    while True:
        counts = iter(count_tokens(_uncounted(text, spans)))
        finer: list[tuple[int, int, Kind, int | None]] = []
        done = True
        for start, end, kind, known in spans:
            tokens = next(counts) if known is None else known
            if tokens <= max_tokens or end - start == 1:
                finer.append((start, end, kind, tokens))
                continue
            done = False
            size = min(max(1, max_tokens // 2), (end - start + 1) // 2)
            pieces = _lines(text, start, end)
            if len(pieces) == 1:
                pieces = _cut(text, start, end, size)
            finer.extend((*piece, kind, None) for piece in pieces)
        spans = finer
        if done:
            return [(start, end, kind, tokens or 0) for start, end, kind, tokens in spans]


def _uncounted(text: str, spans: Sequence[tuple[int, int, Kind, int | None]]) -> list[str]:
    """Return what is to be counted, with the space before it: so it stands inside a chunk."""
    pieces: list[str] = []
    previous = spans[0][0] if spans else 0
    for start, end, _, known in spans:
        if known is None:
            pieces.append(text[start if start - previous >= _WIDE else previous : end])
        previous = end
    return pieces


def _bounded(text: str, start: int, end: int, max_tokens: int) -> list[tuple[int, int]]:
    """Return pieces of text[start:end] that are no longer than what might fit; usually one."""
    pieces = _lines(text, start, end) if end - start > 8 * max_tokens else [(start, end)]
    return [
        piece
        for first, last in pieces
        for piece in (
            _cut(text, first, last, max(1, max_tokens // 2))
            if last - first > 8 * max_tokens
            else [(first, last)]
        )
    ]


def _lines(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the lines of text[start:end], without the space around them."""
    ends = [start + match.end() for match in re.finditer("\n", text[start:end])]
    lines = [_strip(text, *line) for line in zip([start, *ends], [*ends, end], strict=True)]
    return [line for line in lines if line[0] < line[1]]


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span of text[start:end] without the space around it; it may be empty."""
    start = skip_space(text, start, end)
    return start, start + len(text[start:end].rstrip())


def _cut(text: str, start: int, end: int, size: int) -> list[tuple[int, int]]:
    """Cut text[start:end] into pieces of at most `size` characters, between words if possible."""
    pieces: list[tuple[int, int]] = []
    position = skip_space(text, start, end)
    while position < end:
        stop = min(position + size, end)
        if stop < end and not text[stop].isspace():
            space = _UP_TO_LAST_SPACE.match(text, position, stop)
            stop = space.end() if space else stop
        pieces.append((position, position + len(text[position:stop].rstrip())))
        position = skip_space(text, stop, end)
    return pieces


def _pack(units: list[_Unit], max_tokens: int) -> list[list[_Unit]]:
    """Pack units greedily into groups of at most `max_tokens` tokens."""
    groups: list[list[_Unit]] = []
    group: list[_Unit] = []
    tokens = 0
    for unit in units:
        while group and (unit.torn or tokens + unit.tokens > max_tokens):
            at = len(group) if unit.torn else _best_end(group, unit, max_tokens)
            groups.append(group[:at])
            group = group[at:]
            tokens = sum(u.tokens for u in group)
        group.append(unit)
        tokens += unit.tokens
    if group:
        groups.append(group)
    return groups


def _best_end(group: Sequence[_Unit], following: _Unit, max_tokens: int) -> int:
    """Return how many units of a full group make a chunk, at least one."""
    units = [*group, following]
    tokens = sum(unit.tokens for unit in group)
    paragraph = len(group) if following.begins else 0
    for at in range(len(group), 0, -1):
        if units[at].begins == _Begins.PART and 4 * tokens >= max_tokens:
            return at
        if units[at].begins and 2 * tokens >= max_tokens:
            paragraph = paragraph or at
        tokens -= units[at - 1].tokens
    at = paragraph or len(group)
    # Rather a shorter chunk than a heading without its text.
    while at > 1 and group[at - 1].introduces:
        at -= 1
    return len(group) if group[at - 1].introduces else at


def _halves(text: str, group: list[_Unit]) -> list[list[_Unit]]:
    """Divide a group in two; a single unit is cut at a space near its middle, else there."""
    if len(group) > 1:
        middle = len(group) // 2
        return [group[:middle], group[middle:]]
    unit = group[0]
    pieces = _cut(text, unit.start, unit.end, (unit.end - unit.start + 1) // 2)
    return [[_Unit(start, end, 0, lead=unit.lead)] for start, end in pieces]
