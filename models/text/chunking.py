"""Cut a text into chunks of whole sentences, with character offsets.

A chunk is what the paper (arXiv 2403.04317) calls a document: the piece of text that becomes one
modulation. This module knows nothing of tokenizers or tensors: the caller hands in a function that
counts tokens. Everything here is linear in the length of the text, whatever the text is made of.
"""

# ruff: noqa: RUF001 - the punctuation of other languages is meant as it stands
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

VERSION = "sentence-1"
"""Names these rules; stored with every document, so that a change of rules is noticed."""

CountTokens = Callable[[Sequence[str]], list[int]]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Never the last word of a sentence (compared in lower case, without the final dot).
_TITLES = _words(
    "mr mrs ms mx messrs mme mlle dr prof rev hon gen col maj capt lt sgt cpl adm cmdr gov sen "
    "rep pres supt st mt ft sr sra srta hr fr e.g i.e cf vs viz approx ca al resp incl excl esp "
    "bzw z.b d.h u.a vgl"
)
# Not the last word where a number follows: "No. 5", "Jan. 3", "pp. 12-15".
_BEFORE_NUMBER = _words(
    "no nos nr p pp vol vols fig figs eq eqs sec sect ch art par para tab pt op ed eds est c "
    "circa jan feb mar apr jun jul aug sep sept oct nov dec"
)
# May be the last word: they end a sentence when a word follows that usually begins one.
_EITHER = _words(
    "inc ltd co corp llc jr sr bros dept univ etc a.m p.m ave blvd rd assn jan feb mar apr jun "
    "jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun"
)
_STARTERS = _words(
    "the a an this that these those he she it they we i you his her its their our my in on at "
    "by for from with after before when while where as if but and so however although though "
    "since because there here what who why how one some many most all no both each other "
    "another during under over then now not yet according also meanwhile moreover"
)

_OPENERS = "\"'“‘(«[*_"
_CLOSERS = "\"'”’»)]}›*_"
_STRUCTURE = re.compile(
    rf"""
    (?P<gap>(?<!\s)\s{{64,}}+)  # a wide hole in the text: nothing spans it
    | (?P<heading>^[ ]{{0,3}}\#{{1,6}}[ \t][^\n]*+)  # Markdown heading: a sentence of its own
    | (?P<blank>\n(?=[ \t\r\f\v]*+(?:\n|\#{{1,6}}[ \t])))  # then a blank line, a heading
    | (?P<item>\n(?=[ \t]*+(?:[-*+•][ \t]|\d{{1,3}}[.)][ \t])))  # then a list item
    | (?P<wide>[。！？｡؟۔।॥።։။។]++[」』”’）》〉]*+)  # need no space after them
    | (?P<stop>[.!?…]++[{re.escape(_CLOSERS)}]*+)
    """,
    re.VERBOSE | re.MULTILINE,
)
_HEADING = re.compile(r"#{1,6}[ \t]")
_BLANK_LINE = re.compile(r"\n[ \t\r\f\v]*+\n")
_SPACES = re.compile(r"\s*+")
_UP_TO_LAST_SPACE = re.compile(r".*\s", re.DOTALL)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `text == document[start:end]`, without space around it."""

    start: int
    end: int
    text: str
    tokens: int  # as counted by the caller
    lead: str = ""  # the line that introduces the list in whose middle it begins


@dataclass(frozen=True, slots=True)
class _Unit:
    """The smallest thing packed: a sentence, or a piece of one that is too long for a chunk."""

    start: int
    end: int
    tokens: int
    paragraph: bool  # a paragraph begins here
    heading: bool
    torn: bool  # a wide gap stands before it: it must begin a chunk


def sentences(text: str) -> list[tuple[int, int]]:
    """Return the spans (start, end) of the sentences of `text`, without the space around them.

    A blank line, a Markdown heading and a list item end a sentence as a full stop does.
    """
    spans: list[tuple[int, int]] = []
    start = 0

    def close(end: int) -> None:
        nonlocal start
        begin = _skip_space(text, start, end)
        if begin < end:
            spans.append((begin, begin + len(text[begin:end].rstrip())))
        start = end

    for match in _STRUCTURE.finditer(text):
        if match.lastgroup == "heading":
            close(match.start())
            close(match.end())
        elif match.lastgroup != "stop" or _ends_sentence(text, match, start):
            close(match.end())
    close(len(text))
    return spans


def split(
    text: str, count_tokens: CountTokens, max_tokens: int, breaks: Sequence[int] = ()
) -> list[Chunk]:
    """Split `text` into chunks of at most `max_tokens` tokens, covering everything but space.

    Whole sentences are packed greedily. A chunk that is at least half full rather ends at a
    paragraph break than in the middle of the next paragraph. Only a sentence longer than
    `max_tokens` is cut: between words, else anywhere; a single character is never cut, so only its
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
    units = _units(text, count_tokens, max_tokens)
    pending = _pack(units, max_tokens)
    done: list[Chunk] = []
    # The counts of sentences do not add up exactly to that of their chunk: halve what is too long.
    while pending:
        spans = [(group[0].start, group[-1].end) for group in pending]
        counts = count_tokens([text[start:end] for start, end in spans])
        too_long: list[list[_Unit]] = []
        for group, (start, end), tokens in zip(pending, spans, counts, strict=True):
            if tokens <= max_tokens or end - start == 1:
                done.append(Chunk(start, end, text[start:end], tokens))
            else:
                too_long.extend(_halves(text, group))
        pending = too_long
    done.sort(key=lambda chunk: chunk.start)
    return done


