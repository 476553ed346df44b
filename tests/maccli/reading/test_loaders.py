from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from maccli.reading import loaders
from maccli.reading.encodings import Binary, Empty, Refused
from maccli.reading.loaders import from_bytes, load

RUSSIAN = "Привет, как дела? Сегодня хорошая погода в Москве, и мы идём гулять."
FRENCH = "Le garçon a mangé une pomme à l'école, près de la forêt."


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("Plain. Naïve – “quoted”.", "utf-8", "utf-8"),
        ("Marked.", "utf-8-sig", "utf-8"),
        (RUSSIAN, "utf-16", "utf-16"),
        (RUSSIAN, "utf-32", "utf-32"),
        ("Hello world, this is a text.", "utf-16-le", "utf_16_le"),
        (RUSSIAN, "koi8-r", "koi8_r"),
        (RUSSIAN, "cp1251", "cp1251"),
        (FRENCH, "latin-1", "cp1252"),
        ("Café – “short”.", "cp1252", "cp1252"),
        ("今日は晴れです。明日は雨が降るでしょう。", "shift_jis", "cp932"),
    ],
)
def test_encodings_are_told_apart(text: str, encoding: str, expected: str) -> None:
    loaded = from_bytes(text.encode(encoding), "a.txt")
    assert (loaded.text, loaded.encoding) == (text, expected)
    guessed = not expected.startswith("utf") or expected == "utf_16_le"
    assert (loaded.remark is not None) == guessed


def test_a_detected_encoding_is_reported() -> None:
    remark = from_bytes(FRENCH.encode("cp1252"), "a.txt").remark
    assert remark == "is not UTF-8; read as cp1252 (else use --encoding)"


def test_damaged_utf8_is_read_and_reported() -> None:
    loaded = from_bytes(RUSSIAN.encode() + b"\xd0 end", "a.txt")
    assert loaded.text == RUSSIAN + "\ufffd end"
    assert loaded.remark == "is damaged UTF-8: 1 place shown as \ufffd"


def test_a_given_encoding_is_used_or_refused() -> None:
    assert from_bytes(RUSSIAN.encode("cp866"), "a.txt", "cp866").text == RUSSIAN
    with pytest.raises(Refused, match="is not ascii: ordinal not in range"):
        from_bytes(RUSSIAN.encode(), "a.txt", "ascii")
    with pytest.raises(Refused, match="there is no encoding 'klingon'"):
        from_bytes(b"a", "a.txt", "klingon")


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", Empty, "is empty"),
        (b" \n\t ", Empty, "has no text in it"),
        (codecs.BOM_UTF8, Empty, "has no text in it"),
        (b"<html><body></body></html>", Empty, "has no text in it"),
        (b"%PDF-1.7 ...", Refused, "is a damaged PDF"),
        (b"PK\x03\x04....", Binary, "is an archive"),
        (bytes(range(256)) * 20, Binary, "is a binary file"),
        (b"\x7fELF\x02\x01\x01" + b"\0" * 100, Binary, "is a binary file"),
        (b"abc\x01\x02\x03\x04", Binary, "is a binary file"),
        (codecs.BOM_UTF16_LE + b"a", Refused, "begins as utf-16 but is not"),
    ],
)
def test_what_is_no_document_is_refused(data: bytes, kind: type[Refused], reason: str) -> None:
    with pytest.raises(kind, match=reason):
        from_bytes(data, "file")


def test_a_file_that_is_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(200 * 2**20)
    with pytest.raises(Refused, match="larger than 50 MB"):
        load(huge)
    monkeypatch.setattr(loaders, "MAX_BYTES", 4)
    (tmp_path / "fits.txt").write_text("abcd")
    assert load(tmp_path / "fits.txt").text == "abcd"


def test_the_text_of_a_file_is_kept_as_it_is() -> None:
    text = "One.\r\n\r\n  Two.\n"
    assert from_bytes(text.encode(), "a.txt").text == text


PAGE = """<!doctype html><html><head><title>The Treaty &amp;
  Co</title><style>x {}</style><script>var a = "script";</script></head>
<body><nav>Home About</nav><h1>Treaty of Lund</h1><p>Signed in <b>May 2031</b> by
three states.</p><ul><li>No fishing.</li></ul><aside>A note.</aside><footer>Imprint</footer></body>
</html>"""


def test_html_gives_its_text_and_title() -> None:
    loaded = from_bytes(PAGE.encode(), "page.html")
    assert loaded.title == "The Treaty & Co"
    assert loaded.media_type == "text/html"
    blocks = [line.strip() for line in loaded.text.splitlines() if line.strip()]
    assert blocks == [
        "Treaty of Lund",
        "Signed in May 2031 by three states.",
        "• No fishing.",
        "A note.",
    ]


def test_html_is_known_by_its_beginning_and_believed_about_its_encoding() -> None:
    page = '<html><meta charset="iso-8859-2"><title>ž</title><p>Příliš žluťoučký kůň</p></html>'
    loaded = from_bytes(page.encode("iso-8859-2"), "page")
    assert loaded.text.strip() == "Příliš žluťoučký kůň"
    assert (loaded.encoding, loaded.remark) == ("iso8859-2", None)
    lying = page.replace("iso-8859-2", "nonsense").encode("utf-8")
    assert "žluťoučký" in from_bytes(lying, "page").text


@pytest.mark.parametrize(
    ("name", "text", "title", "media_type"),
    [
        ("a.md", "intro\n\n## The *Title* ##\nx", "The *Title*", "text/markdown"),
        ("a.md", "Setext\n======\nx", "Setext", "text/markdown"),
        ("a.rst", "======\nOver\n======\n\nx", "Over", "text/x-rst"),
        ("a.rst", "# no heading here", None, "text/x-rst"),
        ("a.txt", "# no heading here", None, "text/plain"),
        ("LICENSE", "text", None, "text/plain"),
        ("data.csv", "a,b", None, "text/csv"),
    ],
)
def test_titles_and_media_types(name: str, text: str, title: str | None, media_type: str) -> None:
    loaded = from_bytes(text.encode(), name)
    assert (loaded.title, loaded.media_type) == (title, media_type)
