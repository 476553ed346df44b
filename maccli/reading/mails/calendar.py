"""Invitations (iCalendar) to text."""

from __future__ import annotations

import re
from datetime import datetime

from maccli.reading.draft import one_line

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHOWN = {
    "SUMMARY": "Event",
    "STATUS": "Status",
    "DTSTART": "Starts",
    "DTEND": "Ends",
    "RRULE": "Repeats",
    "LOCATION": "Location",
    "ORGANIZER": "Organizer",
    "ATTENDEE": "Invited",
    "DESCRIPTION": "Description",
}
_LINE = re.compile(r'([\w-]+)((?:;[\w-]+=(?:"[^"]*"|[^;:"]*))*):(.*)')
_NAME = re.compile(r';CN=(?:"([^"]*)"|([^;:]*))', re.IGNORECASE)
_ZONE = re.compile(r';TZID="?([^;:"]*)', re.IGNORECASE)


def in_words(when: datetime, *, time: bool = True) -> str:
    """Return a date as "Mon, 3 Mar 2031 10:00", whatever language the user's system speaks."""
    day = f"{_DAYS[when.weekday()]}, {when.day} {_MONTHS[when.month - 1]} {when.year}"
    return f"{day} {when:%H:%M}" if time else day


def events(text: str) -> str:
    """Return the events of a calendar, a line for each thing that is said of one."""
    found = list[str]()
    within = 0  # how many parts of an event are open, itself one
    for line in re.sub(r"\r?\n[ \t]", "", text).splitlines():
        if line.startswith(("BEGIN:VEVENT", "BEGIN:VTODO")):
            found += [""] if found else []
            within = 1
        elif within:
            within += line.startswith("BEGIN:") - line.startswith("END:")
            match = _LINE.fullmatch(line)
            if match and within == 1 and match[1].upper() in _SHOWN:
                value = _value(match[1].upper(), match[2], match[3])
                found += [f"{_SHOWN[match[1].upper()]}: {value}"] if value else []
    return "\n".join(found)


def _value(name: str, parameters: str, value: str) -> str:
    if name in ("DTSTART", "DTEND"):
        zone = "UTC" if value.endswith("Z") else ""
        zone = zone or (match[1] if (match := _ZONE.search(parameters)) else "")
        try:
            when = datetime.strptime(
                value.rstrip("Z"), "%Y%m%dT%H%M%S" if "T" in value else "%Y%m%d"
            )
        except ValueError:
            return value
        return f"{in_words(when, time='T' in value)} {zone and f'({zone})'}".strip()
    if name in ("ORGANIZER", "ATTENDEE"):
        address = re.sub("^mailto:", "", value, flags=re.IGNORECASE)
        named = _NAME.search(parameters)
        return f"{named[1] or named[2]} <{address}>" if named else address
    value = re.sub(r"\\[nN]", "\n", value)
    return one_line(re.sub(r"\\(.)", r"\1", value))
