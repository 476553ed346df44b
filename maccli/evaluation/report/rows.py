"""What rows of results are called: by their method, and by what a run has more than one of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def label(row: Mapping[str, Any]) -> str:
    """Return a row's method, with its checkpoint or base LM where the run has several."""
    one_of = row.get("checkpoint") or row.get("base_lm")
    return f"{row['method']} [{one_of}]" if one_of else str(row["method"])


def title(row: Mapping[str, Any]) -> str:
    """Return a row's name: its label, k, and learning rate."""
    parts = [label(row)]
    if row["k"] is not None:
        parts.append(f"k = {row['k']}")
    if row["learning_rate"] is not None:
        parts.append(f"rate {row['learning_rate']:g}")
    return ", ".join(parts)
