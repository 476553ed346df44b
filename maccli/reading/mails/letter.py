"""A mail taken apart: its headers, texts, attachments and pictures, decoded."""

from __future__ import annotations

import binascii
import mimetypes
import re
from email import message_from_bytes
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple, cast

from maccli.reading import encodings
from maccli.reading.draft import one_line
from maccli.reading.encodings import Refused
from maccli.reading.mails.calendar import events, in_words
from maccli.reading.mails.quoting import unflowed, without_armour

_MAX_DEPTH = 50  # parts in parts
_MAX_HEADER = 3000  # characters; a list of receivers can be longer
_WORD = re.compile(r"=\?([\w.:-]{1,40})(?:\*[\w-]{1,20})?\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"\?=\s+(?==\?)")
_QUOTED_NAME = re.compile(r'"([^"<>@,;\\]*)"(?= <)')
# What stands instead of the text in a mail that is HTML only.
_STUB = re.compile(
    r"html[ -]?e?-?mail|\b(?:in|as) html|\b(?:view|read|display)\b.{0,80}\b(?:browser|html|online)"
    r"|not support html|html.{0,20}(?:client|viewer|format)",
    re.IGNORECASE | re.DOTALL,
)
_MARKUP = re.compile(r"<(style|script)\b.*?</\1|<[^>]*>", re.IGNORECASE | re.DOTALL)
_SEEN = frozenset({"audio", "font", "image", "video"})
_PARTS_OF_A_PAGE = frozenset({"application/javascript", "text/css", "text/javascript"})
_SIGNATURE = re.compile(r"application/(?:pgp-signature|(?:x-)?pkcs7-signature|pgp-keys)")
_UNREAD = {
    "application/ms-tnef": "is in Outlook's own format",
    "application/pkcs7-mime": "is encrypted or sealed (S/MIME)",
    "application/x-pkcs7-mime": "is encrypted or sealed (S/MIME)",
    "application/vnd.ms-tnef": "is in Outlook's own format",
    "message/external-body": "is not in the mail itself",
    "multipart/encrypted": "is encrypted",
}
_BOUNDARY = re.compile(rb"^--([^\s-][^\r\n]*?)[ \t]*\r?\nContent-", re.MULTILINE | re.IGNORECASE)


class Text(NamedTuple):
    """Some text of a mail."""

    kind: Literal["plain", "page", "event"]
    text: str


class Attachment(NamedTuple):
    """What is sent with a mail: its name, and its bytes; None if they hold no text."""

    name: str
    data: bytes | None


class Letter:
    """A mail, taken apart.

    Attributes:
        texts: what it says, each thing once.
        attachments: what is sent with it.
        pictures: names of those in the text.
        messages: that it hands on.
        remarks: on what cannot be read.
    """

    def __init__(self, message: Message, depth: int = 0) -> None:
        """Take a mail apart.

        Args:
            message: the mail, or a part of one.
            depth: of how many other parts it is a part.
        """
        self.texts: list[Text] = []
        self.attachments: list[Attachment] = []
        self.pictures: list[str] = []
        self.messages: list[Message] = []
        self.remarks: list[str] = []
        self._take(message, depth)

    def _take(self, part: Message, depth: int, *, in_page: bool = False) -> None:
        kind, name = part.get_content_type(), _file_name(part)
        if depth > _MAX_DEPTH:
            self.remarks.append("has more parts in parts than are read")
        elif kind in _UNREAD:
            what = f'attachment "{name}"' if name else "a part of the mail"
            self.remarks.append(f"{what} {_UNREAD[kind]}, and is left out")
        elif kind == "message/rfc822" and part.is_multipart():
            self.messages += _parts(part)
        elif kind == "message/delivery-status" and part.is_multipart():
            for one in _parts(part):
                lines = (f"{name}: {header(one, name)}" for name in one.keys())  # noqa: SIM118
                self.texts.append(Text("plain", "\n".join(lines)))
        elif kind == "multipart/alternative" and part.is_multipart():
            self._take_one([Letter(one, depth + 1) for one in _parts(part)])
        elif part.is_multipart():
            for one in _parts(part):
                self._take(one, depth + 1, in_page=kind == "multipart/related")
        elif kind.startswith("multipart/"):
            self._take_broken(part, depth)
        elif not _SIGNATURE.fullmatch(kind):
            self._take_leaf(part, kind, name, in_page)

    def _take_one(self, choices: list[Letter]) -> None:
        """Take one of several letters that say the same, and what is sent with any of them."""
        texts = [text for choice in choices for text in choice.texts]
        plain = next((one for one in choices if any(t.kind == "plain" for t in one.texts)), None)
        page = next((one for one in choices if any(t.kind == "page" for t in one.texts)), None)
        if plain and page and _is_stub(_joined(plain, "plain"), _joined(page, "page")):
            plain = None
        chosen = (plain or page or Letter(Message())).texts
        self.texts += chosen
        self.texts += [one for one in texts if one.kind == "event" and one not in chosen]
        for choice in choices:
            self.attachments += [one for one in choice.attachments if one not in self.attachments]
            self.pictures += [one for one in choice.pictures if one not in self.pictures]
            self.remarks += [one for one in choice.remarks if one not in self.remarks]
            self.messages += choice.messages

    def _take_broken(self, part: Message, depth: int) -> None:
        """Take what has parts but does not say what stands between them."""
        data = _payload(part)
        if found := _BOUNDARY.search(data):
            head = b'Content-Type: multipart/mixed; boundary="%s"\n\n' % found[1].strip(b'"')
            again = message_from_bytes(head + data)
            if again.is_multipart():
                self._take(again, depth + 1)
                return
        self._take_text(part, "text/plain")

    def _take_leaf(self, part: Message, kind: str, name: str, in_page: bool) -> None:
        is_attachment = part.get_content_disposition() == "attachment" and not in_page
        main = kind.partition("/")[0]
        if kind in ("application/ics", "text/calendar"):
            calendar = decoded(_payload(part), part.get_content_charset(), markup=False)
            text = "\n\n".join(events(calendar))
            if text and Text("event", text) not in self.texts:
                self.texts.append(Text("event", text))
            self.attachments += [Attachment(name, None)] if name else []
        elif main in _SEEN and not is_attachment and (in_page or not name):
            self.pictures += [name] if name and name not in self.pictures else []
        elif main in _SEEN:
            self.attachments.append(Attachment(name or f"unnamed.{kind.partition('/')[2]}", None))
        elif kind in _PARTS_OF_A_PAGE and not is_attachment:
            pass
        elif main == "text" and not is_attachment and (not name or kind == "text/html"):
            self._take_text(part, kind)
        else:
            name = name or f"unnamed{mimetypes.guess_extension(kind) or ''}"
            self.attachments.append(Attachment(name, _payload(part)))

    def _take_text(self, part: Message, kind: str) -> None:
        is_page = kind == "text/html"
        text = decoded(_payload(part), part.get_content_charset(), markup=is_page)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        if kind in ("text/enriched", "text/richtext"):
            text = _MARKUP.sub("", text)
        if str(part.get_param("format", "")).lower() == "flowed":
            delete = str(part.get_param("delsp", "")).lower() == "yes"
            text = unflowed(text, delete_space=delete)
        if not is_page:
            text, encrypted = without_armour("\n".join(line.rstrip() for line in text.split("\n")))
            if encrypted:
                self.remarks.append("a part of the mail is encrypted, and is left out")
        if text.strip() and kind != "text/x-amp-html":  # which says the same once more
            self.texts.append(Text("page" if is_page else "plain", text))


def header(message: Message, name: str) -> str:
    """Return the first header of that name on one line; "" if there is none."""
    name = name.lower()
    raw = next((value for key, value in message.raw_items() if key.lower() == name), "")
    data = str(raw)[: 20 * _MAX_HEADER].encode("utf-8", "surrogateescape")
    value = one_line(_words(data.decode() if data.isascii() else decoded(data, None, markup=False)))
    if name == "date":
        try:
            when = parsedate_to_datetime(value)
        except (TypeError, ValueError, IndexError, OverflowError):
            return value
        return f"{in_words(when)} {when:%z}".rstrip()
    value = _QUOTED_NAME.sub(r"\1", value)
    if len(value) > _MAX_HEADER:
        shown, _, rest = value[:_MAX_HEADER].rpartition(",")
        more = value.count(",") - shown.count(",")
        value = f"{shown} and {more} more" if shown else f"{rest}…"
    return value


def decoded(data: bytes, label: str | None, *, markup: bool) -> str:
    """Return a text of a mail, whatever its encoding is said to be.

    Args:
        data: the text.
        label: the encoding that it is said to be in.
        markup: whether it is HTML, which may name its encoding itself.
    """
    codec = None
    if label:
        codec = "utf-7" if label.lower() in ("utf-7", "utf7") else encodings.codec_of(label)
    if codec and (data.isascii() or not _is_utf8(data)):
        try:
            return data.decode(encodings.as_written(codec, data)).removeprefix("\ufeff")
        except UnicodeDecodeError:
            pass  # it is in another one
    try:
        return encodings.decode(data, None, markup=markup).text
    except Refused:
        return data.decode(codec or "cp1252", "replace")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _words(text: str) -> str:
    """Return a header with the words decoded that are not ASCII (RFC 2047)."""
    if "=?" not in text:
        return text
    text = _BETWEEN_WORDS.sub("?=", text)
    parts, data, label, end = list[str](), b"", "", 0
    for word in _WORD.finditer(text):
        # A character may be cut in two by the end of a word.
        if word.start() != end or word[1].lower() != label:
            parts += [decoded(data, label, markup=False), text[end : word.start()]]
            data, label = b"", word[1].lower()
        data, end = data + _bytes(word[2].lower(), word[3]), word.end()
    return "".join([*parts, decoded(data, label, markup=False), text[end:]])


def _bytes(encoding: str, word: str) -> bytes:
    data = word.encode("utf-8", "replace")
    if encoding == "q":
        return binascii.a2b_qp(data, header=True)
    try:
        return binascii.a2b_base64(data + b"==")
    except binascii.Error:
        return data


def _parts(message: Message) -> list[Message]:
    return cast("list[Message]", message.get_payload())


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _file_name(part: Message) -> str:
    """Return the name of a part's file, without folders; "" if it has none."""
    try:
        name = part.get_filename() or ""
    except (LookupError, TypeError, ValueError):
        name = ""
    name = one_line(_words(name.encode("utf-8", "replace").decode())).replace('"', "'")
    return re.split(r"[/\\]", name)[-1][:200]


def _joined(letter: Letter, kind: str) -> str:
    return "\n".join(text.text for text in letter.texts if text.kind == kind)


def _is_stub(plain: str, page: str) -> bool:
    """Return whether the plain text only says that there is a page, or leaves most of it out."""
    said = len(plain.split())
    if len(plain) < 400 and _STUB.search(plain):
        return True
    there = len(_MARKUP.sub(" ", page).split()) if len(page) > 4 * len(plain) else 0
    return there > 100 and there > 4 * said
