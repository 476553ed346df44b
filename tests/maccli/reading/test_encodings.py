from __future__ import annotations

import codecs
import random

import pytest

from maccli.reading.encodings import Binary, Refused, codec_of, decode

LATIN_1 = {
    "French": "La mère de Zoé a acheté du pâté et des œufs à la fête de Noël, près du château.",
    "French short": "Été comme hiver, le café reste fermé là-bas.",
    "Portuguese": "A estação não fica longe: são três ruas até à praça da Conceição.",
    "Italian": "Perché il caffè è già freddo? Così non si può più bere, è una novità.",
    "Catalan": "El capità arribarà demà a les nou; això és el que diu l'avís de l'estació.",
    "Icelandic": "Báturinn fór út í nótt og kemur ekki fyrr en á þriðjudag, því veðrið er vont.",
    "German": "Die Fähre fährt um neun; für Schüler gilt eine Ermäßigung auf allen Strecken.",
    "Spanish": "¿Cuándo sale el próximo barco? El señor Núñez llegará mañana según el capitán.",
    "Swedish": "Färjan går klockan åtta från Gräddö, och sjön är lugn på morgonen.",
    "Danish": "Færgen sejler klokken ni; børn på dækket får gratis æbler og brød.",
    "Norwegian": "Båten går klokka ni, og været blir dårlig; ta på en tørr lue før du går.",
    "Dutch": "De coördinator heeft een idee over de reünie en de financiën van het schip.",
    "English": "It’s a “blue heron” – 3 € for a café au lait, naïve as that is.",
}
OTHERS = [
    (
        "cp1250",
        "Statek odpływa o dziewiątej. Kapitan mówi, że pogoda będzie zła, więc weźcie płaszcz.",
    ),
    (
        "iso8859-2",
        "Łódź odpływa w środę o dziewiątej; każdy musi mieć bilet, żeby wejść na pokład.",
    ),
    (
        "cp1250",
        "Loď odplouvá v devět hodin. Kapitán říká, že počasí bude špatné, tak si vezměte kabát.",
    ),
    (
        "cp1254",
        "Gemi saat dokuzda kalkıyor; kaptan hava kötü olacağı için şemsiye alın diyor, ağaçlı yol.",
    ),
    ("cp1251", "Паром отходит в девять часов. Капитан говорит, что погода будет плохая."),
    ("koi8-r", "Паром отходит в девять часов. Капитан говорит, что погода будет плохая."),
    ("koi8-u", "Пором відходить о дев'ятій. Її капітан каже, що погода буде погана і вітряна."),
    ("iso8859-7", "Το πλοίο φεύγει στις εννέα. Ο καπετάνιος λέει ότι ο καιρός θα είναι κακός."),
    ("cp932", "船は九時に出ます。船長によると、明日の天気は悪くなるそうです。"),
    ("euc_jp", "船は九時に出ます。船長によると、明日の天気は悪くなるそうです。"),
    ("gb18030", "轮船九点出发。船长说明天的天气会很不好，所以请大家带上外套和雨伞。"),
    ("big5hkscs", "輪船九點出發。船長說明天的天氣會很不好，所以請大家帶上外套和雨傘。"),
    ("cp949", "배는 아홉 시에 떠납니다. 선장은 내일 날씨가 나쁠 것이라고 말합니다."),
    ("iso2022_jp_2", "船は九時に出ます。"),
]


@pytest.mark.parametrize("language", LATIN_1)
def test_short_western_notes_are_read_as_cp1252(language: str) -> None:
    text = LATIN_1[language]
    found = decode(text.encode("cp1252"), None, markup=False)
    assert (found.text, found.encoding) == (text, "cp1252")
    assert found.remarks == ["is not UTF-8; read as cp1252 (else use --encoding)"]


