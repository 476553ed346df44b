"""A question-answering set: all its documents in order, and the questions about them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from maccli.output import count
from models.data import files as data
from models.data.files import Example
from models.errors import DataError
from models.files import file_sha256

T = TypeVar("T")

_REASONS = {
    "impossible": "without an answer",
    "no article": "their article is not among the documents",
}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Documents and questions.

    Attributes:
        documents: name to text, in the order of the files.
        examples: the questions that make sense without their document, in the same order.
        dependent: number of questions left out because they make sense only with their document.
        unsupported: ids of those of `examples` without an answer that stands in their document.
        skipped: number of questions left out for other reasons, by reason.
    """

    documents: dict[str, str]
    examples: list[Example]
    dependent: int
    unsupported: list[str]
    skipped: Counter[str] = field(default_factory=Counter)

    def explain(self, note: Callable[[str], None]) -> None:
        """Tell the user what was left out, and what looks wrong."""
        if self.dependent:
            verb = "makes" if self.dependent == 1 else "make"
            number = count(self.dependent, "question")
            note(f"Left out: {number} that {verb} sense only with their document.")
        for reason, skipped in self.skipped.items():
            note(f"Left out: {count(skipped, 'question')} ({_REASONS.get(reason, reason)}).")
        if self.unsupported:
            first = next(e for e in self.examples if e.id == self.unsupported[0])
            place = f" ({first.where})" if first.where else ""
            note(
                f"{len(self.unsupported):,} of {len(self.examples):,} questions have no answer "
                f"that stands in their document word for word; the first is {first.id!r}{place}."
            )


def draw(items: Sequence[T], number: int | None, seed: int) -> list[T]:
    """Draw `number` items at random; return all, in their order, if there are no more."""
    if number is None or number >= len(items):
        return list(items)
    return random.Random(seed).sample(items, number)


def read_dataset(
    paths: Sequence[Path], split: str | None = None, *, distractors: Sequence[Path] = ()
) -> Dataset:
    """Read the documents and questions of data files.

    Args:
        paths: the files.
        split: only what belongs to this split.
        distractors: files of documents without questions, which come last; questions that name
            their document without holding it find it there.

    Raises:
        DataError: a file cannot be read, something in it is missing, one id stands for two texts,
            or no question makes sense without its document.
    """
    texts: dict[str, str] = {}
    examples: list[Example] = []
    unsupported: list[str] = []
    dependent = 0
    skipped: Counter[str] = Counter()
    others = [(path, *document) for path in distractors for document in data.documents(path)]
    known = {name: text for _, name, text in others}
    for path in paths:
        for example in data.read(path, split, skipped=skipped, texts=known):
            where = f"{path}: question {example.id!r}"
            _add(texts, example.document_id, example.document, where)
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
    return Dataset(texts, examples, dependent, unsupported, skipped)


def _add(texts: dict[str, str], name: str, text: str, where: str) -> None:
    if texts.setdefault(name, text) != text:
        raise DataError(
            f"{where}: document {name!r} has another text than before",
            "give documents of different texts different ids (doc_id)",
        )


def identities(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return name and SHA-256 of files, which tell whether two results are of the same data.

    Raises:
        DataError: one cannot be read.
    """
    return [{"file": path.name, "sha256": sha256(path)} for path in paths]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
