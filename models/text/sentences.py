"""Where the sentences of a text are; linear in its length, whatever the text is made of."""

# ruff: noqa: RUF001 - the punctuation of other languages is meant as it stands
from __future__ import annotations

import re


def word_set(text: str) -> frozenset[str]:
    """Return the words that stand in a text with spaces between them."""
    return frozenset(text.split())


# Never the last word of a sentence (compared in lower case, without the final dot).
_TITLES = word_set(
    "mr mrs ms mx messrs mme mlle dr prof rev hon gen col maj capt lt sgt cpl adm cmdr gov sen "
    "rep pres supt st mt ft sr sra srta hr fr e.g i.e cf vs viz approx ca al resp incl excl esp "
    "bzw z.b d.h u.a vgl"
)
# Not the last word where a number follows: "No. 5", "Jan. 3", "pp. 12-15".
_BEFORE_NUMBER = word_set(
    "no nos nr p pp vol vols fig figs eq eqs sec sect ch art par para tab pt op ed eds est c "
    "circa abs bd jan feb mar apr jun jul aug sep sept oct nov dec"
)
# May be the last word: they end a sentence when a word follows that usually begins one.
_EITHER = word_set(
    "inc ltd co corp llc jr sr bros dept univ etc a.m p.m ave blvd rd assn jan feb mar apr jun "
    "jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun"
)
_STARTERS = word_set(
    "the a an this that these those he she it they we i you his her its their our my in on at "
    "by for from with after before when while where as if but and so however although though "
    "since because there here what who why how one some many most all no both each other "
    "another during under over then now not yet according also meanwhile moreover"
)

# What stands before an item of a list: "-", "3.", "b)", "(iv)".
_MARKER = (
    r"(?:[-*+•‣◦▪●–]|(?:\d{1,3}|[a-zA-Z])[)]|\d{1,3}[.]|[(](?:\d{1,3}|[a-z]|[ivx]{1,4})[)])[ \t]"
)
ITEM = re.compile(_MARKER)
"""The beginning of a list item, after the space before it."""
HEADING = re.compile(
    r"\#{1,6}[ \t]"  # Markdown
    r"|(?:[=*#~^-]{3,}+[ \t]*\n)?[^\n]++\n([=*#~^\"'+-])\1{2,}+[ \t]*\Z"  # underlined
)
"""A heading, matched from the beginning of a sentence."""

_OPENERS = "\"'“‘(«[*_"
_CLOSERS = "\"'”’»)]}›*_"
_STRUCTURE = re.compile(
    rf"""
    (?P<gap>(?<!\s)\s{{64,}}+)  # a wide hole in the text: nothing spans it
    | (?P<heading>^[ ]{{0,3}}\#{{1,6}}[ \t][^\n]*+)  # Markdown heading: a sentence of its own
    | (?P<blank>\n(?=[ \t\r\f\v]*+(?:\n|\#{{1,6}}[ \t])))  # then a blank line, a heading
    | (?P<item>\n(?=[ \t]*+{_MARKER}))  # then a list item
    | (?P<wide>[。！？｡؟۔।॥።։။។]++[」』”’）》〉]*+)  # need no space after them
    | (?P<stop>[.!?…]++[{re.escape(_CLOSERS)}]*+)
    """,
    re.VERBOSE | re.MULTILINE,
)
_SPACES = re.compile(r"\s*+")
_WORD = re.compile(r"\w+")


def sentences(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Return the spans (start, end) of the sentences of `text`, without the space around them.

    A blank line, a Markdown heading and a list item end a sentence as a full stop does.

    Args:
        text: a document.
        start: where the part of it that is looked at begins.
        end: where that ends; None: with the text.
    """
    spans: list[tuple[int, int]] = []
    last = len(text) if end is None else end

    def close(end: int) -> None:
        nonlocal start
        begin = skip_space(text, start, end)
        if begin < end:
            spans.append((begin, begin + len(text[begin:end].rstrip())))
        start = end

    for match in _STRUCTURE.finditer(text, start, last):
        if match.lastgroup == "heading":
            close(match.start())
            close(match.end())
        elif match.lastgroup != "stop" or _ends_sentence(text, match, start):
            close(match.end())
    close(last)
    return spans


def skip_space(text: str, start: int, end: int) -> int:
    """Return where the first character of text[start:end] stands that is no space, or `end`."""
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
        return bool(text[skip_space(text, sentence_start, match.start()) : match.start()] != word)
    return True


def _following_word(text: str, position: int) -> str:
    """Return the first word after `position` (at most 16 characters), opening quotes skipped."""
    window = text[position : position + 64].lstrip().lstrip(_OPENERS)
    match = _WORD.match(window)
    return match.group()[:16] if match else ""
