"""Pictures and other files that stand in a text as base64: nobody asks about those characters."""

from __future__ import annotations

import re

_WORD = "[data]"
_LONG = 200  # characters of base64
_LINE = r"\\?(?:[ \t]*\r?\n[ \t]*|[ ])"
_DATA_URI = re.compile(
    r"(?<![\w-])data:(?:[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+(?:=[\w.+\"-]+)?)*"
    # It may go over several lines. One with words in it, such as data:text/plain,hello, is left.
    rf"(?:;base64,[\w+/=%-]*(?:{_LINE}[A-Za-z0-9+/%]{{40,}}+)*+"
    rf"(?:{_LINE}[A-Za-z0-9+/%]++={{0,2}}(?=\s*[\"'<>)]))?"
    r"|,[^\s\"'<>()\[\]\\]{100,})",
    re.IGNORECASE,
)
_BASE64 = r"A-Za-z0-9+/_\-"
# Line breaks in it may be written as \\n; looking ahead makes short words cheap.
_RUN = re.compile(
    rf"(?<![{_BASE64}])(?=[{_BASE64}\\]{{{_LONG}}})[{_BASE64}]*+(?:\\[nr/][{_BASE64}]*+)*+={{0,2}}"
)
# A line of wrapped base64, perhaps in quotes, behind signs of a comment or a quotation.
_WRAPPED = re.compile(r"(\W{0,40}?(?:[bru]?[\"'])?)([A-Za-z0-9+/]{40,}={0,2})(\W{0,10})$")
_LAST = re.compile(r"(\W{0,40}?(?:[bru]?[\"'])?)([A-Za-z0-9+/]{1,}={0,2})(\W{0,10})$")


def without_data(text: str) -> tuple[str, list[str]]:
    """Return a text without data: URIs and long base64, and a remark if there were any.

    Each becomes "[data]"; of one that is wrapped, the further lines become empty.
    """
    count = 0

    def cut(match: re.Match[str]) -> str:
        nonlocal count
        if match.re is _RUN and (len(match[0]) < _LONG or not _is_base64(match[0])):
            return match[0]
        count += 1
        return _WORD + "\n" * match[0].count("\n")

    if "data:" in text or "DATA:" in text:
        text = _DATA_URI.sub(cut, text)
    text = _RUN.sub(cut, text)
    text, wrapped = _without_wrapped(text)
    count += wrapped
    if not count:
        return text, []
    return text, [f"has {count} picture{'s' * (count > 1)} or other data in it, left out"]


def _is_base64(text: str) -> bool:
    """Return whether a run of letters is base64 rather than a name, a path or a sequence of DNA."""
    sample = text[:2000]
    kinds = (str.islower, str.isupper, str.isdigit)
    return len(set(sample)) > 20 and all(any(map(kind, sample)) for kind in kinds)


def _without_wrapped(text: str) -> tuple[str, int]:
    """Cut base64 that goes over several lines of one length; the number of lines stays."""
    lines = text.split("\n")
    count = number = 0
    while number < len(lines):
        match = _wrapped(lines[number])
        if match is None:
            number += 1
            continue
        start, run = number, [match]
        while (
            (number := number + 1) < len(lines)
            and (match := _wrapped(lines[number])) is not None
            and len(match[2]) <= len(run[0][2])
        ):
            run.append(match)
        joined = "".join(found[2] for found in run)
        if len(run) < 2 or len(joined) < _LONG or not _is_base64(joined):
            continue
        if number < len(lines) and (last := _LAST.match(lines[number])):
            short = len(last[2]) < len(run[0][2]) and last[1] == run[-1][1]
            if short and (last[2].endswith("=") or _is_odd(last[2])):
                number += 1
        ends = "\r" if lines[start].endswith("\r") else ""
        lines[start] = f"{run[0][1]}{_WORD}{run[0][3]}"
        lines[start + 1 : number] = [ends] * (number - start - 1)
        count += 1
    return ("\n".join(lines) if count else text), count


def _wrapped(line: str) -> re.Match[str] | None:
    if not 40 <= len(line) <= 1000 or " " in line[-30:].rstrip():
        return None
    return _WRAPPED.match(line)


def _is_odd(word: str) -> bool:
    """Return whether no writer would have made this word: letters and digits mixed."""
    return (
        any(map(str.isdigit, word)) and any(map(str.isupper, word)) and any(map(str.islower, word))
    )
