"""The formats of question-answering data: JSON lines, SQuAD JSON, the CSVs of published data sets.

Each reader turns an open text file into examples. It raises `DataError` with the file and the line,
or with the place in the document for SQuAD JSON, where lines mean nothing.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from models.data.published import (
    csv_answers,
    csv_columns,
    official_streamingqa,
    sorting_key,
)
from models.errors import DataError

_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair, as JSON may escape it alone
_MAX_LINE = 16 * 1024 * 1024  # characters; more than any question with its document has
_LINE_FIELDS = "a line needs doc, question and answers (a list of strings)"
_DOCUMENT_FIELDS = "a line needs doc or text"
_CSV_FIELDS = "every row needs a question, its document and the column of the answers"


@dataclass(frozen=True, slots=True)
class Example:
    """A question with the document that answers it.

    Attributes:
        id: the id of the question, unique within its file.
        source: the name of the data set, or else of the file.
        document_id: the id of the document, the same for all of its questions.
        document: plain text.
        question: the question.
        answers: the right answers; none where the document does not say it.
        title: the title of the document, or None.
        date: the date of the document as the file has it, or None.
        standalone: False if the question makes sense only beside its document.
        split: ``train``, ``dev`` and so on, or None if the file does not say.
        history: questions that were asked before, each with its answer.
        where: file and line (SQuAD JSON: the place in the document), which comparisons ignore.
    """

    id: str
    source: str
    document_id: str
    document: str
    question: str
    answers: tuple[str, ...]
    title: str | None = None
    date: str | None = None
    standalone: bool = True
    split: str | None = None
    history: tuple[tuple[str, str], ...] = ()
    where: str = field(default="", compare=False)


def _json_rows(lines: TextIO, path: Path, hint: str) -> Iterator[tuple[int, str, Any]]:
    """Yield number, place and value of each line that is not empty."""
    for number, line in enumerate(_bounded(lines, path), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON ({error})", hint) from error
        yield number, where, row


def _json_lines(
    lines: TextIO, path: Path, skipped: Counter[str], texts: Mapping[str, str]
) -> Iterator[Example]:
    for number, where, row in _json_rows(lines, path, _LINE_FIELDS):
        if not isinstance(row, dict):
            raise DataError(f"{where}: not a JSON object", _LINE_FIELDS)
        if "doc" not in row and {"qa_id", "evidence_id"} <= row.keys():
            row = official_streamingqa(row, where, texts)
            if row is None:
                skipped["no article"] += 1
                continue
        document = _text(row, "doc", where, _LINE_FIELDS)
        source = _optional(row, "source", where) or path.name.partition(".")[0]
        yield Example(
            where=where,
            id=_optional(row, "id", where) or f"{source}-{number}",
            source=source,
            document_id=_optional(row, "doc_id", where) or _digest(document),
            document=document,
            question=_text(row, "question", where, _LINE_FIELDS),
            answers=_answers(row.get("answers"), where),
            title=_optional(row, "title", where),
            date=_optional(row, "date", where),
            standalone=row.get("standalone") is not False,
            split=_optional(row, "split", where),
            history=_history(row.get("history"), where),
        )


def json_documents(lines: TextIO, path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text of documents without questions: JSON lines with ``doc`` or ``text``.

    The id is ``doc_id``, or the ``sorting_key`` of an article in the WMT news crawl.

    Raises:
        DataError: a line is not JSON or has no text; the message names the file and the line.
    """
    for _, where, row in _json_rows(lines, path, _DOCUMENT_FIELDS):
        key = "doc" if isinstance(row, dict) and "doc" in row else "text"
        text = _text(row, key, where, _DOCUMENT_FIELDS)
        name = _optional(row, "doc_id", where)
        if not name and (wmt := _optional(row, "sorting_key", where)):
            name = sorting_key(wmt)
        yield name or _digest(text), text


def _bounded(lines: TextIO, path: Path) -> Iterator[str]:
    number = 0
    while line := lines.readline(_MAX_LINE):
        number += 1
        if len(line) == _MAX_LINE and not line.endswith("\n"):
            raise DataError(f"{path}:{number}: longer than {_MAX_LINE} characters")
        yield line


