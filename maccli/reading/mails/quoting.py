"""The text of mails: lines that belong together, and what is quoted from other mails."""

from __future__ import annotations

import re

QUOTED = "Quoted:"
"""The line before what somebody else wrote."""

_SIGNED = re.compile(r"-----BEGIN PGP SIGNED MESSAGE-----\n(?:Hash:[^\n]*\n)*\n?")
_SIGNATURE = re.compile(r"-----BEGIN PGP SIGNATURE-----.*?(?:-----END PGP SIGNATURE-----|\Z)", re.S)
_ENCRYPTED = re.compile(r"-----BEGIN PGP MESSAGE-----.*?(?:-----END PGP MESSAGE-----|\Z)", re.S)
_NO_ANSWER = re.compile(r"-{4,} ?(?:Forwarded|Weitergeleitete)|Begin forwarded message:", re.I)
# "On Fri, 8 May 2026 at 19:01, Jana Wolff wrote:", in the languages of many mail programs; the line
# may be broken in two.
_BEGINS = re.compile(r"(?:On|Am|Le|El|Il|Em|Den|Op|W dniu) (?=.{0,300}\d)")
_WROTE = re.compile(
    r"\b(?:wrote|schrieb|a écrit|escribió|ha scritto|escreveu|skrev|schreef|napisał)"
    r"(?: [^\n:]{1,200})?\s?:\Z"
)
# What Outlook writes above the mail that is answered.
_ORIGINAL = re.compile(
    r"-{3,} ?(?:Original Message|Ursprüngliche Nachricht|Message d'origine|Mensaje original"
    r"|Messaggio originale|Oorspronkelijk bericht|Ursprungligt meddelande) ?-{3,}"
)
_FROM = re.compile(r"\*?(?:From|Von|De|Da|Van|Från|Fra)\s?:\*? \S")
_SENT = re.compile(
    r"\*?(?:Sent|Date|Gesendet|Datum|Envoyé|Enviad[oa](?: el| em)?|Inviato|Verzonden|Skickat|Sendt)"
    r"\s?:\*? \S"
)


def unflowed(text: str, *, delete_space: bool) -> str:
    """Return a text whose paragraphs were broken into lines, with a line for each paragraph.

    Args:
        text: as RFC 3676 has it: a line that ends in a space goes on in the next.
        delete_space: whether that space is no part of the text.
    """
    lines = list[str]()
    open_depth = ""  # the ">" before the line that goes on
    goes_on = False
    for line in text.split("\n"):
        depth = line[: len(line) - len(line.lstrip(">"))]
        line = line[len(depth) :].removeprefix(" ")
        if goes_on and depth == open_depth and line != "-- ":
            lines[-1] += line
        else:
            lines.append(f"{depth} {line}" if depth else line)
        goes_on = line.endswith(" ") and line != "-- "
        open_depth = depth
        if goes_on and delete_space:
            lines[-1] = lines[-1][:-1]
    return "\n".join(lines)


def without_armour(text: str) -> tuple[str, bool]:
    """Return a text without what PGP adds to it, and whether some of it is encrypted."""
    if "-----BEGIN PGP" not in text:
        return text, False
    text, encrypted = _ENCRYPTED.subn("", _SIGNATURE.sub("", _SIGNED.sub("", text)))
    return text, encrypted > 0


def marked(text: str, *, forwarded: bool = False) -> str:
    """Return a mail's text with a line before each part that is quoted, and "> " in its lines.

    Args:
        text: of the mail.
        forwarded: whether the mail was sent to hand on the one that it quotes.
    """
    lines = text.strip("\n").split("\n")
    if not forwarded:
        start = _other_mail(lines)
        lines[start:] = [f"> {line}".rstrip() for line in lines[start:]]
    marked = list[str]()
    within = False
    for line in lines:
        is_quote = line.startswith(">") and not line.startswith(">From ")
        if is_quote and not within and marked[-1:] != [QUOTED]:
            marked.append(QUOTED)
        # An empty line does not end a quotation.
        within = is_quote or (within and not line.strip())
        marked.append(line)
    return "\n".join(marked)


def _other_mail(lines: list[str]) -> int:
    """Return the index of the line where the mail begins that is answered, without ">"."""
    has_quotes = any(line.startswith(">") for line in lines)
    for index, line in enumerate(lines):
        if _NO_ANSWER.match(line):
            break
        if _ORIGINAL.match(line) or (_FROM.match(line) and _is_sent(lines, index)):
            return index
        if not has_quotes and _BEGINS.match(line):
            for end in (index + 1, index + 2):
                if _WROTE.search(" ".join(lines[index:end]).rstrip()[-400:]):
                    while end < len(lines) and not lines[end].strip():
                        end += 1
                    return end
    return len(lines)


def _is_sent(lines: list[str], index: int) -> bool:
    below = (line for line in lines[index + 1 : index + 4] if line.strip())
    return _SENT.match(next(below, "")) is not None
