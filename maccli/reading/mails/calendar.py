"""Calendars (iCalendar, RFC 5545), also those in invitations, to text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from maccli.reading.draft import one_line
from maccli.reading.mails.properties import Property, components, first, record

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_KINDS = {"VEVENT": "Event", "VTODO": "Task", "VJOURNAL": "Entry"}
_LABELS = {
    "LOCATION": "Place",
    "ATTENDEE": "Invited",
    "RRULE": "Repeats",
    "EXDATE": "Except",
    "ATTACH": "Attachment",
}
_DATED = frozenset({"DUE", "COMPLETED", "EXDATE", "RDATE"})
_SPECIAL = frozenset({"SUMMARY", "DTSTART", "DTEND", "DURATION", "DESCRIPTION"})
# What programs note for themselves.
_TECHNICAL = frozenset(
    {"UID", "DTSTAMP", "CREATED", "LAST-MODIFIED", "SEQUENCE", "TRANSP", "CLASS", "GEO", "ACK"}
    | {"RECURRENCE-ID", "PRIORITY", "RELATED-TO", "REQUEST-STATUS", "PERCENT-COMPLETE"}
)
_WEEKDAYS = {day[:2].upper(): day for day in _DAYS}
_MONTH_NUMBERS = {str(number): month for number, month in enumerate(_MONTHS, 1)}
_NTH = {
    "": "",
    "1": "the 1st ",
    "2": "the 2nd ",
    "3": "the 3rd ",
    "4": "the 4th ",
    "-1": "the last ",
}
_UNITS = {"DAILY": "day", "WEEKLY": "week", "MONTHLY": "month", "YEARLY": "year"}
_DURATION = re.compile(
    r"\+?P(?:(\d{1,4})W)?(?:(\d{1,4})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,4})M)?(?:\d+S)?)?"
)


def in_words(when: datetime, *, time: bool = True) -> str:
    """Return a date as "Mon, 3 Mar 2031 10:00", whatever language the user's system speaks."""
    day = f"{_DAYS[when.weekday()]}, {day_in_words(when)}"
    return f"{day} {when:%H:%M}" if time else day


def day_in_words(when: datetime, *, year: bool = True) -> str:
    """Return a date as "3 Mar 2031"."""
    day = f"{when.day} {_MONTHS[when.month - 1]}"
    return f"{day} {when.year}" if year else day


def events(text: str) -> Iterator[str]:
    """Yield each event, task and entry: a row of what is said of it, then its description."""
    for kind, properties in components(text, _KINDS):
        cells = [(_KINDS[kind], _text(properties, "SUMMARY")), *_times(properties)]
        for each in properties:
            name = each.name
            if name in _SPECIAL or name in _TECHNICAL or name.startswith("X-") or each.is_binary:
                continue
            cells.append((_LABELS.get(name, name.capitalize()), _value(each)))
        described = first(properties, "DESCRIPTION")
        parts = (record(cells), described.text if described else "")
        if any(parts):
            yield "\n".join(filter(None, parts))


def _text(properties: Sequence[Property], name: str) -> str:
    found = first(properties, name)
    return one_line(found.text) if found else ""


def _value(said: Property) -> str:
    if said.name == "RRULE":
        return _repetition(said.value)
    if said.name in ("ORGANIZER", "ATTENDEE"):
        address = re.sub("^mailto:", "", said.value, flags=re.IGNORECASE)
        name = said.parameters.get("CN", "")
        return f"{name} <{address}>" if name and name != address else address
    if said.name in _DATED:
        return ", ".join(_in_words(one, said) for one in said.value.split(","))
    if said.name == "ATTACH":
        return said.parameters.get("FILENAME") or said.value
    return one_line(said.text)


def _times(properties: Sequence[Property]) -> Iterator[tuple[str, str]]:
    """Yield the day and the hours of an event; the days, if it lasts for several."""
    start, end = first(properties, "DTSTART"), first(properties, "DTEND")
    if start is None:
        return
    if (begins := _parsed(start.value)) is None:
        yield "Starts", one_line(start.value)
        return
    at_times, zone = "T" in start.value, _zone(start)
    ends = _parsed(end.value) if end else None
    with suppress(OverflowError):  # at the end of all days
        if ends is None and (lasting := first(properties, "DURATION")):
            ends = begins + _duration(lasting.value)
        if ends is not None and not at_times:
            ends -= timedelta(days=1)  # the first day after it is what is written
    if ends is None or ends.date() == begins.date() or (at_times and ends - begins < timedelta(1)):
        yield "Date", in_words(begins, time=False)
        if at_times:
            yield "Starts", f"{begins:%H:%M}{zone}"
        if at_times and ends not in (None, begins):
            yield "Ends", f"{ends:%H:%M}{_zone(end) if end else zone}"
    else:
        yield "Starts", f"{in_words(begins, time=at_times)}{zone}"
        yield "Ends", f"{in_words(ends, time=at_times)}{_zone(end) if end else zone}"


def _duration(value: str) -> timedelta:
    match = _DURATION.fullmatch(value.strip())
    weeks, days, hours, minutes = (int(n or 0) for n in match.groups()) if match else (0,) * 4
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes)


def _in_words(value: str, said: Property) -> str:
    when = _parsed(value)
    return f"{in_words(when, time='T' in value)}{_zone(said)}" if when else one_line(value)


def _parsed(value: str) -> datetime | None:
    value = value.strip().rstrip("Z").replace("-", "").replace(":", "")
    try:
        return datetime.strptime(value, "%Y%m%dT%H%M%S" if "T" in value else "%Y%m%d")
    except ValueError:
        return None


def _zone(said: Property) -> str:
    """Return the time zone of a time, as it stands behind it."""
    if "T" not in said.value:
        return ""
    zone = "UTC" if said.value.endswith("Z") else said.parameters.get("TZID", "")
    return f" ({zone})" if zone else ""


def _repetition(value: str) -> str:
    """Return how an event repeats in words; what is not known stays as it is written."""
    rule = dict(part.split("=", 1) for part in value.upper().split(";") if "=" in part)
    unit, every = _UNITS.get(rule.pop("FREQ", "")), rule.pop("INTERVAL", "1")
    until, count, month = rule.pop("UNTIL", ""), rule.pop("COUNT", ""), rule.pop("BYMONTH", "")
    days = [_day_of_repetition(day) for day in rule.pop("BYDAY", "").split(",") if day]
    in_month = rule.pop("BYMONTHDAY", "")
    rule.pop("WKST", "")
    if rule or unit is None or not all(days) or (month and month not in _MONTH_NUMBERS):
        return value
    words = [f"every {unit}" if every == "1" else f"every {every} {unit}s"]
    words += [f"on {', '.join(days)}"] if days else []
    words += [f"on day {in_month}"] if in_month else []
    words += [f"in {_MONTH_NUMBERS[month]}"] if month else []
    words += [f"{count} times"] if count else []
    if until:
        last = _parsed(until)
        words.append(f"until {in_words(last, time=False) if last else until}")
    return " ".join(words)


def _day_of_repetition(day: str) -> str:
    """Return a day of the week, such as 2MO or -1FR, in words; "" if it is none."""
    number, name = day[:-2].lstrip("+"), _WEEKDAYS.get(day[-2:])
    return f"{_NTH[number]}{name}" if name and number in _NTH else ""
