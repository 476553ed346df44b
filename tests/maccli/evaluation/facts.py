"""A few documents with a question each, written as data files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCUMENTS = [
    "The town of Varnholt opened a new bridge over the Elm in March.",
    "The jury gave the prize of 40,000 crowns to the poet Tomas Reyl.",
    "Heavy rain closed the northern road for 3 days.",
    "Ida Brandt cut the ribbon at noon.",
    "The mayor opened the town in June. No one was hurt.",
    "The poet was awarded a few words by the mayor.",
]
QUESTIONS = [
    ("Which town opened a new bridge?", "Varnholt"),
    ("To whom was the prize of the jury awarded?", "Tomas Reyl"),
    ("What closed the northern road?", "Heavy rain"),
    ("Who cut the ribbon?", "Ida Brandt"),
    ("Who opened the town in June?", "The mayor"),
    ("Who was awarded a few words?", "The poet"),
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(first: int = 0, last: int = 6) -> list[dict[str, Any]]:
    """The questions with their documents, as lines of a data file."""
    return [
        {"id": f"q{n}", "doc_id": f"d{n}", "doc": text, "question": asked, "answers": [answer]}
        for n, (text, (asked, answer)) in enumerate(zip(DOCUMENTS, QUESTIONS, strict=True))
    ][first:last]