def _squad(file: TextIO, path: Path, _: Counter[str], __: Mapping[str, str]) -> Iterator[Example]:
    hint = "a SQuAD file is {data: [{paragraphs: [{context, qas: [{question, answers}]}]}]}"
    try:
        root = json.load(file)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not one JSON document ({error.msg})",
            "JSON lines must be named .jsonl",
        ) from error
    except RecursionError as error:
        raise DataError(f"{path}: nested too deeply", hint) from error
    source = path.name.partition(".")[0]
    for a, article in enumerate(_items(root, "data", str(path), hint)):
        where = f"{path}: data[{a}]"
        for p, paragraph in enumerate(_items(article, "paragraphs", where, hint)):
            spot = f"{where}.paragraphs[{p}]"
            questions = _items(paragraph, "qas", spot, hint)
            document = _text(paragraph, "context", spot, hint)
            for q, item in enumerate(questions):
                at = f"{spot}.qas[{q}]"
                answers = _items(item, "answers", at, hint)
                texts = [_text(answer, "text", at, hint) for answer in answers]
                yield Example(
                    where=at,
                    id=_optional(item, "id", at) or f"{source}-{a}-{p}-{q}",
                    source=source,
                    document_id=f"{source}-{a}-{p}",
                    document=document,
                    question=_text(item, "question", at, hint),
                    answers=() if item.get("is_impossible") else _answers(texts, at),
                    title=_optional(article, "title", where),
                )


def _csv(file: TextIO, path: Path, _: Counter[str], __: Mapping[str, str]) -> Iterator[Example]:
    csv.field_size_limit(_MAX_LINE)  # Python's own limit is shorter than a long article
    rows = csv.DictReader(file, strict=True)
    source = path.name.partition(".")[0]
    try:
        document_column, column = csv_columns(set(rows.fieldnames or ()), f"{path}:1")
        for row in rows:
            where = f"{path}:{rows.line_num}"
            document = _text(row, document_column, where, _CSV_FIELDS)
            answers = csv_answers(document_column, row[column] or "", where)
            yield Example(
                where=where,
                id=f"{source}-{rows.line_num}",
                source=source,
                document_id=_digest(document),
                document=document,
                question=_text(row, "question", where, _CSV_FIELDS),
                answers=_answers(answers, where),
                title=_optional(row, "title", where),
                date=_optional(row, "date", where),
            )
    except csv.Error as error:
        raise DataError(f"{path}:{rows.reader.line_num}: not CSV ({error})", _CSV_FIELDS) from error


Reader = Callable[[TextIO, Path, Counter[str], Mapping[str, str]], Iterator[Example]]
READERS: dict[str, Reader] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _squad,
    ".csv": _csv,
}
"""The reader of each suffix. It takes the open text, the path for messages, a counter of skipped
questions (``no article``), and the texts of articles that a file only names."""


def _items(row: object, key: str, where: str, hint: str) -> list[Any]:
    value = row.get(key) if isinstance(row, Mapping) else None
    if not isinstance(value, list):
        raise DataError(f"{where}: no list {key!r}", hint)
    return value


def _text(row: object, key: str, where: str, hint: str) -> str:
    value = row.get(key) if isinstance(row, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {key!r} is missing or empty", hint)
    return _repaired(value).strip()


def _optional(row: Mapping[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if value is None or isinstance(value, str):
        return _repaired(value or "") or None
    if isinstance(value, int):  # numbered ids
        return str(value)
    raise DataError(f"{where}: {key!r} must be text, got {value!r:.40}")


def _answers(values: object, where: str) -> tuple[str, ...]:
    """Return the distinct answers in their order."""
    if not isinstance(values, Iterable) or isinstance(values, str | Mapping):
        raise DataError(f"{where}: 'answers' is missing or not a list", _LINE_FIELDS)
    texts = list(values)
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: an answer is not text", _LINE_FIELDS)
    return tuple(dict.fromkeys(_repaired(text).strip() for text in texts if text.strip()))


def _history(values: object, where: str) -> tuple[tuple[str, str], ...]:
    """Return questions and answers that came before, in their order."""
    pairs = values if isinstance(values, list) else []
    if (values and not pairs) or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise DataError(f"{where}: 'history' is not a list of questions with their answers")
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise DataError(f"{where}: something in 'history' is not text")
    return tuple((_repaired(question), _repaired(answer)) for question, answer in pairs)


def _repaired(text: str) -> str:
    return _HALF.sub("\N{REPLACEMENT CHARACTER}", text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
