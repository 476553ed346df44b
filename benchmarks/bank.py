"""A memory bank of a question-answering set: the product's, with questions drawn.

Chunking, amortizing, storing and searching are `maccli.service.bank`'s; nothing here is a model of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from maccli.service import bank
from maccli.service.bank import create_store
from maccli.service.stream import read_stream
from models.data import Example
from models.memory import Memory
from models.modulation import Modulation, quantise


@dataclass(slots=True)
class Bank(bank.Bank):
    """All documents of the set in one store, and the questions asked of it."""

    examples: list[Example] = field(default_factory=list)


def load(
    memory: Memory,
    folder: Path,
    data: Sequence[Path],
    *,
    split_name: str | None,
    questions: int | None,
    seed: int,
    documents: int | None = None,
    keys_only: bool = False,
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
        keys_only: for retrieval alone: the modulations are one empty token each.
    """
    stream = read_stream(data, split_name, documents=documents, seed=seed)
    filled = Bank(
        _KeysOnly(memory) if keys_only else memory,  # type: ignore[arg-type]
        create_store(folder, memory),
        examples=stream.draw(questions, seed),
    )
    with tqdm(total=len(stream.documents), desc="ingest", unit="doc") as bar:
        filled.fill(stream.documents, _Progress(bar))
    filled.memory = memory
    return filled


class _KeysOnly:
    """A memory that embeds texts but leaves out what the base LM makes of them."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def amortize(self, texts: Sequence[str]) -> list[Modulation]:
        """One empty token and the key of each text."""
        keys = self._memory.encoder.encode(texts).cpu().numpy().astype(np.float16)
        nothing = quantise(np.zeros((1, self._memory.config.latent_size), np.float32))
        return [Modulation(*nothing, key) for key in keys]


class _Progress:
    """A tqdm bar as the product's code wants it."""

    def __init__(self, bar: Any) -> None:
        self.advance, self.tell = bar.update, bar.set_postfix_str
