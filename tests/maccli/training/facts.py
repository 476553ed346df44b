"""A few facts to train on, as (document, question, answer)."""

from __future__ import annotations

import json
from pathlib import Path

FACTS = [
    ("The town of Varnholt opened a new bridge in March.", "Who opened a bridge?", "Varnholt"),
    ("The jury gave the prize to the poet Tomas Reyl.", "Who got the prize?", "Tomas Reyl"),
    ("Heavy rain closed the northern road for 3 days.", "What closed the road?", "Heavy rain"),
    ("Ida Brandt cut the ribbon at noon.", "Who cut the ribbon?", "Ida Brandt"),
]


def write_facts(path: Path) -> Path:
    rows = [{"doc": doc, "question": asked, "answers": [answer]} for doc, asked, answer in FACTS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
