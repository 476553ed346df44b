"""Text, Markdown, reStructuredText, source code and config files.

Their text stays line for line, so that "line 40" is that of the file.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import NamedTuple

from maccli.reading.draft import Draft, one_line, row_line
from maccli.reading.formats.embedded import without_data
from store.marks import Mark

_MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx", ".rmd", ".qmd"})
_FENCE = re.compile(r"(?:[ ]{0,3}>)*[ ]*(`{3,}|~{3,})([^`]*)$")
_OPENING = re.compile(
    r"(?:[ ]{0,3}>)*[ ]*(?:(?:[-*+]|\d{1,9}[.)])[ ]+)*+(`{3,}|~{3,})[^`]*$"  # maybe in an item
)
_ATX = re.compile(r"[ ]{0,3}(#{1,6})([ \t].*|)$")
_SETEXT = re.compile(r"[ ]{0,3}(={2,}|-{2,})[ \t]*$")
_HTML_HEADING = re.compile(r"\s{0,3}<h([1-6])\b[^>]*>(.*?)</h\1>\s*$", re.IGNORECASE | re.DOTALL)
_HTML_BEGIN = re.compile(r"\s{0,3}<h([1-6])\b[^<]*>", re.IGNORECASE)
_RAW = re.compile(r"\s{0,3}<(!--|(?:pre|script|style|textarea)\b)", re.IGNORECASE)
_NO_PARAGRAPH = re.compile(r"\s*(?:[-*+]\s|[>|<]|\d{1,9}[.)]\s|#{1,6}\s|\[[^\]]+\]:)| {4}|\t")
_RULE = re.compile(r"[ \t>]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_BAR = re.compile(r"(?<!\\)\|")
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*\s*$")
_TITLE_KEY = re.compile(r"([\"']?)title\1[ \t]*[:=][ \t]*(.*)$", re.IGNORECASE)
_QUOTED = re.compile(r"""'((?:[^']|'')*)'|\"{3}(.*?)\"{3}|"((?:[^"\\]|\\.)*)\"""")
_INLINE = (
    (re.compile(r"<!--.*?-->|</?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>"), ""),
    (re.compile(r"\s*\{[#.:][^{}]*\}\s*$"), ""),  # {#id .class}
    (re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*(?:\([^()]*\)[^()]*)?\)|\[[^\[\]]*\])"), r"\1"),
    (re.compile(r"(\*{1,3}|(?<!\w)_{1,3}|~~)(?=\S)(.+?)(?<=\S)\1(?!\w)"), r"\2"),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)
