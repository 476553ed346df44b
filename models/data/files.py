"""Reads files of question-answering data, for training and evaluation.

The name of a file says its format: JSON lines (``.jsonl``), SQuAD JSON of version 1 or 2
(``.json``), or CSV with the columns of StreamingQA, ArchivalQA or SQuAD-Seq as in the paper's code
(``.csv``); each also compressed with Zstandard (``.zst``) or gzip (``.gz``). Lines and rows are
streamed; a SQuAD file is a single JSON document and is parsed as a whole.

SQuAD: arXiv 1606.05250, 1806.03822. StreamingQA: arXiv 2205.11388. ArchivalQA: arXiv 2109.03438.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import zstandard

from models.data.formats import READERS, Example, json_documents
from models.data.published import SQUAD_SEQ, where_to_get
from models.errors import DataError

_COMPRESSED = (".zst", ".gz")

__all__ = ["DataSource", "Example", "documents", "find", "parse_source", "read", "read_lines"]


@dataclass(frozen=True, slots=True)
class DataSource:
    """A data file and how often it is drawn from, relative to the others."""

    path: Path
    weight: float = 1.0


def parse_source(text: str) -> DataSource:
    """Read ``PATH`` or ``PATH:WEIGHT``.

    A colon without a number after it, or in the name of an existing file, is part of the path.

    Raises:
        DataError: the weight is not a positive finite number.
    """
    head, colon, tail = text.rpartition(":")
    if not colon or not head or Path(text).exists():
        return DataSource(Path(text))
    try:
        weight = float(tail)
    except ValueError:
        return DataSource(Path(text))
    if not (math.isfinite(weight) and weight > 0):
        raise DataError(f"{text}: the weight must be above 0, got {tail}", "write PATH:WEIGHT")
    return DataSource(Path(head), weight)


def find(folder: Path, name: str) -> Path | None:
    """Return the data file of a name in a folder, whatever its format; None if there is none."""
    paths = (folder / f"{name}{kind}{end}" for kind in READERS for end in ("", *_COMPRESSED))
    return next((path for path in paths if path.is_file()), None)


def read(
    path: Path,
    split: str | None = None,
    *,
    limit: int | None = None,
    skipped: Counter[str] | None = None,
    texts: Mapping[str, str] | None = None,
    unanswerable: bool = False,
) -> list[Example]:
    """Return all examples of a file, in its order.

    Args:
        path: see `read_lines`.
        split: see `read_lines`.
        limit: the most examples to read.
        skipped: see `read_lines`.
        texts: see `read_lines`.
        unanswerable: see `read_lines`.

    Raises:
        DataError: see `read_lines`; also if there are no examples.
    """
    lines = read_lines(path, split, skipped=skipped, texts=texts, unanswerable=unanswerable)
    examples = list(islice(lines, limit))
    if not examples and limit != 0:
        raise DataError(
            f"{path}: no questions" + (f" of split {split!r}" if split else ""),
            "another split may hold some" if split else None,
        )
    return examples


def read_lines(
    path: Path,
    split: str | None = None,
    *,
    skipped: Counter[str] | None = None,
    texts: Mapping[str, str] | None = None,
    unanswerable: bool = False,
) -> Iterator[Example]:
    """Yield the examples of a file.

    Args:
        path: a ``.jsonl``, ``.json`` or ``.csv`` file, with or without ``.zst`` or ``.gz``.
        split: leave out the examples of other splits; those without a split stay. A name in
            `SQUAD_SEQ` takes the rows of that split from SQuAD 1.1's training file.
        skipped: counts questions without an answer as ``impossible``, and those whose article is
            not among the texts as ``no article``.
        texts: articles by id, for the official StreamingQA files, which do not hold them.
        unanswerable: give questions without an answer, too.

    Raises:
        DataError: the file cannot be read, or something in it is missing; the message names the
            file and the line.
    """
    skipped = Counter() if skipped is None else skipped
    suffixes = [suffix for suffix in path.suffixes if suffix not in _COMPRESSED]
    reader = READERS.get(suffixes[-1].lower() if suffixes else "")
    if reader is None:
        raise DataError(
            f"{path}: not a known kind of data file",
            "use .jsonl, .json (SQuAD) or .csv, also .zst or .gz",
        )
    with _explained(path), ExitStack() as stack:
        examples = reader(_open(path, stack), path, skipped, texts or {})
        if not unanswerable:
            examples = _answerable(examples, skipped)
        if split is not None and split in SQUAD_SEQ:
            yield from _rows(examples, path, split)
            return
        for example in examples:
            if split is None or example.split in (split, None):
                yield example


def _answerable(examples: Iterator[Example], skipped: Counter[str]) -> Iterator[Example]:
    for example in examples:
        if example.answers:
            yield example
        else:
            skipped["impossible"] += 1


def _rows(examples: Iterator[Example], path: Path, split: str) -> Iterator[Example]:
    """Yield the rows of a split of SQuAD-Seq."""
    start, end = SQUAD_SEQ[split]
    number = 0
    for example in examples:
        if start <= number < end:
            yield example
        number += 1
    whole = max(end for _, end in SQUAD_SEQ.values())
    if number != whole:
        raise DataError(
            f"{path}: {split} is a part of SQuAD 1.1's training file of {whole:,} questions, and "
            f"this one has {number:,}",
            where_to_get(Path("squad")),
        )


def documents(path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text of each document in a file without questions.

    Args:
        path: JSON lines with ``doc`` or ``text``, and perhaps ``doc_id``; also compressed.

    Raises:
        DataError: the file cannot be read, or a text is missing; the message names the file and
            the line.
    """
    with _explained(path), ExitStack() as stack:
        yield from json_documents(_open(path, stack), path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn every error of reading a file into a `DataError`."""
    try:
        yield
    except zstandard.ZstdError as error:
        raise DataError(f"{path}: damaged Zstandard data ({error})") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: damaged gzip data ({error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        hint = where_to_get(path) if missing else None
        raise DataError(f"{path}: {error.strerror or error}", hint) from error


def _open(path: Path, stack: ExitStack) -> TextIO:
    raw: Any = stack.enter_context(path.open("rb"))
    if path.suffix == ".zst":
        raw = stack.enter_context(
            zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        )
    if path.suffix == ".gz":
        raw = stack.enter_context(gzip.GzipFile(fileobj=raw))
    return stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""))
