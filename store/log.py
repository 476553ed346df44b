"""The log: the questions that were asked, their answers, and where these came from.

It keeps the newest `MOST` questions. Removing a document takes nothing out of it.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from store.errors import StoreCorruptError, StoreError, forbidden, translated
from store.index.connection import now, pragma, synchronous, writing

if TYPE_CHECKING:
    from store.store import Store

MOST = 10_000
_MOST_SOURCES = 12
_LONGEST = 4_000
"""Characters of a question, an answer or a name that are kept."""
_MOMENT = 100
"""Milliseconds to wait for another process that is writing."""

_COLUMNS = "id, asked_at, question, answer, outcome, probability, model, seconds, sources"


@dataclass(frozen=True, slots=True)
class LogSource:
    """Where an answer came from.

    Attributes:
        source: the document, as it was called then; it may be gone.
        heading: the headings above the sentence, the outermost first; "" if there are none.
        place: such as "page 3" or "line 40"; "" if the document has no such places.
        start: offset of the sentence in the document's text.
        end: offset of its end.
        weight: how relevant its chunk was, from 0 to 1.
    """

    source: str
    heading: str
    place: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A question that was asked, and its answer.

    Attributes:
        id: its number; later questions have larger ones.
        asked_at: ISO 8601 in UTC.
        question: the question.
        answer: the answer; "" if there was none.
        outcome: "answer", "not sure" or "nothing relevant".
        probability: how likely the answer is right, from 0 to 1; None if it is not known.
        model: what the user calls the checkpoint.
        seconds: how long it took, loading the model included.
        sources: where the answer came from, else the nearest sentences.
    """

    id: int
    asked_at: str
    question: str
    answer: str
    outcome: str
    probability: float | None
    model: str
    seconds: float
    sources: tuple[LogSource, ...]


def record(
    store: Store,
    *,
    question: str,
    answer: str,
    outcome: str,
    probability: float | None,
    model: str,
    seconds: float,
    sources: Sequence[LogSource],
) -> None:
    """Keep a question and its answer; the arguments are as in `LogEntry`.

    Never fails, and waits for a moment at most: where the store is read-only, or another process
    goes on writing, the question is not kept. What is too long is cut.
    """
    connection = store.connection
    if not store.writable or connection.in_transaction:
        return
    cited = [
        {
            name: _cut(value) if isinstance(value, str) else value
            for name, value in asdict(s).items()
        }
        for s in sources[:_MOST_SOURCES]
    ]
    texts = (now(), _cut(question), _cut(answer), outcome)
    row = (*texts, probability, _cut(model), seconds, json.dumps(cited, ensure_ascii=False))
    names = _COLUMNS.removeprefix("id, ")
    with (
        suppress(StoreError),
        translated(store.path),
        _set(connection, "busy_timeout", _MOMENT),
        _set(connection, "secure_delete", 1),
        writing(connection),
    ):
        places = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO questions ({names}) VALUES ({places})", row)
        connection.execute(
            "DELETE FROM questions WHERE id <= (SELECT max(id) FROM questions) - ?", (MOST,)
        )


def entries(
    store: Store, *, limit: int | None = None, match: str | None = None, before: int | None = None
) -> list[LogEntry]:
    """Return the questions that were asked, the newest first.

    Args:
        store: the store.
        limit: return at most N entries.
        match: only those with this in the question or the answer, in upper or lower case.
        before: only those that were asked before the one with this id.

    Raises:
        StoreCorruptError: an entry is not what was written.
    """
    wanted = (match or "").casefold()
    query = f"SELECT {_COLUMNS} FROM questions WHERE id < ? OR ? IS NULL ORDER BY id DESC"
    with translated(store.path), closing(store.connection.execute(query, (before, before))) as rows:
        found = (_entry(store, row) for row in rows)
        matching = (
            entry
            for entry in found
            if wanted in entry.question.casefold() or wanted in entry.answer.casefold()
        )
        return list(islice(matching, limit))


def clear(store: Store) -> int:
    """Empty the log, and return how many questions were in it.

    Their texts are overwritten in the database, and SQLite's own log is emptied. If another process
    reads the store meanwhile, they stay in that until it has closed the store.

    Raises:
        StoreError: no permission to write.
    """
    if not store.writable:
        raise forbidden(store.path)
    with translated(store.path):
        with synchronous(store.connection), writing(store.connection):
            removed = empty(store.connection)
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return removed


def empty(connection: sqlite3.Connection) -> int:
    """Empty the log of a database, overwriting its texts, and return how many questions it had."""
    with _set(connection, "secure_delete", 1):
        return connection.execute("DELETE FROM questions").rowcount


@contextmanager
def _set(connection: sqlite3.Connection, name: str, value: int) -> Iterator[None]:
    """Let a pragma have another value in the block."""
    before = pragma(connection, name)
    connection.execute(f"PRAGMA {name} = {value}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA {name} = {before}")


def _cut(text: str) -> str:
    """Return a text as it is stored: not too long, and valid Unicode."""
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return short.encode(errors="replace").decode()


def _entry(store: Store, row: tuple[Any, ...]) -> LogEntry:
    """Return a row of the log, whatever another program wrote into it.

    Raises:
        StoreCorruptError: it is not what was written.
    """
    number, asked_at, question, answer, outcome, probability, model, seconds, sources = row
    try:
        entry = LogEntry(
            id=number,
            asked_at=str(asked_at),
            question=str(question),
            answer=str(answer),
            outcome=str(outcome),
            probability=None if probability is None else float(probability),
            model=str(model),
            seconds=float(seconds),
            sources=tuple(map(_source, json.loads(sources))),
        )
        weights = (source.weight for source in entry.sources)
        if not math.isfinite(sum((entry.probability or 0.0, entry.seconds, *weights))):
            raise ValueError  # JSON has no such number
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise StoreCorruptError(
            f"The store {store.path} is damaged: question {number} of its log cannot be read",
            hint="Empty the log: mac log --clear",
        ) from error
    return entry


def _source(values: Any) -> LogSource:
    return LogSource(
        source=str(values["source"]),
        heading=str(values["heading"]),
        place=str(values["place"]),
        start=int(values["start"]),
        end=int(values["end"]),
        weight=float(values["weight"]),
    )