def _skip_space(text: str, start: int, end: int) -> int:
    match = _SPACES.match(text, start, end)
    return match.end() if match else start


def _ends_sentence(text: str, match: re.Match[str], sentence_start: int) -> bool:
    """Return whether the full stop, question or exclamation mark of `match` ends a sentence."""
    end = match.end()
    if end < len(text) and not text[end].isspace():
        return False  # 3.5, example.com, "e.g.," and the like
    following = _following_word(text, end)
    marks = match.group().rstrip(_CLOSERS)
    if marks != ".":
        # "Stop!" he said; and then ... nothing
        quoted = len(marks) < len(match.group()) or marks[-1] in ".…"
        return not (quoted and following[:1].islower())
    if len(marks) < len(match.group()) and following[:1].islower():
        return False
    # A window: no abbreviation is longer, and a "word" may be megabytes long.
    before = text[max(sentence_start, match.start() - 24) : match.start()]
    word = before.rsplit(None, 1)[-1].lstrip(_OPENERS) if before.strip() else ""
    lower = word.lower()
    begins_sentence = following.lower() in _STARTERS and following[:1].isupper()
    if lower in _TITLES:
        return False
    if lower in _BEFORE_NUMBER and following[:1].isdigit():
        return False
    if len(word) == 1 and word.isalpha():
        # An initial, but not "plan B." and not "Louis I." before a usual beginning of a sentence
        return begins_sentence or (word.islower() and following[:1].isupper())
    if lower in _EITHER or re.fullmatch(r"(?:\w\.)+\w", word):
        return not following or begins_sentence
    if word.isdigit() and len(word) <= 3:
        # "1." at the beginning of a sentence numbers it
        return bool(text[_skip_space(text, sentence_start, match.start()) : match.start()] != word)
    return True


def _following_word(text: str, position: int) -> str:
    """Return the first word after `position` (at most 16 characters), opening quotes skipped."""
    window = text[position : position + 64].lstrip().lstrip(_OPENERS)
    match = _WORD.match(window)
    return match.group()[:16] if match else ""


