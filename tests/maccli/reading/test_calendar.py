"""Calendars, and what is said of their events."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maccli.reading import loaders
from maccli.reading.formats.mail import read_calendar, read_contacts
from maccli.reading.loaders import Loaded
from models.text.rows import rows


def read(*lines: str, kind: str = "VEVENT", name: str = "club.ics") -> Loaded:
    """Read a calendar of one event."""
    inside = "\r\n".join(["BEGIN:VCALENDAR", f"BEGIN:{kind}", *lines, f"END:{kind}"])
    return loaders.from_bytes(f"{inside}\r\nEND:VCALENDAR\r\n".encode(), name)


def test_an_event_is_a_row_and_its_description() -> None:
    loaded = read(
        "UID:1@club.example",
        "DTSTAMP:20260510T120000Z",
        "DTSTART;TZID=Europe/Oslo:20260612T183000",
        "DTEND;TZID=Europe/Oslo:20260612T210000",
        "SUMMARY:General meeting\\, at last",
        "LOCATION:Boathouse\\; upper floor",
        "ORGANIZER;CN=Ines Vik:mailto:ines@club.example",
        'ATTENDEE;ROLE=REQ-PARTICIPANT;CN="Dahl; Tor":MAILTO:tor@club.example',
        "ATTENDEE:mailto:nadia@club.example",
        "DESCRIPTION:Bring your card.\\nThe proxy form must be here by 5 J",
        " une.",
        "X-MOZ-GENERATION:2",
        "BEGIN:VALARM",
        "DESCRIPTION:Reminder",
        "END:VALARM",
        "STATUS:CONFIRMED",
    )
    assert loaded.media_type == "text/calendar"
    assert loaded.text == (
        "Event: General meeting, at last; Date: Fri, 12 Jun 2026; Starts: 18:30 (Europe/Oslo); "
        "Ends: 21:00 (Europe/Oslo); Place: Boathouse; upper floor; "
        "Organizer: Ines Vik <ines@club.example>; "
        "Invited: Dahl; Tor <tor@club.example>, nadia@club.example; Status: CONFIRMED\n"
        "Bring your card.\nThe proxy form must be here by 5 June."
    )
    cells = {cell.name: cell.value for cell in rows(loaded.text)[0]}
    assert cells["Place"] == "Boathouse; upper floor" and cells["Date"] == "Fri, 12 Jun 2026"


def test_each_event_has_its_place() -> None:
    text = dedent("""\
        BEGIN:VCALENDAR
        BEGIN:VTIMEZONE
        DTSTART:19700101T000000
        END:VTIMEZONE
        BEGIN:VEVENT
        SUMMARY:Regatta
        DTSTART;VALUE=DATE:20260704
        DTEND;VALUE=DATE:20260705
        END:VEVENT
        BEGIN:VEVENT
        UID:2
        END:VEVENT
        BEGIN:VTODO
        SUMMARY:Paint the pier
        DUE;VALUE=DATE:20260801
        END:VTODO
        """)
    loaded = loaders.from_bytes(text.encode(), "pasted.txt")  # whatever its name
    first, second = loaded.text.split("\n\n")
    assert first == "Event: Regatta; Date: Sat, 4 Jul 2026"
    assert second == "Task: Paint the pier; Due: Sat, 1 Aug 2026"
    assert [mark.place for mark in loaded.marks] == ["event 1", "event 2"]
    assert loaded.marks[1].start == loaded.text.index("Task")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("DTSTART:20260612T183000Z",), "Date: Fri, 12 Jun 2026; Starts: 18:30 (UTC)"),
        (
            ("DTSTART:20260612T220000", "DTEND:20260613T020000"),
            "Date: Fri, 12 Jun 2026; Starts: 22:00; Ends: 02:00",
        ),
        (
            ("DTSTART:20260612T220000", "DTEND:20260614T020000"),
            "Starts: Fri, 12 Jun 2026 22:00; Ends: Sun, 14 Jun 2026 02:00",
        ),
        (
            ("DTSTART;VALUE=DATE:20260612", "DTEND;VALUE=DATE:20260615"),
            "Starts: Fri, 12 Jun 2026; Ends: Sun, 14 Jun 2026",
        ),
        (
            ("DTSTART:20260612T183000", "DURATION:PT1H30M"),
            "Date: Fri, 12 Jun 2026; Starts: 18:30; Ends: 20:00",
        ),
        (("DTSTART;VALUE=DATE:20260612", "DURATION:P1D"), "Date: Fri, 12 Jun 2026"),
        (("DTSTART:soon",), "Starts: soon"),
        (("DTSTART;VALUE=DATE:00010101", "DTEND:00010101"), "Date: Mon, 1 Jan 1"),
        (("DTSTART:99991231T230000", "DURATION:P9999W"), "Date: Fri, 31 Dec 9999; Starts: 23:00"),
    ],
)
def test_when_it_is(lines: tuple[str, ...], said: str) -> None:
    assert read("SUMMARY:Row", *lines).text == f"Event: Row; {said}"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("FREQ=WEEKLY;WKST=MO;BYDAY=TU,TH", "every week on Tue, Thu"),
        ("FREQ=WEEKLY;INTERVAL=2;UNTIL=20261231T225959Z", "every 2 weeks until Thu, 31 Dec 2026"),
        ("FREQ=MONTHLY;BYDAY=-1FR;COUNT=6", "every month on the last Fri 6 times"),
        ("FREQ=MONTHLY;BYDAY=+2MO", "every month on the 2nd Mon"),
        ("FREQ=MONTHLY;BYDAY=9MO", "FREQ=MONTHLY;BYDAY=9MO"),
        ("FREQ=YEARLY;BYMONTH=5;BYMONTHDAY=17", "every year on day 17 in May"),
        ("FREQ=DAILY;BYHOUR=9,17", "FREQ=DAILY;BYHOUR=9,17"),
        ("FREQ=WEEKLY;BYDAY=XX", "FREQ=WEEKLY;BYDAY=XX"),
        ("FREQ=YEARLY;BYMONTH=13", "FREQ=YEARLY;BYMONTH=13"),
    ],
)
def test_how_it_repeats(rule: str, words: str) -> None:
    assert read("SUMMARY:Row", f"RRULE:{rule}").text == f"Event: Row; Repeats: {words}"


def test_a_description_in_html_is_read_as_text() -> None:
    loaded = read("SUMMARY:Row", "DESCRIPTION:<p>At&nbsp\\;six.</p><a href='x'>Map</a><br>5 < 6")
    assert loaded.text == "Event: Row\nAt\xa0six.\nMap\n5 < 6"


def test_files_that_come_with_an_event_are_named() -> None:
    loaded = read(
        "SUMMARY:Row",
        "ATTACH;FMTTYPE=application/pdf;FILENAME=plan.pdf:https://club.example/1",
        "ATTACH;ENCODING=BASE64;VALUE=BINARY:AAAA",
    )
    assert loaded.text == "Event: Row; Attachment: plan.pdf"


NAMES = ("DTSTART", "DTEND", "DURATION", "RRULE", "EXDATE", "ORGANIZER", "BDAY", "N", "ADR", "TEL")
LINES = st.tuples(
    st.sampled_from(NAMES), st.text(';="TYPEB64,:\\', max_size=12), st.text(max_size=20)
)


@given(st.lists(LINES, max_size=6))
def test_anything_may_stand_in_it(lines: list[tuple[str, str, str]]) -> None:
    said = "\n".join(f"{name};{parameters}:{value}" for name, parameters, value in lines)
    read_calendar(f"BEGIN:VEVENT\n{said}", "a.ics")
    read_contacts(f"BEGIN:VCARD\n{said}", "a.vcf")
