"""What the tables in some passages say to a question: a cell, or which of two rows has more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.judge.cells import HELD, WEIGHTS, Embed, features, named
from models.judge.comparing import compared
from models.text.rows import rows

MOST_ROWS = 60
"""Of more rows in a passage than that only the first are looked at."""


def fitting(question: str, texts: Sequence[str], embed: Embed) -> list[dict[str, float]]:
    """Return for each passage the answers that its tables give, and how well they fit, 0 to 1.

    An answer is the likeliest cell of all passages. It fits by the share of the question's words
    that stand in its row, so one of a table about something else fits little. Of two rows that a
    question compares, the one that it asks for fits fully.

    Args:
        question: the question.
        texts: the passages.
        embed: the sentence encoder.
    """
    tables = [rows(text)[:MOST_ROWS] for text in texts]
    fits: list[dict[str, float]] = [{} for _ in texts]
    if not any(tables):
        return fits
    together = [row for table in tables for row in table]
    known = features(question, together, embed)
    scores = known @ WEIGHTS
    each = iter(np.where(scores == scores.max(), known[:, HELD], 0.0).tolist())
    for fit, table in zip(fits, tables, strict=True):
        fit.update({c.value: held for row in table for c in row if (held := next(each)) > 0})
    if more := compared(question, together, embed):
        fits[next(i for i, text in enumerate(texts) if named(more, text))][more] = 1.0
    return fits
