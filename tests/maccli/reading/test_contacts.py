"""Contacts, as address books export them."""

from __future__ import annotations

import pytest

from maccli.reading import loaders
from maccli.reading.encodings import Empty
from maccli.reading.loaders import Loaded


def read(*lines: str) -> Loaded:
    """Read a file with one contact."""
    inside = "\r\n".join(["BEGIN:VCARD", *lines, "END:VCARD"])
    return loaders.from_bytes(f"{inside}\r\n".encode(), "friends.vcf")


def test_a_contact_is_a_row() -> None:
    loaded = read(
        "VERSION:3.0",
        "N:Vik;Ines;Maria;Dr.;",
        "FN:Dr. Ines Vik",
        "ORG:Ferry Line;Harbour office",
        "TITLE:Captain",
        "TEL;TYPE=CELL,VOICE;TYPE=pref:+47 900 12 345",
        "TEL;TYPE=WORK,FAX:+47 22 00 00 00",
        "EMAIL;TYPE=INTERNET;TYPE=HOME:ines@vik.example",
        "ADR;TYPE=HOME:;;14 Mill Lane\\, left;Oslo;;0150;Norway",
        "BDAY:1974-03-19",
        "CATEGORIES:Friends,Rowing",
        "X-SOCIALPROFILE:@inesvik",
        "NOTE:Allergic to bee stings\\; has a dog.",
        "PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQSkZJRgABAQ",
        "X-PICTURE:data:image/png;base64,AAAA",
        "REV:2026-01-02T03:04:05Z",
    )
    assert loaded.media_type == "text/vcard"
    assert loaded.text == (
        "Name: Dr. Ines Vik; Organization: Ferry Line, Harbour office; Title: Captain; "
        "Mobile phone: +47 900 12 345; Work fax: +47 22 00 00 00; Home e-mail: ines@vik.example; "
        "Home address: 14 Mill Lane, left, Oslo, 0150, Norway; Birthday: 19 Mar 1974; "
        "Categories: Friends,Rowing; Socialprofile: @inesvik; "
        "Note: Allergic to bee stings; has a dog."
    )
    assert [mark.place for mark in loaded.marks] == ["contact 1"]


def test_an_old_phone_wrote_it() -> None:
    loaded = read(
        "VERSION:2.1",
        "N;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:Brandt;J=FCrgen",
        "TEL;WORK;VOICE:0150 1",
        "TEL;WORK;VOICE:0150 2",
        "NOTE;ENCODING=QUOTED-PRINTABLE:Has the key=20=",
        "of the trailer=0D=0Aand a very long list of other thin=",
        "gs.",
    )
    assert loaded.text == (
        "Name: Jürgen Brandt; Work phone: 0150 1, 0150 2\n"
        "Has the key of the trailer\nand a very long list of other things."
    )


def test_labels_of_ones_own() -> None:
    loaded = read(
        "VERSION:3.0",
        "FN:Tor Dahl",
        "item1.TEL:0150 3",
        "item1.X-ABLabel:Boat",
        "item2.X-ABDATE:2001-06-05",
        "item2.X-ABLabel:_$!<Anniversary>!$_",
        "BDAY;X-APPLE-OMIT-YEAR=1604:1604-05-06",
    )
    assert loaded.text == (
        "Name: Tor Dahl; Boat phone: 0150 3; Anniversary: 5 Jun 2001; Birthday: 6 May"
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("19740319", "19 Mar 1974"),
        ("1974-03-19T00:00:00Z", "19 Mar 1974"),
        ("--0319", "19 Mar"),
        ("1974-02-31", "1974-02-31"),
        ("in spring", "in spring"),
    ],
)
def test_birthdays(written: str, said: str) -> None:
    assert read("FN:Tor", f"BDAY:{written}").text == f"Name: Tor; Birthday: {said}"


def test_a_file_that_ends_in_the_middle() -> None:
    loaded = loaders.from_bytes(b"BEGIN:VCARD\nFN:Tor\nno property\nTEL:0150 4", "cut.vcf")
    assert loaded.text == "Name: Tor; Phone: 0150 4"
    with pytest.raises(Empty, match="has no text in it"):
        loaders.from_bytes(b"BEGIN:VCARD\nVERSION:3.0\nEND:VCARD\n", "empty.vcf")
