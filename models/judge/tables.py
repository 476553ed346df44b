"""What the tables in some passages say to a question: a cell, or which of two rows has more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.judge.cells import HELD, NAMES, WEIGHTS, Embed, features, named
from models.judge.comparing import compared
from models.text.rows import rows

MOST_ROWS = 60
"""Of more rows in a passage than that only the first are looked at."""
MISFIT = 0.3
"""A row that holds so much less of a question than the best one is about something else."""
_ASKED = NAMES.index("asked")


def fitting(question: str, texts: Sequence[str], embed: Embed) -> list[dict[str, float]]:
    """Return for each passage the answers that its tables give, and how well they fit, -1 to 1.

    An answer is the likeliest cell of all passages. It fits by the share of the question's words
    that stand in its row, so one of a table about something else fits little. Of two rows that a
    question compares, the one that it asks for fits fully. What stands only in rows about something
    else, such as the birthday of another person, fits by less than 0: by how much less of the
    question its row holds.

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
    held, lengths = known[:, HELD], [len(row) for row in together]
    of_rows = np.maximum.reduceat(held, np.cumsum([0, *lengths[:-1]]))
    behind = np.repeat(of_rows - of_rows.max(), lengths)
    other = (behind <= -MISFIT) & (known[:, _ASKED] == 0)
    each = iter(np.where(scores == scores.max(), held, np.where(other, behind, 0.0)).tolist())
    cells = [[(cell.value, next(each)) for row in table for cell in row] for table in tables]
    better = {value for table in cells for value, cell_fit in table if cell_fit >= 0}
    for fit, table in zip(fits, cells, strict=True):
        for value, cell_fit in table:
            if cell_fit > 0 or (cell_fit < 0 and value not in better):
                fit[value] = max(cell_fit, fit.get(value, cell_fit))
    if more := compared(question, together, embed):
        fits[next(i for i, text in enumerate(texts) if named(more, text))][more] = 1.0
    return fits
