"""Mails, mailboxes, calendars and contacts to text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from email import message_from_bytes
from email.message import Message

from maccli.reading.draft import Draft, one_line
from maccli.reading.encodings import Refused
from maccli.reading.formats import html
from maccli.reading.mails.calendar import events
from maccli.reading.mails.contacts import contacts
from maccli.reading.mails.letter import Letter, header
from maccli.reading.mails.quoting import marked

_MAX_NESTED = 5  # forwarded mails in forwarded mails
_SHOWN = ("From", "To", "Cc", "Bcc", "Date", "Subject")
_FORWARDED = re.compile(r"\s*(?:fwd?|wg|tr|rv|enc|i|doorst)\s*:", re.IGNORECASE)
_FROM_LINE = re.compile(rb"^From ([^\n]{1,300})\n(?=[\w-]+:|>From |\r?\n)", re.MULTILINE)
_DATE = re.compile(rb"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b[^:]{1,20}\d\d:\d\d")
_DATELESS = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]{1,300}\n")
_ESCAPED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
# The parser compares each parameter to all others.
_LONG_HEADER = re.compile(
    rb"^(content-[\w-]+:(?:[^\n]|\n[ \t]){4000})(?:[^\n]|\n[ \t])++", re.MULTILINE | re.IGNORECASE
)
_EXPUNGED = 0x0008  # Thunderbird's mark of a mail that is deleted, but still in the file

ReadPart = Callable[[bytes, str], Draft]
"""Reads an attachment, given its bytes and its name; raises `Refused`."""


def read(data: bytes, name: str, read_part: ReadPart) -> Draft:
    """Return the text of a mail.

    Args:
        data: the file.
        name: of the file.
        read_part: see `ReadPart`.
    """
    draft = Draft()
    message = _parsed(data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n"))
    draft.title = header(message, "Subject") or None
    _write(message, draft, read_part, 0)
    return draft


def read_mbox(data: bytes, name: str, read_part: ReadPart) -> Draft:
    """Return the text of a mailbox; its places are "message 3".

    Args:
        data: the file.
        name: of the file.
        read_part: see `ReadPart`.
    """
    draft, deleted, number = Draft(), 0, 0
    for part in _split(data.removeprefix(b"\xef\xbb\xbf")):
        message = _parsed(part)
        status = re.fullmatch(r"[0-9a-fA-F]{4}", header(message, "X-Mozilla-Status"))
        if status and int(status[0], 16) & _EXPUNGED:
            deleted += 1
            continue
        number += 1
        one = Draft()
        one.heading(header(message, "Subject"), 1)
        _write(message, one, read_part, 0)
        draft.append(one, f"message {number}")
    if deleted:
        draft.remarks.append(f"leaves out {deleted} deleted message{'s' * (deleted > 1)}")
    return draft


def read_calendar(text: str, name: str) -> Draft:
    """Return the text of a calendar; its places are "event 3".

    Args:
        text: of the file.
        name: of the file.
    """
    return _numbered("event", events(text))


def read_contacts(text: str, name: str) -> Draft:
    """Return the text of a file of contacts; its places are "contact 3"."""
    return _numbered("contact", contacts(text))


def _numbered(what: str, parts: Iterable[str]) -> Draft:
    draft = Draft()
    for number, part in enumerate(parts, 1):
        draft.place(f"{what} {number}")
        draft.paragraph(part)
    return draft


def _split(data: bytes) -> Iterator[bytes]:
    """Yield the mails of a mailbox, each with what follows its own line "From "."""
    marks = [line for line in _FROM_LINE.finditer(data) if _DATE.search(line[1])]
    marks = marks or [*_DATELESS.finditer(data)]
    starts = [0, *(mark.end() for mark in marks)]
    ends = [*(mark.start() for mark in marks), len(data)]
    for start, end in zip(starts, ends, strict=True):
        part = data[start:end].strip(b"\r\n")
        if part.strip():
            yield _ESCAPED_FROM.sub(rb"\1", part)


def _parsed(data: bytes) -> Message:
    try:
        return message_from_bytes(_LONG_HEADER.sub(rb"\1", data))
    except RecursionError:
        # Parts in parts without end: what it says is what stands there.
        message = Message()
        message.set_payload(data.decode("ascii", "surrogateescape"))
        return message


def _write(message: Message, draft: Draft, read_part: ReadPart, depth: int) -> None:
    """Add a mail to a document."""
    letter, subject = Letter(message), header(message, "Subject")
    lines = [f"{name}: {value}" for name in _SHOWN if (value := header(message, name))]
    lines += [f"Attachment: {attachment.name}" for attachment in letter.attachments]
    lines += [f"Picture: {name}" for name in letter.pictures]
    draft.paragraph("\n".join(lines))
    forwarded = _FORWARDED.match(subject) is not None
    for kind, text in letter.texts:
        if kind == "page":
            _write_page(text, draft, forwarded=forwarded)
        else:
            draft.paragraph(marked(text, forwarded=forwarded) if kind == "plain" else text)
    draft.remarks += letter.remarks
    for name, data in letter.attachments:
        if data is not None:
            _append(draft, name, data, read_part)
    for number, inner in enumerate(letter.messages, 1):
        place = f"forwarded message {number}" if len(letter.messages) > 1 else "forwarded message"
        if depth == _MAX_NESTED:
            draft.remarks.append(f"{place} is in too many messages, one in another")
            continue
        one = Draft()
        one.heading(header(inner, "Subject"), 1)
        _write(inner, one, read_part, depth + 1)
        draft.append(one, place)


def _append(draft: Draft, name: str, data: bytes, read_part: ReadPart) -> None:
    """Add an attachment to a document."""
    place = f'attachment "{name}"'
    try:
        draft.append(read_part(data, name), place)
    except Refused as error:
        draft.remarks.append(f"{place} {error}")
    except Exception as error:  # what ends the reader of an attachment must not end the mail's
        problem = one_line(f"{type(error).__name__}: {error}")
        draft.remarks.append(f"{place} cannot be read ({problem})")


def _write_page(text: str, draft: Draft, *, forwarded: bool) -> None:
    page = Draft()
    html.write(text, "mail.html", page, quotes=True)
    if page.marks:
        html.write(text, "mail.html", draft, quotes=True)  # below the headings of the document
    else:
        draft.paragraph(marked(page.text, forwarded=forwarded))