_CODE = re.compile(r"(`+)[ ]?(.+?)[ ]?\1")
# Signs in code mean nothing; they hide among private characters meanwhile.
_HIDDEN = {ord(sign): 0xE000 + ord(sign) for sign in "<>*_~[](){}\\"}
_SHOWN = {hidden: sign for sign, hidden in _HIDDEN.items()}
_RST_INLINE = (
    (re.compile(r":[\w:+.-]+:`([^`<]*?)(?:\s*<[^>]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*(?:<[^>]*>)?`__?"), r"\1"),
    (re.compile(r"(``|\*\*|\*|`)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
)


class Heading(NamedTuple):
    """A heading: the number of its line from 0, its level from 1, and its words."""

    line: int
    level: int
    text: str


def read(text: str, name: str) -> Draft:
    """Return a text file as it is, with the places of its lines and headings.

    Pictures and other data in base64 are left out; tables of Markdown name the column of each cell.

    Args:
        text: of the file.
        name: of the file; its suffix says which headings to look for.
    """
    draft = Draft()
    if "\n" not in text:
        text = text.replace("\r", "\n")  # an old Macintosh's
    text, cut = without_data(text)
    draft.remarks += cut
    suffix = PurePath(name).suffix.lower()
    headings: list[Heading] = []
    lines = text.split("\n")
    if suffix in _MARKDOWN:
        bare = [line.rstrip("\r") for line in lines]
        first, draft.title = _front_matter(bare)
        headings, tables = _scan(bare, first)
        for start, end in tables:
            lines[start:end] = _rows(lines[start:end])
        text = "\n".join(lines)
    elif suffix == ".rst":
        headings = list(_rst_headings([line.rstrip() for line in lines]))
    if draft.title is None and headings:
        draft.title = next((h.text for h in headings if h.level == 1), headings[0].text)
    draft.verbatim(text, _marks(lines, headings))
    return draft


def _marks(lines: Sequence[str], headings: Sequence[Heading]) -> Iterator[Mark]:
    """Yield a mark for the first line and for every heading."""
    path: list[Heading] = []
    start = number = 0
    if not headings or headings[0].line:
        yield Mark(0, "", "line 1")
    for heading in headings:
        start += sum(len(line) + 1 for line in lines[number : heading.line])
        number = heading.line
        while path and path[-1].level >= heading.level:
            path.pop()
        path.append(heading)
        yield Mark(start, " > ".join(above.text for above in path), f"line {number + 1}")


def _front_matter(lines: Sequence[str]) -> tuple[int, str | None]:
    """Return the number of lines of front matter at the top of Markdown, and its title."""
    first = next((i for i, line in enumerate(lines[:10]) if line.strip()), 0)
    fence = lines[first].rstrip()
    if fence not in {"---", "+++"}:
        return 0, _bare_title(lines[first : first + 2])
    ends = {"---", "..."} if fence == "---" else {"+++"}
    end = next((i for i in range(first + 1, len(lines)) if lines[i].rstrip() in ends), 0)
    inside = lines[first + 1 : end]
    begin = next(filter(str.strip, inside), "")
    is_comment = begin.startswith("#") and begin == inside[0]
    if not (is_comment or re.match(r"[\w\"'][^:=]*[:=]", begin)):
        return 0, None  # a line across the page
    for i, line in enumerate(inside):
        if found := _TITLE_KEY.match(line):
            value, below = found[2].strip(), inside[i + 1 :] if fence == "---" else []
            stop = next((n for n, row in enumerate(below) if row[:1] not in {" ", "\t", ""}), None)
            if re.fullmatch(r"[>|][+-]?\d?", value):
                value = ""  # its text stands below, indented, as the rest of any other may
            return end + 1, _title(" ".join([value, *below[:stop]]))
    return end + 1, None


def _bare_title(lines: Sequence[str]) -> str | None:
    """Return the title in front matter without a fence around, as Pelican and Pandoc read it."""
    if lines[0].startswith("% "):
        return one_line(lines[0][2:]) or None
    found = re.match(r"title:[ \t]+(\S.*)", lines[0], re.IGNORECASE)
    is_alone = len(lines) < 2 or not re.match(r"[\w-]+:[ \t]|\s*$", lines[1])
    return None if found is None or is_alone else one_line(found[1])


def _title(value: str) -> str | None:
    """Return the title that a value of YAML or TOML is."""
    value = one_line(value)
    if quoted := _QUOTED.match(value):
        value = next(filter(None, quoted.groups()), "")
        if value and value == quoted[3]:
            with contextlib.suppress(ValueError):
                value = json.loads(f'"{value}"')
        value = value.replace("''", "'") if quoted[1] else value
    else:
        value = re.sub(r"\s#.*|^!\S+\s", "", value)
        value = "" if value in {"~", "null"} else value
    return one_line(value) or None


def _scan(lines: Sequence[str], first: int) -> tuple[list[Heading], list[tuple[int, int]]]:
    """Return the headings of Markdown, and where its tables begin and end."""
    headings, tables = list[Heading](), list[tuple[int, int]]()
    fence, raw_end = "", ""
    paragraph = 0  # how many lines of a paragraph stand directly above
    number = first
    while number < len(lines):
        line = lines[number]
        number += 1
        if fence:
            closing = _FENCE.match(line)
            if closing and closing[1].startswith(fence) and not closing[2].strip():
                fence = ""
            continue
        sign = line.lstrip()[:1]
        if raw_end:
            raw_end = "" if raw_end in line.lower() else raw_end
            paragraph = 0
            continue
        if sign == "<" and (raw := _RAW.match(line)):
            end_tag = "-->" if raw[1] == "!--" else f"</{raw[1].lower()}"
            if end_tag not in line.lower():
                raw_end, paragraph = end_tag, 0
                continue
        if not sign:
            paragraph = 0
        elif ("```" in line or "~~~" in line) and (opening := _OPENING.match(line)):
            fence, paragraph = opening[1], 0
        elif sign == "#" and (atx := _ATX.match(line)):
            title = atx[2].strip()
            bare = title.rstrip("#")
            _add(headings, number - 1, len(atx[1]), title if bare[-1:].strip() else bare)
            paragraph = 0
        elif sign == "<" and len(line) < 1000 and _HTML_BEGIN.match(line):
            if html := _HTML_HEADING.match(_until_end(lines, number - 1)):
                _add(headings, number - 1, int(html[1]), html[2])
            paragraph = 0
        elif sign in "=-" and 0 < paragraph <= 2 and _SETEXT.match(line):
            title = " ".join(lines[number - 1 - paragraph : number - 1])
            _add(headings, number - 1 - paragraph, 1 if sign == "=" else 2, title)
            paragraph = 0
        elif "|" in line and number < len(lines) and _is_rule(lines[number], line):
            end = number + 1
            while end < len(lines) and "|" in lines[end]:
                end += 1
            tables.append((number - 1, end))
            number, paragraph = end, 0
        else:
            # A line across the page may stand below an item: three lines are too many for a title.
            paragraph = 3 if _NO_PARAGRAPH.match(line) else paragraph + 1
    return headings, tables


def _until_end(lines: Sequence[str], first: int) -> str:
    """Return the lines of a heading in HTML, which may be a few."""
    for last in range(first, min(first + 10, len(lines))):
        if re.search(r"</h[1-6]>\s*$", lines[last][-1000:], re.IGNORECASE):
            return " ".join(lines[first : last + 1])
    return ""


def _add(headings: list[Heading], line: int, level: int, text: str) -> None:
    if text := plain(text):
        headings.append(Heading(line, level, text))


def plain(text: str) -> str:
    """Return the words of a line of Markdown without its marks for links and emphasis."""
    text = _CODE.sub(lambda code: code[2].translate(_HIDDEN), text[:1000])
    for pattern, words in _INLINE:
        text = pattern.sub(words, text)
    return one_line(text.translate(_SHOWN))


def _is_rule(line: str, header: str) -> bool:
    """Return whether a line parts the header of a table from its rows."""
    return (
        len(line) < 10_000
        and "-" in line
        and "|" in line
        and _RULE.match(line) is not None
        and len(_cells(line)) == len(_cells(header))
    )


def _cells(line: str) -> list[str]:
    line = line.strip(" \t>\r")
    line = line.removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    return [one_line(cell.replace("\\|", "|")) for cell in _BAR.split(line)]


def _rows(lines: Sequence[str]) -> list[str]:
    """Return a table's lines, each naming its columns, in the place of the old ones."""
    if len(lines) < 3:
        return list(lines)
    names = [plain(cell) for cell in _cells(lines[0])]
    rows = [row_line(names if any(names) else [], _cells(line)) for line in lines[2:]]
    end = "\r" if lines[0].endswith("\r") else ""
    return [line + end for line in ("", "", *rows)]


def _rst_headings(lines: Sequence[str]) -> Iterator[Heading]:
    """Yield the headings of reStructuredText; a level is known by its line of signs."""
    styles: list[tuple[str, bool]] = []
    for i, title in enumerate(lines[:-1]):
        below = _ADORNMENT.match(lines[i + 1])
        above = lines[i - 1] if i else ""
        if not below or not title.strip() or _is_adornment(title):
            continue
        over = above == lines[i + 1]
        if not over and (above.strip() or title[0].isspace()):
            continue  # the last line of a paragraph
        if len(lines[i + 1]) < min(len(title.strip()), 4):
            continue
        style = (below[1], over)
        if style not in styles:
            styles.append(style)
        text = title.strip()
        for pattern, words in _RST_INLINE:
            text = pattern.sub(words, text)
        yield Heading(i - over, styles.index(style) + 1, one_line(text))


def _is_adornment(line: str) -> bool:
    return len(line) > 1 and _ADORNMENT.match(line) is not None