@pytest.mark.parametrize(("encoding", "text"), OTHERS)
def test_other_encodings_are_recognised(encoding: str, text: str) -> None:
    found = decode(text.encode(encoding), None, markup=False)
    assert (found.text, found.encoding) == (text, encoding)


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("latin1", "cp1252"),
        ("ISO-8859-1 ", "cp1252"),
        ("us-ascii", "cp1252"),
        ("shift_jis", "cp932"),
        ("gb2312", "gb18030"),
        ("ks_c_5601-1987", "cp949"),
        ("utf8", "utf-8"),
        ("x-user-defined", None),
        ("undefined", None),
        ("replacement", None),
        ("klingon", None),
        ("é", None),
    ],
)
def test_labels_mean_what_they_mean_to_browsers(label: str, codec: str | None) -> None:
    assert codec_of(label) == codec


NOTE = "Šálek kávy stojí v přístavu pět korun, řekl kapitán a odešel."


@pytest.mark.parametrize(
    ("page", "encoding", "found"),
    [
        (f"<meta charset=windows-1250><p>{NOTE}", "cp1250", "cp1250"),
        (f"<meta content='text/html; charset=iso-8859-2'>{NOTE}", "iso8859-2", "iso8859-2"),
        (f'<?xml version="1.0" encoding="iso-8859-2"?><a>{NOTE}</a>', "iso8859-2", "iso8859-2"),
        (f"<!-- <meta charset=big5> --><meta charset=cp1250>{NOTE}", "cp1250", "cp1250"),
        ("<meta charset=latin1>“Café” – 3 €", "cp1252", "cp1252"),
        ("<meta charset=utf-16>Café, two coffees.", "utf-8", "utf-8"),
        ("<meta charset=undefined>Un café près de la forêt.", "cp1252", "cp1252"),
        ("<meta charset=klingon>Un café près de la forêt.", "cp1252", "cp1252"),
        ("<meta charset=x-user-defined>Un café près de la forêt.", "cp1252", "cp1252"),
        ("<meta charset=big5>A page in UTF-8: naïve.", "utf-8", "utf-8"),
    ],
)
def test_a_page_is_believed_where_a_browser_would(page: str, encoding: str, found: str) -> None:
    decoded = decode(page.encode(encoding), None, markup=True)
    assert (decoded.text, decoded.encoding) == (page, found)


def test_a_source_file_says_its_encoding() -> None:
    source = f"#!/usr/bin/python\n# -*- coding: iso-8859-2 -*-\nx = '{NOTE}'\n"
    assert decode(source.encode("iso8859-2"), None, markup=False).encoding == "iso8859-2"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_marks_are_obeyed_and_left_out(encoding: str) -> None:
    found = decode(f"\ufeff{NOTE}".encode(encoding), None, markup=False)
    assert found == (NOTE, encoding, [])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text",
    ["Hello, ferry.\n", LATIN_1["French"], *(text for _, text in OTHERS), "היום יפה, מחר יפה."],
)
def test_utf16_needs_no_mark(text: str, encoding: str) -> None:
    found = decode(text.encode(encoding), None, markup=False)
    assert (found.text, found.encoding) == (text, encoding)


def test_undefined_bytes_of_cp1252_are_those_of_browsers() -> None:
    page = b"<meta charset=latin1>Caf\xe9 \x81\x8d\x8f\x90\x9d, and the ferry leaves at nine."
    text = decode(page, None, markup=True).text
    assert "Café \x81\x8d\x8f\x90\x9d, and" in text


@pytest.mark.parametrize(
    ("label", "encoding", "text"),
    [
        ("iso-8859-2", "iso8859-2", "Żółta łąka"),
        ("iso-8859-2", "cp1250", "„Żółta” łąka – środa"),
        ("iso-8859-5", "cp1251", "«Паром» – „девять”"),
        ("iso-8859-15", "cp1252", "“Blue Heron” – 3 €"),
        ("iso-8859-15", "iso8859-15", "cœur, 3 €"),
    ],
)
def test_quotes_of_windows_under_the_name_of_another_encoding(
    label: str, encoding: str, text: str
) -> None:
    page = f"<meta charset={label}>{text}".encode(encoding)
    assert decode(page, None, markup=True).text.endswith(f">{text}")


