"""The published files of the paper's three data sets, and where to get them.

StreamingQA (arXiv 2205.11388): the CSVs of CaMeLS (arXiv 2305.15076), whose columns are `question`,
`answers` and `text`; or the official JSON lines, which name a news article by its sorting key and
do not hold it. ArchivalQA (arXiv 2109.03438): the CSVs that CaMeLS's notebook pairs with articles;
the published ones hold no text. SQuAD-Seq: SQuAD 1.1 by row numbers; the authors' code reads a part
of it from a CSV with the columns `question`, `answers` and `context`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.errors import DataError

SQUAD_SEQ = {
    "squad-seq-qa": (0, 40_006),
    "squad-seq-qa-dev": (40_006, 42_118),
    "squad-seq-train": (42_118, 82_011),
    "squad-seq-dev": (82_011, 87_599),
}
"""The authors' splits of SQuAD 1.1's training file, by row: to tune the base LM for questions, to
check that, to meta-train, to validate. Their test set is the whole validation file."""

_STREAMINGQA = (
    "StreamingQA: https://github.com/google-deepmind/streamingqa has the questions "
    "(streaminqa_*.jsonl.gz) and extraction.py for the articles, which go in with --distractors as "
    "lines of sorting_key and text; https://github.com/nathanhu0/CaMeLS links CSVs with the texts"
)
_ARCHIVALQA = (
    "ArchivalQA: https://github.com/WangJiexin/ArchivalQA has the questions, the texts are the NYT "
    "corpus (LDC2008T19); ArchivalQA_processing.ipynb of https://github.com/nathanhu0/CaMeLS pairs "
    "them"
)
_SQUAD = "SQuAD 1.1: https://rajpurkar.github.io/SQuAD-explorer/ (train-v1.1.json, dev-v1.1.json)"


def where_to_get(path: Path) -> str | None:
    """Return where a file is published, if its name is that of one of the data sets."""
    name = path.name.lower()
    if "streaminqa" in name or "streamingqa" in name:  # the official files are misspelt
        return _STREAMINGQA
    if "archivalqa" in name:
        return _ARCHIVALQA
    return _SQUAD if "squad" in name else None


def sorting_key(key: str) -> str:
    """Return a WMT sorting key without its unprintable separators, as the name of a document."""
    return "-".join(part for part in key.replace("\x01", "").split("\0") if part)


def official_streamingqa(
    row: Mapping[str, Any], where: str, texts: Mapping[str, str]
) -> dict[str, Any] | None:
    """Turn an official JSON line into ours, with its article; return None without that article.

    Args:
        row: has `qa_id`, `question`, `answers`, `evidence_id` and `evidence_ts`.
        where: file and line.
        texts: articles by `sorting_key`.

    Raises:
        DataError: there are no articles at all, or the date is no time in seconds.
    """
    if not texts:
        raise DataError(f"{where}: an official StreamingQA line has no article in it", _STREAMINGQA)
    name = sorting_key(str(row["evidence_id"]))
    text = texts.get(name)
    if text is None:
        return None
    split = str(row["qa_id"]).partition("-")[0]
    return {
        "id": row["qa_id"],
        "source": "streamingqa",
        "doc_id": name,
        "doc": text,
        "question": row.get("question"),
        "answers": row.get("answers"),
        "date": _date(row.get("evidence_ts"), where),
        "split": {"valid": "dev", "eval": "test"}.get(split, split),
    }


def _date(seconds: Any, where: str) -> str | None:
    """Return the date of a Unix time."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise DataError(
            f"{where}: 'evidence_ts' must be a number of seconds, got {seconds!r:.40}"
        ) from error


def csv_columns(columns: set[str], where: str) -> tuple[str, str]:
    """Return the columns that hold the document and the answers.

    Raises:
        DataError: the columns are of none of the data sets.
    """
    if {"question", "answers", "text"} <= columns:
        return "text", "answers"
    if {"question", "answers", "context"} <= columns:
        return "context", "answers"
    if {"question", "answer", "ans_paragraph"} <= columns:
        return "ans_paragraph", "answer"
    if {"question", "answer", "para_id"} <= columns:
        raise DataError(f"{where}: ArchivalQA's own file has no texts in it", _ARCHIVALQA)
    raise DataError(
        f"{where}: columns {sorted(columns)} are not known",
        "needs question, answers, text (StreamingQA), question, answers, context (SQuAD-Seq) or "
        "question, answer, ans_paragraph (ArchivalQA)",
    )


def csv_answers(document_column: str, given: str, where: str) -> list[str]:
    r"""Return the answers in a field.

    They have backslashes between them (StreamingQA), are a literal ``{'text': [...]}``
    (SQuAD-Seq), or the field is the only answer (ArchivalQA).

    Raises:
        DataError: the field does not hold that literal.
    """
    if document_column == "text":
        return given.split("\\")
    if document_column == "ans_paragraph":
        return [given]
    try:
        value = ast.literal_eval(given)
        texts = value["text"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise DataError(
            f"{where}: 'answers' is no {{'text': [...]}}", "as written by the authors' code"
        ) from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: 'answers' is no {{'text': [...]}}: {given!r:.40}")
    return texts
