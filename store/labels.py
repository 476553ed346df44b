"""Tags and dates of documents: what they may be, and choosing documents by them.

A document's day is its date, or if it has none the day on which it was added (in UTC).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date

MAX_TAG = 100

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# The expression of the index `documents_day`, letter by letter, or SQLite does not use it.
_DAY = "coalesce(documents.date, substr(documents.added_at, 1, 10))"


@dataclass(frozen=True, slots=True)
class Labels:
    """What is to change about a document's tags and date; by default nothing.

    Attributes:
        tags: to be added to those that it has, as `clean_tag` returns them.
        untag: to be taken away; what is also among `tags` stays.
        date: YYYY-MM-DD to set, "" to take the date away, None to leave it.
    """

    tags: tuple[str, ...] = ()
    untag: tuple[str, ...] = ()
    date: str | None = None

    def __post_init__(self) -> None:
        for tag in (*self.tags, *self.untag):
            if tag != clean_tag(tag):
                raise ValueError(f"the tag {tag!r} must be written {clean_tag(tag)!r}")
        if self.date:
            check_date(self.date)

    def applied(self, tags: tuple[str, ...], day: str | None) -> tuple[tuple[str, ...], str | None]:
        """Return the sorted tags and the date of a document that had `tags` and `day` before."""
        labels = (set(tags) - set(self.untag)) | set(self.tags)
        return tuple(sorted(labels)), day if self.date is None else self.date or None

    def changes(self, tags: tuple[str, ...], day: str | None) -> bool:
        """Return whether anything changes for a document with these tags and this date."""
        return self.applied(tags, day) != (tags, day)


NO_CHANGE = Labels()


@dataclass(frozen=True, slots=True)
class Within:
    """Which documents a question may draw from; by default all.

    Attributes:
        tags: a document has at least one of these, as `clean_tag` returns them.
        since: the first day that counts, YYYY-MM-DD.
        until: the last day that counts.
    """

    tags: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        for day in (self.since, self.until):
            if day is not None:
                check_date(day)

    def __bool__(self) -> bool:
        return bool(self.tags or self.since or self.until)

    def condition(self) -> tuple[str, list[str]]:
        """Return SQL over the table `documents`, true for the chosen ones, and its parameters."""
        where, values = ["true"], list(self.tags)
        if self.tags:
            marks = ", ".join("?" * len(self.tags))
            where.append(
                f"documents.id IN (SELECT document_id FROM document_tags WHERE tag IN ({marks}))"
            )
        for day, comparison in ((self.since, ">="), (self.until, "<=")):
            if day is not None:
                where.append(f"{_DAY} {comparison} ?")
                values.append(day)
        return " AND ".join(where), values


EVERYTHING = Within()


def clean_tag(text: str) -> str:
    """Return a tag as it is stored: without outer space, in one Unicode form and lower case.

    Raises:
        ValueError: it is empty, too long, or holds a comma or a control character.
    """
    tag = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    if not tag:
        raise ValueError("a tag must not be empty")
    if "," in tag:
        raise ValueError(f"a tag cannot hold a comma, {text!r} does; give several tags one by one")
    if len(tag) > MAX_TAG:
        raise ValueError(f"a tag has at most {MAX_TAG} characters, not {len(tag)}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in tag):
        raise ValueError(f"a tag cannot hold control characters, {text!r} does")
    return tag


def check_date(text: str) -> None:
    """Check that `text` is a day of the calendar, written YYYY-MM-DD.

    Raises:
        ValueError: it is not.
    """
    if not _DATE.fullmatch(text):
        raise ValueError(f"a date is written YYYY-MM-DD, not {text!r}")
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text} is not a date: {error}") from None
