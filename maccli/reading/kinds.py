"""What kind of file some bytes are: by how they begin first, then by the name's suffix."""

from __future__ import annotations

import codecs
import io
import mimetypes
import re
import zipfile
from dataclasses import dataclass
from pathlib import PurePath

from maccli.reading.encodings import Binary, Refused

_OFFICE = "application/vnd.openxmlformats-officedocument."


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Attributes:
        name: in words.
        reader: module and function below `maccli.reading.formats`: "pdf.read".
        media_type: such as application/pdf; "" is told by the file's name.
        suffixes: of the names of such files.
        decoded: whether the reader takes text rather than bytes.
        apart: whether it is read in a process of its own, as a hostile file could crash the reader.
    """

    name: str
    reader: str
    media_type: str = ""
    suffixes: tuple[str, ...] = ()
    decoded: bool = True
    apart: bool = False

    @property
    def markup(self) -> bool:
        """Whether its text says which encoding it is in, as HTML and XML do."""
        return self.media_type.endswith(("html", "xml"))


def _text(name: str, reader: str, media_type: str, *suffixes: str) -> Kind:
    return Kind(name, reader, media_type, suffixes)


def _parsed(name: str, reader: str, media_type: str, *suffixes: str) -> Kind:
    return Kind(name, reader, media_type, suffixes, decoded=False, apart=True)


PLAIN = _text("text", "markup.read", "text/plain", ".txt", ".text", ".log")
HTML = Kind("HTML", "html.read", "text/html", (".html", ".htm", ".xhtml", ".xht"), apart=True)
PDF = _parsed("PDF", "pdf.read", "application/pdf", ".pdf")
WORD = _parsed(
    "Word", "word.read", f"{_OFFICE}wordprocessingml.document", ".docx", ".docm", ".dotx", ".dotm"
)
SLIDES = _parsed(
    "PowerPoint",
    "slides.read",
    f"{_OFFICE}presentationml.presentation",
    *(".pptx", ".pptm", ".ppsx", ".ppsm", ".potx", ".potm"),
)
SHEETS = _parsed(
    "Excel",
    "sheets.read",
    f"{_OFFICE}spreadsheetml.sheet",
    *(".xlsx", ".xlsm", ".xlsb", ".xltx", ".xltm", ".xls"),
)
_OPEN = "application/vnd.oasis.opendocument."
OPEN_TEXT = _parsed("OpenDocument", "opendocument.read", f"{_OPEN}text", ".odt", ".ott")
OPEN_SLIDES = _parsed("OpenDocument", "opendocument.read", f"{_OPEN}presentation", ".odp", ".otp")
OPEN_DRAWING = _parsed("OpenDocument", "opendocument.read", f"{_OPEN}graphics", ".odg", ".otg")
OPEN_SHEETS = _parsed("OpenDocument", "sheets.read", f"{_OPEN}spreadsheet", ".ods", ".ots")
RTF = _parsed("RTF", "rtf.read", "application/rtf", ".rtf")
EPUB = _parsed("EPUB", "epub.read", "application/epub+zip", ".epub")
MAIL = _parsed("e-mail", "mail.read", "message/rfc822", ".eml", ".mht", ".mhtml")
MAILBOX = _parsed("mailboxes", "mail.read_mbox", "application/mbox", ".mbox", ".mbx")
CALENDAR = _text("calendars", "mail.read_calendar", "text/calendar", ".ics", ".ical", ".vcs")
CONTACTS = _text("contacts", "mail.read_contacts", "text/vcard", ".vcf", ".vcard")
XML = _text("XML", "markup.read", "application/xml", ".xml")
ARCHIVE = _parsed("archive", "", "application/zip")
COMPOUND = _parsed("compound file", "", "application/x-ole-storage")
SOURCE = _text("source code", "markup.read", "")
KINDS = (
    PLAIN,
    _text(
        "Markdown",
        "markup.read",
        "text/markdown",
        *(".md", ".markdown", ".mdown", ".mkd", ".mdx", ".rmd", ".qmd"),
    ),
    _text("reStructuredText", "markup.read", "text/x-rst", ".rst"),
    HTML,
    PDF,
    WORD,
    OPEN_TEXT,
    OPEN_SLIDES,
    OPEN_DRAWING,
    OPEN_SHEETS,
    RTF,
    SLIDES,
    SHEETS,
    EPUB,
    MAIL,
    MAILBOX,
    CALENDAR,
    CONTACTS,
    _text("CSV", "tables.read", "text/csv", ".csv"),
    _text("TSV", "tables.read", "text/tab-separated-values", ".tsv", ".tab"),
    _text("JSON", "tables.read", "application/json", ".json"),
    _text("JSON Lines", "tables.read", "application/jsonl", ".jsonl", ".ndjson"),
    _text("YAML", "markup.read", "application/yaml", ".yaml", ".yml"),
    _text("TOML", "markup.read", "application/toml", ".toml"),
    XML,
    _text("notebooks", "notebook.read", "application/x-ipynb+json", ".ipynb"),
    SOURCE,
)
FORMATS = ", ".join(dict.fromkeys(kind.name for kind in KINDS[:-1])) + f" and {SOURCE.name}"
"""All that is read, in words for the user."""

_BY_SUFFIX = {suffix: kind for kind in KINDS for suffix in kind.suffixes}
_MAIN_PART = re.compile(
    r"(word(?:processing)?|spreadsheet|excel|presentation|powerpoint)(?:ml)?\.[\w.]*\bmain\b"
)
_MAIN = {
    "word": WORD,
    "wordprocessing": WORD,
    "spreadsheet": SHEETS,
    "excel": SHEETS,
    "presentation": SLIDES,
    "powerpoint": SLIDES,
}
_MIME = {
    "application/epub+zip": EPUB,
    f"{_OPEN}text": OPEN_TEXT,
    f"{_OPEN}presentation": OPEN_SLIDES,
    f"{_OPEN}graphics": OPEN_DRAWING,
    f"{_OPEN}spreadsheet": OPEN_SHEETS,
}
_ENTRIES = (
    ("word/", WORD),
    ("xl/", SHEETS),
    ("ppt/", SLIDES),
    ("META-INF/container.xml", EPUB),
)
_OLD = "is an old {} file; save it as {} first"
_STREAMS: tuple[tuple[str, Kind | str], ...] = (
    ("Workbook", SHEETS),
    ("Book", SHEETS),
    ("WordDocument", _OLD.format("Word", ".docx")),
    ("PowerPoint Document", _OLD.format("PowerPoint", ".pptx")),
    ("__properties_version1.0", "is an Outlook message; save it as .eml first"),
    ("EncryptedPackage", "has a password; save it without one first"),
)
_MAGIC = (
    (b"PK\x05\x06", "is an empty archive"),
    (b"\x1f\x8b", "is compressed; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed; unpack it first"),
    (b"BZh91AY&SY", "is compressed; unpack it first"),
    (b"\xfd7zXZ", "is compressed; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is an archive; unpack it first"),
    (b"Rar!\x1a", "is an archive; unpack it first"),
    (b"\x89PNG", "is a picture: its text needs OCR first"),
    (b"\xff\xd8\xff", "is a picture: its text needs OCR first"),
    (b"\x7fELF", "is a binary file"),
)
# Other programs export pages, tables and text under the suffixes of Word and Excel.
_EXPORTED = {".doc": PLAIN, ".rtf": PLAIN, ".xls": _BY_SUFFIX[".csv"]}
_HTML_BEGIN = re.compile(r"<(?:!doctype\s+html|html[\s>])", re.IGNORECASE)
_PROLOG = re.compile(r"\s*(?:<\?xml[^>]*>|<!--.*?-->)", re.DOTALL)
_MAILBOX_BEGIN = re.compile(r"From \S+ .*\d\d:\d\d.*\d{4}")
_FIRST_LINES = {"BEGIN:VCALENDAR": CALENDAR, "BEGIN:VCARD": CONTACTS}
_HEADER = re.compile(r"([A-Za-z][\w-]*):")
_FROM = frozenset({"from", "received", "return-path", "message-id", "delivered-to"})
_TO = frozenset({"to", "date", "subject", "mime-version"})


def kind_of(data: bytes, name: str) -> Kind:
    """Return what kind of file this is; that of an archive or compound file is told by `inside`.

    Raises:
        Binary: it is of a kind that has no text.
        Refused: it is not what its name says.
    """
    suffix = PurePath(name).suffix.lower()
    named = _BY_SUFFIX.get(suffix)
    start = data[:1024].lstrip(b" \t\r\n\f\0" + codecs.BOM_UTF8)
    if named is PDF and b"%PDF-" in data[:1024]:
        return PDF
    if start.startswith(b"%PDF-") and b"obj" in data:  # or it is a text about PDF files
        return PDF
    if data.startswith(b"PK\x03\x04"):
        return ARCHIVE
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return COMPOUND
    if re.match(rb"{\\rtf[\d\\]", start):
        return RTF
    for magic, reason in _MAGIC:
        if data.startswith(magic):
            raise Binary(reason)
    begin = _begin(data)
    if (named in {None, PLAIN, HTML, XML} or suffix in _EXPORTED) and _is_html(begin):
        return HTML
    if suffix in _EXPORTED:
        return _EXPORTED[suffix]
    if named in {None, PLAIN} and (found := _FIRST_LINES.get(begin.split("\n")[0].strip().upper())):
        return found
    if named is None:
        if _MAILBOX_BEGIN.match(begin):
            return MAILBOX
        return MAIL if _is_mail(begin) else SOURCE
    if named.apart and named not in {HTML, MAIL, MAILBOX}:
        if b"PK\x03\x04" in data[:1024]:  # something else stands before it, such as a mark
            return ARCHIVE
        raise Refused(f"is named {suffix} but is no such file")
    return named


def inside(data: bytes, name: str) -> Kind:
    """Return the kind of an archive or compound file by what is in it.

    Raises:
        Refused: it is of no kind that is read, or is damaged.
    """
    return _inside_compound(data) if data.startswith(b"\xd0\xcf") else _inside_zip(data, name)


def media_type_of(kind: Kind, name: str) -> str:
    """Return the media type of a file."""
    guess = mimetypes.guess_type(name)[0] or ""
    return kind.media_type or (guess if guess.startswith("text/") else "text/plain")


def _begin(data: bytes) -> str:
    """Return the first lines of a text; its encoding hardly matters for what is looked for."""
    head = data[:8192]
    utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = head.decode("utf-16" if utf16 else "utf-8", "replace")
    return text.lstrip("\ufeff").replace("\r\n", "\n")


def _is_html(begin: str) -> bool:
    position = 0
    while match := _PROLOG.match(begin, position):
        position = match.end()
    return _HTML_BEGIN.match(begin[position:].lstrip()) is not None


def _is_mail(begin: str) -> bool:
    """Return whether a text begins with headers, and those of a message are among them."""
    names = set[str]()
    for line in begin.split("\n"):
        header = _HEADER.match(line)
        if header:
            names.add(header[1].lower())
        elif not line or not (names and line[0] in " \t"):
            break
    return bool(names & _FROM) and bool(names & _TO)


def _inside_zip(data: bytes, name: str) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            told = {
                entry: archive.open(entry).read(2**20).decode("utf-8", "replace")
                for entry in ("[Content_Types].xml", "mimetype", "META-INF/manifest.xml")
                if entry in names
            }
    except Exception as error:  # a damaged archive raises a dozen kinds of them
        if PurePath(name).suffix.lower() in _BY_SUFFIX:
            raise Refused(f"is damaged: {in_short(error)}") from error
        raise Binary("is an archive; unpack it first") from error
    if main := _MAIN_PART.search(told.get("[Content_Types].xml", "")):
        return _MAIN[main[1]]
    listed = re.search(rf'"({_OPEN}[\w-]+)"', told.get("META-INF/manifest.xml", ""))
    mime = told.get("mimetype", "").strip() or (listed[1] if listed else "")
    mime = re.sub(r"-(template|master|web)\Z", "", mime)
    if mime in _MIME:
        return _MIME[mime]
    if mime.startswith(_OPEN):
        raise Refused("is an OpenDocument file, but no text, sheet or slides; save it as PDF")
    for entry, kind in _ENTRIES:
        if any(other.startswith(entry) for other in names):
            return kind
    raise Binary("is an archive; unpack it first")


def _inside_compound(data: bytes) -> Kind:
    """Tell the old formats of Office apart by the streams that only one of them has."""
    first_sector = int.from_bytes(data[48:52], "little")
    size = 1 << min(int.from_bytes(data[30:32], "little"), 12)
    start = min((first_sector + 1) * size, len(data))
    found = []
    for stream, kind in _STREAMS:
        at = data.find(stream.encode("utf-16-le"), start)
        found += [(at if at >= 0 else len(data), kind)]
    at, kind = min(found, key=lambda item: item[0])
    if at == len(data):
        raise Binary("is a binary file")
    if isinstance(kind, str):
        raise Refused(kind)
    return kind


def in_short(error: BaseException) -> str:
    """Return what a library says of a damaged file, cut to a few words."""
    return " ".join((str(error) or type(error).__name__).split())[:100]
