"""The documents of question-answering sets in one store, and questions about them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from maccli.evaluation.dataset import draw
from maccli.evaluation.evaluation_store import EvaluationStore
from maccli.output import Output
from models.data import files as data
from models.data.files import Example
from models.latent.memory import LatentMemory
from models.paper.memory import PaperMemory


def store_documents(
    model: LatentMemory | PaperMemory,
    folder: Path,
    paths: Sequence[Path],
    *,
    questions: int,
    documents: int,
    split: str | None = None,
    lazy: bool = False,
    seed: int = 0,
) -> tuple[EvaluationStore, list[Example]]:
    """Store documents of data files, and draw questions about them.

    Args:
        model: the checkpoint.
        folder: of the store; documents that it holds already are not amortized again.
        paths: files of question-answering data.
        questions: how many questions are drawn in all.
        documents: how many documents of each file are drawn.
        split: only examples of this split.
        lazy: whether chunks are amortized only when they are first selected.
        seed: of the draws.
    """
    rng = random.Random(seed)
    texts: dict[str, str] = {}
    examples: list[Example] = []
    for path in paths:
        rows = data.read(path, split)
        names = sorted({row.document_id for row in rows})
        drawn = set(rng.sample(names, min(documents, len(names))))
        rows = [row for row in rows if row.document_id in drawn]
        texts |= {row.document_id: row.document for row in rows}
        examples += [row for row in rows if row.standalone]
    store = EvaluationStore.open(folder, model, lazy=lazy)
    with Output().progress(len(texts), "doc", "storing") as progress:
        store.fill(texts, progress)
    return store, draw(examples, questions, seed)