def test_damage_is_told() -> None:
    found = decode(NOTE.encode() + b"\xd0 end", None, markup=False)
    assert found == (NOTE + "\ufffd end", "utf-8", ["is damaged UTF-8: 1 place shown as \ufffd"])
    page = b"<meta charset=shift_jis>" + "船は九時に出ます。船長".encode("cp932") + b"\x81 ."
    found = decode(page, None, markup=True)
    assert found.remarks == ["is damaged cp932: 1 place shown as \ufffd"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Die Fähre fährt. ".encode() + b"\xff" + " Öl".encode(), "Die Fähre fährt. \ufffd Öl"),
        ("Die Fähre fährt ö".encode()[:-1], "Die Fähre fährt \ufffd"),  # cut off
        (b"half \xed\xa0\xbd of a pair", "half \ufffd of a pair"),
        (b"both \xed\xa0\xbd\xed\xb8\x80 halves", "both \U0001f600 halves"),
        ("Fähre".encode("utf-16") + b"x", "Fähre\ufffd"),
        (b"\xff\xfe" + "Fähre".encode("utf-16-le") + b"\0\xd8!\0", "Fähre\ufffd!"),
    ],
)
def test_a_short_note_with_one_bad_byte_is_still_unicode(data: bytes, text: str) -> None:
    found = decode(data, None, markup=False)
    assert found.text == text
    assert bool(found.remarks) == ("\ufffd" in text)


def test_latin_1_that_ends_in_an_accent_is_no_broken_utf8() -> None:
    assert decode("Rendez-vous au café".encode("latin-1"), None, markup=False).text[-1] == "é"


@pytest.mark.parametrize(
    ("data", "text", "remark"),
    [
        (b"The ferry leaves.\0 At nine.", "The ferry leaves. At nine.", "has 1 NUL character in"),
        (b"The ferry leaves at nine." * 3 + b"\0\0", None, "has 2 NUL characters in it, left out"),
    ],
)
def test_a_few_nuls_are_left_out(data: bytes, text: str | None, remark: str) -> None:
    found = decode(data, None, markup=False)
    assert found.text == (text or data.replace(b"\0", b"").decode())
    assert found.remarks[0].startswith(remark)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02",
        b"\x80\x81\x82",
        b"abc\x01\x02\x03\x04",
        bytes(range(256)) * 20,
        random.Random(1).randbytes(5000),
        b"\x01\x04\x02\x04",
    ],
)
def test_binary_files_are_refused(data: bytes) -> None:
    with pytest.raises(Binary):
        decode(data, None, markup=False)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (
            codecs.BOM_UTF16_LE + "The ferry ".encode("utf-16-le") + b"\x3d\xd8 leaves.".ljust(12),
            None,
        ),
        (b"The +2D0- ferry", "utf-7"),
        (b"\\ud83d ferry", "unicode_escape"),
    ],
)
def test_halves_of_pairs_become_marks_of_damage(data: bytes, encoding: str | None) -> None:
    text = decode(data, encoding, markup=False).text
    assert "\ufffd" in text
    assert text.encode("utf-8")


@pytest.mark.parametrize("label", ["undefined", "klingon", "base64", "rot13", "a\0b", "", "idna"])
def test_an_encoding_that_there_is_not_is_refused(label: str) -> None:
    with pytest.raises(Refused, match="^cannot be read: there is no encoding '"):
        decode(b"x", label, markup=False)


def test_a_given_encoding_is_used_or_refused() -> None:
    assert decode("Паром".encode("cp866"), "cp866", markup=False).text == "Паром"
    assert decode("3 €".encode("cp1252"), "latin-1", markup=False) == ("3 €", "cp1252", [])
    with pytest.raises(Refused, match="is not ascii: ordinal not in range"):
        decode("Паром".encode(), "ascii", markup=False)
    with pytest.raises(Refused, match="is not utf-8: invalid start byte at byte 4"):
        decode(b"abc \xff", "utf-8", markup=False)
