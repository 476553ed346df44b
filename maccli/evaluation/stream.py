"""A question-answering set as a stream: all its documents in order, then the questions."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.data import files as data
from models.data.files import Example
from models.errors import DataError


@dataclass(frozen=True, slots=True)
class Stream:
    """Documents and questions.

    Attributes:
        documents: name to text, in the order of the files.
        examples: the questions that say what they are about, in the same order.
        dependent: how many were left out because they make sense only beside their document.
        unsupported: ids of those of `examples` without an answer that stands in their document.
        skipped: how many questions were left out for other reasons, by reason.
    """

    documents: dict[str, str]
    examples: list[Example]
    dependent: int
    unsupported: list[str]
    skipped: Counter[str] = field(default_factory=Counter)

    def draw(self, number: int | None, seed: int) -> list[Example]:
        """Return so many questions drawn at random; all, in their order, if there are no more."""
        if number is None or number >= len(self.examples):
            return list(self.examples)
        return random.Random(seed).sample(self.examples, number)


def read_stream(
    paths: Sequence[Path],
    split: str | None = None,
    *,
    distractors: Sequence[Path] = (),
    documents: int | None = None,
    seed: int = 0,
) -> Stream:
    """Read the documents and questions of data files.

    Args:
        paths: the files.
        split: only what belongs to this split.
        distractors: files of documents without questions, which come last; questions that name
            their document without holding it find it there.
        documents: keep only so many documents of each file, drawn at random; all if None.
        seed: of that draw.

    Raises:
        DataError: a file cannot be read, something in it is missing, one id stands for two texts,
            or there is no question that says what it is about.
    """
    rng = random.Random(seed)
    texts: dict[str, str] = {}
    examples: list[Example] = []
    unsupported: list[str] = []
    dependent = 0
    skipped: Counter[str] = Counter()
    others = [(path, *one) for path in distractors for one in data.documents(path)]
    found = {name: text for _, name, text in others}
    for path in paths:
        rows = data.read(path, split, skipped=skipped, texts=found)
        names = sorted({example.document_id for example in rows})
        kept = set(rng.sample(names, min(documents, len(names))) if documents else names)
        for example in rows:
            name = example.document_id
            if name not in kept:
                continue
            _add(texts, name, example.document, f"{path}: question {example.id!r}")
            if not example.standalone:
                dependent += 1
                continue
            examples.append(example)
            document = example.document.lower()
            if not any(answer.lower() in document for answer in example.answers):
                unsupported.append(example.id)
    if not examples:
        raise DataError(
            f"{', '.join(map(str, paths))}: no question stands on its own",
            "every one of them says `standalone: false`",
        )
    for path, name, text in others:
        _add(texts, name, text, str(path))
    return Stream(texts, examples, dependent, unsupported, skipped)


def _add(texts: dict[str, str], name: str, text: str, where: str) -> None:
    if texts.setdefault(name, text) != text:
        raise DataError(
            f"{where}: document {name!r} has another text than before",
            "give documents of different texts different ids (doc_id)",
        )


def identity(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return name and SHA-256 of data files, to tell whether two results are of the same data.

    Raises:
        DataError: one cannot be read.
    """
    found = []
    for path in paths:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error
        found.append({"file": path.name, "sha256": digest})
    return found