def _units(text: str, count_tokens: CountTokens, max_tokens: int) -> list[_Unit]:
    """Return the sentences of `text` with their tokens, cut into pieces where they are too long."""
    spans: list[tuple[int, int]] = []
    for start, end in sentences(text):
        # Hardly a sentence of so many characters fits: cut it unseen, so that no tokenizer gets a
        # megabyte at once. (Its pieces are packed together again, so nothing is lost if it does.)
        if end - start > 8 * max_tokens:
            spans.extend(_cut(text, start, end, max(1, max_tokens // 2)))
        else:
            spans.append((start, end))
    counts = _count(text, spans, count_tokens)
    while any(
        n > max_tokens and end - start > 1 for (start, end), n in zip(spans, counts, strict=True)
    ):
        finer: list[tuple[int, int]] = []
        for (start, end), tokens in zip(spans, counts, strict=True):
            fits = tokens <= max_tokens or end - start == 1
            size = min(max(1, max_tokens // 2), (end - start + 1) // 2)
            finer.extend([(start, end)] if fits else _cut(text, start, end, size))
        spans = finer
        counts = _count(text, spans, count_tokens)
    units: list[_Unit] = []
    previous = 0
    for (start, end), tokens in zip(spans, counts, strict=True):
        heading = _HEADING.match(text, start) is not None
        after_heading = bool(units) and units[-1].heading  # it belongs to its heading
        blank = not after_heading and _BLANK_LINE.search(text, previous, start) is not None
        units.append(_Unit(start, end, tokens, heading or blank, heading, start - previous >= 64))
        previous = end
    return units


def _count(text: str, spans: list[tuple[int, int]], count_tokens: CountTokens) -> list[int]:
    """Count the tokens of each span with the space before it: so it stands inside a chunk."""
    if not spans:
        return []
    pieces: list[str] = []
    previous = spans[0][0]
    for start, end in spans:
        pieces.append(text[start if start - previous >= 64 else previous : end])
        previous = end
    return count_tokens(pieces)


def _cut(text: str, start: int, end: int, size: int) -> list[tuple[int, int]]:
    """Cut text[start:end] into pieces of at most `size` characters, between words if possible."""
    pieces: list[tuple[int, int]] = []
    position = _skip_space(text, start, end)
    while position < end:
        stop = min(position + size, end)
        if stop < end and not text[stop].isspace():
            space = _UP_TO_LAST_SPACE.match(text, position, stop)
            stop = space.end() if space else stop
        pieces.append((position, position + len(text[position:stop].rstrip())))
        position = _skip_space(text, stop, end)
    return pieces


def _pack(units: list[_Unit], max_tokens: int) -> list[list[_Unit]]:
    """Pack units greedily into groups of at most `max_tokens` tokens."""
    groups: list[list[_Unit]] = []
    group: list[_Unit] = []
    tokens = 0
    for unit in units:
        if group and (unit.torn or tokens + unit.tokens > max_tokens):
            at = len(group) if unit.torn or unit.paragraph else _best_break(group, max_tokens)
            groups.append(group[:at])
            group = group[at:]
            tokens = sum(u.tokens for u in group)
            if group and tokens + unit.tokens > max_tokens:
                groups.append(group)
                group, tokens = [], 0
        group.append(unit)
        tokens += unit.tokens
    if group:
        groups.append(group)
    return groups


def _best_break(group: list[_Unit], max_tokens: int) -> int:
    """Return where to end a full group: at its last paragraph break past half of `max_tokens`."""
    tokens = sum(unit.tokens for unit in group)
    for at in range(len(group) - 1, 0, -1):
        tokens -= group[at].tokens
        if group[at].paragraph and 2 * tokens >= max_tokens:
            return at
    # Rather a shorter chunk than a heading without its text.
    return len(group) - 1 if len(group) > 1 and group[-1].heading else len(group)


def _halves(text: str, group: list[_Unit]) -> list[list[_Unit]]:
    """Divide a group in two; a single unit is cut at a space near its middle, else there."""
    if len(group) > 1:
        middle = len(group) // 2
        return [group[:middle], group[middle:]]
    unit = group[0]
    pieces = _cut(text, unit.start, unit.end, (unit.end - unit.start + 1) // 2)
    return [[_Unit(start, end, 0, False, False, False)] for start, end in pieces]
