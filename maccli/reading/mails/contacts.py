"""Contacts (vCard, RFC 6350, and its versions 2.1 and 3.0) to text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from maccli.reading.draft import one_line
from maccli.reading.mails.calendar import day_in_words
from maccli.reading.mails.properties import Property, components, first, record

_LABELS = {
    "FN": "Name",
    "ORG": "Organization",
    "TEL": "Phone",
    "EMAIL": "E-mail",
    "ADR": "Address",
    "BDAY": "Birthday",
    "URL": "Website",
    "IMPP": "Chat",
    "X-ABRELATEDNAMES": "Related",
    "X-ABDATE": "Date",
}
# What programs note for themselves, and what is no text.
_TECHNICAL = frozenset(
    {"VERSION", "PRODID", "REV", "UID", "CLASS", "KIND", "MAILER", "SORT-STRING", "KEY", "PHOTO"}
    | {"LOGO", "SOUND", "CLIENTPIDMAP", "SOURCE", "XML", "AGENT", "X-ABLABEL", "X-ABADR", "GEO"}
    | {"X-ABSHOWAS", "X-ABUID", "X-IMAGETYPE", "X-IMAGEHASH", "X-SHARED-PHOTO-DISPLAY-PREF", "TZ"}
)
_TYPES = {"HOME": "Home", "WORK": "Work", "CELL": "Mobile", "IPHONE": "Mobile", "MOBILE": "Mobile"}
_DAY = re.compile(r"(\d{4}|--)-?(\d\d)-?(\d\d)(?:T.*)?")
_LONG = 200
"""Longer notes stand in lines of their own below the row."""


def contacts(text: str) -> Iterator[str]:
    """Yield each contact: a row of what is said of it, then its notes if they are long."""
    for _, properties in components(text, {"VCARD"}):
        labels = {p.group: _own_label(p) for p in properties if p.name == "X-ABLABEL" and p.group}
        cells, notes = [("Name", _name(properties))], list[str]()
        for each in properties:
            if each.name in _TECHNICAL or each.name in ("FN", "N") or each.is_binary:
                continue
            if each.name == "NOTE" and (len(each.text) > _LONG or "\n" in each.text):
                notes.append(each.text)
            else:
                cells.append((_label(each, labels.get(each.group, "")), _value(each)))
        said = "\n".join(filter(None, (record(cells), *notes)))
        if said:
            yield said


def _name(properties: Sequence[Property]) -> str:
    if (whole := first(properties, "FN")) is not None:
        return one_line(whole.text)
    parts = first(properties, "N")
    family, given, middle, before, after = [*(parts.parts if parts else ()), *[""] * 5][:5]
    return " ".join(filter(None, (before, given, middle, family, after)))


def _own_label(said: Property) -> str:
    return re.sub(r"_\$!<(.*?)>!\$_", r"\1", one_line(said.text)).strip()


def _label(said: Property, own: str) -> str:
    """Return what a property is called: "Work phone"."""
    name = said.name
    label = _LABELS.get(name) or name.removeprefix("X-").replace("-", " ").capitalize()
    types = {kind.strip().upper() for kind in said.parameters.get("TYPE", "").split(",")}
    if name == "TEL" and "FAX" in types:
        label = "Fax"
    kinds = [own] if own else list(dict.fromkeys(_TYPES[kind] for kind in _TYPES if kind in types))
    if name in ("X-ABRELATEDNAMES", "X-ABDATE") and own:
        return own
    if name == "TEL" and "Mobile" in kinds:
        kinds = ["Mobile"]
    return " ".join((*kinds, label[0].lower() + label[1:])) if kinds else label


def _value(said: Property) -> str:
    if said.name in ("BDAY", "ANNIVERSARY", "DEATHDATE", "X-ABDATE"):
        return _date(said)
    if said.name in ("ADR", "ORG"):
        return ", ".join(filter(None, said.parts))
    value = one_line(said.text)
    return re.sub("^(?:tel|mailto):", "", value, flags=re.IGNORECASE)


def _date(said: Property) -> str:
    match = _DAY.fullmatch(said.value.strip())
    if match is None:
        return one_line(said.text)
    unknown = match[1] in ("--", said.parameters.get("X-APPLE-OMIT-YEAR"))
    try:
        when = datetime(2000 if unknown else int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return one_line(said.text)
    return day_in_words(when, year=not unknown)
