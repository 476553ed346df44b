"""A memory bank of a question-answering set: the product's, with questions drawn.

Chunking, amortizing, storing and searching are `maccli.evaluation.bank`'s; nothing here is a model of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from maccli.evaluation import bank
from maccli.evaluation.bank import create_store
from maccli.evaluation.late import Late
from maccli.evaluation.stream import read_stream
from models.data.files import Example
from models.latent.memory import LatentMemory


@dataclass(slots=True)
class Bank(bank.Bank):
    """All documents of the set in one store, and the questions asked of it."""

    examples: list[Example] = field(default_factory=list)


def load(
    memory: LatentMemory,
    folder: Path,
    data: Sequence[Path],
    *,
    split_name: str | None,
    questions: int | None,
    seed: int,
    documents: int | None = None,
    amortize_late: bool = False,
) -> Bank:
    """Ingest every document of the data files into a store and draw questions.

    Args:
        memory: the checkpoint.
        folder: of the store; documents that it already holds are not amortized again.
        data: files of question-answering data.
        split_name: only examples of this split.
        questions: how many, drawn at random; all if None.
        seed: of the draws.
        documents: keep only so many documents of each file, drawn at random.
        amortize_late: for retrieval: amortize a chunk only when its modulation is first read.
    """
    stream = read_stream(data, split_name, documents=documents, seed=seed)
    filled = Bank(
        memory,
        create_store(folder, memory, late=amortize_late),
        late=Late(memory) if amortize_late else None,
        examples=stream.draw(questions, seed),
    )
    with tqdm(total=len(stream.documents), desc="ingest", unit="doc") as bar:
        filled.fill(stream.documents, _Progress(bar))
    return filled


class _Progress:
    """A tqdm bar as the product's code wants it."""

    def __init__(self, bar: Any) -> None:
        self.advance, self.tell = bar.update, bar.set_postfix_str
