"""Turns rows of public data sets, as they are published, into this project's lines.

A converter takes one row of a data set and yields its questions. Afterwards all are treated alike:
a document is one passage of at most `MAX_WORDS` words, and where a data set's answers are words of
its documents, the first answer must stand there. What does not fit is left out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from models.errors import DataError

MAX_WORDS = 400
"""The longest document in words. A longer one would be cut into pieces, and with an answer such as
"yes" nobody knows which piece it stands on."""

Row = Mapping[str, Any]


class Item(NamedTuple):
    """A question of a row, with the passage that answers it."""

    document: str
    question: str
    answers: Sequence[str]
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """How the rows of a data set are read.

    Attributes:
        convert: yields the questions of a row.
        verbatim: whether answers are words of the document; others are left out.
    """

    convert: Callable[[Row], Iterator[Item]]
    verbatim: bool = False


def lines(
    name: str, layout: str, rows: Iterable[Row], *, standalone: bool
) -> Iterator[dict[str, Any]]:
    """Yield the questions of a data set as this project's JSON lines, of the split ``train``.

    Args:
        name: of the data set, for ids and messages.
        layout: a name in `FORMATS`.
        rows: of the data set, in its order.
        standalone: whether questions make sense without their document.

    Raises:
        DataError: a row is not laid out as `layout` says.
    """
    known = FORMATS[layout]
    number = 0
    for place, row in enumerate(rows, start=1):
        try:
            items = [_fitting(item, known.verbatim) for item in known.convert(row)]
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise DataError(
                f"{name}: row {place} is not laid out as {layout} "
                f"({type(error).__name__}: {str(error)[:60]})",
                "its publisher may have changed it since; another copy can be named with "
                "--data-folder",
            ) from error
        for item in items:
            if item is None:
                continue
            number += 1
            line: dict[str, Any] = {
                "id": f"{name}-{number}",
                "source": name,
                "doc": item.document,
                "question": item.question,
                "answers": item.answers,
                "standalone": standalone,
                "split": "train",
            }
            yield {**line, "title": item.title} if item.title else line


def _fitting(item: Item, verbatim: bool) -> Item | None:
    """Return a question without spaces around its texts; None if it cannot be trained on.

    Answers that stand in the document come first; with `verbatim`, one of them has to.
    """
    document, question = item.document.strip(), item.question.strip()
    answers = [answer.strip() for answer in item.answers if answer.strip()]
    if verbatim:
        text = document.lower()
        answers.sort(key=lambda answer: answer.lower() not in text)
        answers = answers if answers and answers[0].lower() in text else []
    fits = question and answers and 0 < len(document.split()) <= MAX_WORDS
    return Item(document, question, answers, item.title) if fits else None


def _squad(row: Row) -> Iterator[Item]:
    """SQuAD as rows: `context`, `question`, `answers` with a list `text`, perhaps `title`."""
    yield Item(row["context"], row["question"], row["answers"]["text"], row.get("title"))


def _tweetqa(row: Row) -> Iterator[Item]:
    """TweetQA (arXiv 1907.06292): `Tweet`, `Question`, `Answer` with one or two answers."""
    yield Item(row["Tweet"], row["Question"], row["Answer"])


def _fairytaleqa(row: Row) -> Iterator[Item]:
    """FairytaleQA (arXiv 2203.13947): `story_section`, `question`, `answer1` to `answer6`."""
    answers = [row["answer1"], *(row.get(f"answer{n}") for n in range(2, 7))]
    title = row["story_name"].replace("-", " ").title()
    yield Item(row["story_section"], row["question"], [a for a in answers if a], title)


def _tatqa(row: Row) -> Iterator[Item]:
    """TAT-QA (arXiv 2105.07624): a report's `paragraphs` with `questions`.

    Only those that a single span of the text answers; the others need the table or arithmetic.
    """
    paragraphs = sorted(row["paragraphs"], key=lambda paragraph: int(paragraph["order"]))
    document = "\n".join(paragraph["text"] for paragraph in paragraphs)
    for asked in row["questions"]:
        if (asked["answer_type"], asked["answer_from"]) == ("span", "text"):
            answer = asked["answer"]
            yield Item(document, asked["question"], [answer] if isinstance(answer, str) else answer)


def _boolq(row: Row) -> Iterator[Item]:
    """BoolQ (arXiv 1905.10044): `passage`, `answer` true or false, `question` as typed."""
    asked = row["question"].strip().rstrip("?")
    yield Item(row["passage"], f"{asked[:1].upper()}{asked[1:]}?", _yes_or_no(row["answer"]))


def _condaqa(row: Row) -> Iterator[Item]:
    """CondaQA (arXiv 2211.00295): `sentence1` is the passage, `sentence2` the question."""
    if row["label"] in ("YES", "NO"):  # the others: not said, or words in a hundred spellings
        yield Item(row["sentence1"], row["sentence2"], _yes_or_no(row["label"] == "YES"))


def _strategyqa(row: Row) -> Iterator[Item]:
    """StrategyQA (arXiv 2101.02235): `facts` about a `term`, `answer` true or false."""
    facts = row["facts"] if isinstance(row["facts"], str) else " ".join(row["facts"])
    document = f"{row['term']}: {row['description'].rstrip('.')}. {facts}"
    yield Item(document, row["question"], _yes_or_no(row["answer"]), row["term"])


def _pubmedqa(row: Row) -> Iterator[Item]:
    """PubMedQA (arXiv 1909.06146): parts of an abstract in `context`, `final_decision`."""
    if row["final_decision"] in ("yes", "no"):  # the third is "maybe"
        document = "\n".join(row["context"]["contexts"])
        yield Item(document, row["question"], _yes_or_no(row["final_decision"] == "yes"))


def _wikitablequestions(row: Row) -> Iterator[Item]:
    """WikiTableQuestions (arXiv 1508.00305): `table` with `header` and `rows`, `answers`."""
    document = table([row["table"]["header"], *row["table"]["rows"]])
    yield Item(document, row["question"], [", ".join(row["answers"])])


def _fetaqa(row: Row) -> Iterator[Item]:
    """FeTaQA (arXiv 2104.00369): `table_array` with its titles, `answer` is a sentence."""
    title, section = row["table_page_title"], row["table_section_title"]
    heading = f"{title} - {section}" if section else title
    document = f"{heading}\n\n{table(row['table_array'])}"
    yield Item(document, row["question"], [row["answer"]], title)


def _yes_or_no(value: object) -> list[str]:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.40} is neither true nor false")
    return ["Yes" if value else "No"]


def table(rows: Sequence[Sequence[object]]) -> str:
    """Return a table as text, its first row being the header.

    Files have tables in many forms: CSV, Markdown, tabs, and a line for each field. Which of them
    it is depends on the table alone, so that all its questions share one document.
    """
    cells = [[re.sub(r"\s+", " ", str(cell)).strip() for cell in row] for row in rows]
    forms = (_as_csv, _as_markdown, _as_tabs, _as_fields)
    return forms[hashlib.sha256(repr(cells).encode()).digest()[0] % len(forms)](cells)


def _as_csv(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _as_markdown(rows: list[list[str]]) -> str:
    texts = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([texts[0], f"|{' --- |' * len(rows[0])}", *texts[1:]])


def _as_tabs(rows: list[list[str]]) -> str:
    return "\n".join("\t".join(row) for row in rows)


def _as_fields(rows: list[list[str]]) -> str:
    header = rows[0]
    return "\n\n".join(
        "\n".join(f"{name}: {cell}" for name, cell in zip(header, row, strict=False))
        for row in rows[1:]
    )


FORMATS: Mapping[str, Format] = {
    "squad": Format(_squad, verbatim=True),
    "tweetqa": Format(_tweetqa, verbatim=True),
    "fairytaleqa": Format(_fairytaleqa, verbatim=True),
    "tatqa": Format(_tatqa, verbatim=True),
    "boolq": Format(_boolq),
    "condaqa": Format(_condaqa),
    "strategyqa": Format(_strategyqa),
    "pubmedqa": Format(_pubmedqa),
    "wikitablequestions": Format(_wikitablequestions),
    "fetaqa": Format(_fetaqa),
}
"""By name, the layouts of public data sets that can be read."""
