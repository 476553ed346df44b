"""Which cell of a table is asked for: what the weights in `models.judge.cells` are fitted to.

    python -m benchmarks.cells --data FILE... [--dev FILE...]

The files are question-answering data as `mac train` reads it, with documents that are tables: CSV,
TSV, Markdown or rows as `mac ingest` writes them. Of those questions that ask for one cell (one
that is the answer, in a row that the question names something of), the weights are fitted to the
train split and printed with the share of the dev split that they answer rightly.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.confidence import choosing
from maccli.reading.reader import read
from models.base.encoder import SentenceEncoder
from models.data import files
from models.evaluation.metrics import f1
from models.judge.cells import HELD, NAMES, features
from models.text.rows import Cell, rows
from models.weights import pinned
from models.weights.resolve import resolve

MOST = 700
"""Questions of a file."""
_SIGNS = {"table.md": "|", "table.tsv": "\t", "table.csv": ","}
_RIGHT, _NAMED = 0.8, 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--dev", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    encoder = SentenceEncoder.load(resolve(pinned.DEFAULT_ENCODER), device=torch.device("cpu"))
    examples = [e for path in arguments.data for e in asked(path, "train", encoder)]
    weights = choosing(examples, ridge=1.0)
    print(f"{len(examples)} questions:", dict(zip(NAMES, weights.round(2).tolist(), strict=True)))
    for path in arguments.dev:
        right = [y[(x @ weights).argmax()] for x, y in asked(path, "dev", encoder)]
        print(f"{path.name}: {100 * np.mean(right):.1f} % of {len(right)} right")


Asked = tuple[NDArray[np.float64], NDArray[np.bool_]]


def asked(path: Path, split: str, encoder: SentenceEncoder) -> list[Asked]:
    """Return what is known of each cell, and which are right, for questions that ask for one."""
    examples = files.read(path, split)
    random.Random(0).shuffle(examples)
    found: list[Asked] = []
    for example in examples:
        table = table_of(example.document)
        right = np.array([f1(c.value, example.answers) >= _RIGHT for row in table for c in row])
        if len(table) < 2 or example.history or not 0 < right.sum() <= 3:
            continue
        known = features(example.question, table, lambda texts: encoder.encode(texts).numpy())
        if known[right, HELD].max() >= _NAMED and not known[right, NAMES.index("asked")].any():
            found.append((known, right))
        if len(found) == MOST:
            break
    return found


def table_of(document: str) -> list[list[Cell]]:
    """Return the rows of a document; none if it is not a table in one of the known ways."""
    if written := rows(document):
        return written
    for name, sign in _SIGNS.items():
        if document.count(sign) >= 4 and (found := rows(read(document.encode(), name).text)):
            return found
    return []


if __name__ == "__main__":
    main()
