"""`mac eval --docs`: folders of one's own files as a stream, with questions that the LM makes.

Files are read and cut as `mac ingest` does; a passage is a document of the stream and goes by its
file and place. Made questions are kept in the results passage by passage, so that a run that was
stopped goes on, and are marked as machine-made in the data, in every table and on the page.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from maccli.errors import MacError
from maccli.evaluation.plan import Bars, Plan
from maccli.evaluation.results import Results
from maccli.reading import files, loaders
from maccli.service.session import Session
from models.evaluation.questions import METHOD, SOURCE, QuestionMaker
from models.memory import checkpoint
from models.text.chunking import split

if TYPE_CHECKING:
    from models.latent.memory import Memory

KEY = "made"
"""Under which the made questions stand in the results."""
_LEAVE_NEWS = 60.0
"""Seconds between two lines of news where there is no progress bar."""


@dataclass(frozen=True, slots=True)
class OwnDocuments:
    """Files of text, by name, and what was passed over."""

    texts: dict[str, str]
    skipped: list[str]

    def identity(self) -> list[dict[str, Any]]:
        """Return name and SHA-256 of each text: whether two results are of the same files."""
        return [
            {"file": name, "sha256": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()}
            for name, text in self.texts.items()
        ]

    def passages(self, memory: Memory) -> dict[str, str]:
        """Return the chunks of all files, called FILE[START:END]."""
        found = {}
        for name, text in self.texts.items():
            for chunk in split(text, memory.count_tokens, memory.config.chunk_tokens):
                found[f"{name}[{chunk.start}:{chunk.end}]"] = chunk.text
        return found


def read(folders: Sequence[str]) -> OwnDocuments:
    """Read the files in folders, and files that are named themselves.

    Raises:
        MacError: none of them can be read.
    """
    texts: dict[str, str] = {}
    skipped: list[str] = []
    for item in files.find(folders, recursive=True):
        if isinstance(item, files.Unusable):
            skipped.append(f"{item.path}: {item.reason}")
            continue
        try:
            texts[files.displayed(item.source)] = loaders.load(item.path).text
        except loaders.Refused as error:
            skipped.append(f"{files.displayed(item.source)}: {error}")
        except OSError as error:
            skipped.append(f"{files.displayed(item.source)}: {error.strerror or error}")
    if not texts:
        raise MacError(
            f"There is nothing to read in {', '.join(folders)}.",
            skipped[0] if skipped else None,
        )
    return OwnDocuments(texts, skipped)


def settings(own: OwnDocuments, made: int | None) -> dict[str, Any]:
    """Return what `Plan.settings` does not know of: which files, and how questions are made."""
    found: dict[str, Any] = {"documents": own.identity()}
    if made is not None:
        found |= {"made": made, "made_by": METHOD}
    return found


def prepare(
    plan: Plan,
    own: OwnDocuments,
    session: Session,
    results: Results,
    folder: Path,
    *,
    made: int | None,
    bars: Bars,
    note: Callable[[str], None],
) -> Plan:
    """Return the plan with the passages in its bank and, if asked for, made questions to ask.

    Args:
        plan: without data of its own if questions are made.
        own: the files.
        session: whose LM makes the questions, and whose chunking cuts the files.
        results: keep the questions, and already hold those of a run that was stopped.
        folder: gets the data files.
        made: how many questions to make; None makes none.
        bars: shows progress.
        note: tells news.

    Raises:
        MacError: not one question could be made.
        WeightsError: the base weights cannot be had.
    """
    memory = cast("Memory", session.memory)
    for line in own.skipped:
        note(f"Left out: {line}")
    passages = own.passages(memory)
    bank = folder / "documents.jsonl"
    rows = [{"doc_id": name, "text": text} for name, text in passages.items()]
    bank.write_text("".join(map(_line, rows)), "utf-8")
    plan = replace(plan, distractors=(*plan.distractors, bank))
    if made is None:
        return plan
    questions = make(memory, passages, made, plan.seed, results, bars=bars, note=note)
    data = folder / "questions.jsonl"
    data.write_bytes(as_lines(questions, passages))
    return replace(plan, data=(data,))


def make(
    memory: Memory,
    passages: Mapping[str, str],
    wanted: int,
    seed: int,
    results: Results,
    *,
    bars: Bars,
    note: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Make questions from passages in random order until there are enough; each passage once.

    Returns:
        What `results` keep of each: `doc_id`, `question`, `answers`.

    Raises:
        MacError: not one could be made.
    """
    order = list(passages)
    random.Random(seed).shuffle(order)
    # Many passages give no question, so the others may give two of the number that each should.
    most = max(1, math.ceil(2 * wanted / max(1, len(order))))
    kept: dict[str, Any] = results.data.setdefault(
        KEY, {"method": METHOD, "wanted": wanted, "tried": 0, "verdicts": {}, "questions": []}
    )
    questions: list[dict[str, Any]] = kept["questions"]
    begun = told = time.perf_counter()
    at_first = len(questions)
    if len(questions) < wanted and kept["tried"] < len(order):
        maker = QuestionMaker(memory)
        maker.verdicts.update(kept["verdicts"])
        with bars(wanted, "question", "make questions") as progress:
            progress.advance(at_first)
            while len(questions) < wanted and kept["tried"] < len(order):
                name = order[kept["tried"]]
                new = maker.make(passages[name], min(most, wanted - len(questions)))
                questions += [
                    {"doc_id": name, "question": one.question, "answers": list(one.answers)}
                    for one in new
                ]
                kept["tried"] += 1
                kept["verdicts"] = dict(maker.verdicts)
                results.save()
                progress.advance(len(new))
                now = time.perf_counter()
                if now - told > _LEAVE_NEWS and at_first < len(questions) < wanted:
                    told = now
                    pace = (now - begun) / (len(questions) - at_first)
                    left = pace * (wanted - len(questions))
                    note(
                        f"{len(questions):,} of {wanted:,} questions made; {left / 60:.0f} min left"
                    )
    if not questions:
        raise MacError(
            "Not one question could be made from these documents.",
            "The method needs sentences with names, dates or numbers; bring questions with --data.",
        )
    if len(questions) < wanted:
        note(f"Only {len(questions):,} questions could be made, not {wanted:,}.")
    return questions


def as_lines(questions: Sequence[Mapping[str, Any]], passages: Mapping[str, str]) -> bytes:
    """Return made questions as a data file: this project's JSON lines, marked by their `source`."""
    rows = [
        {
            "id": f"made-{number}",
            "source": SOURCE,
            "doc_id": one["doc_id"],
            "doc": passages[one["doc_id"]],
            "question": one["question"],
            "answers": one["answers"],
            "standalone": True,
        }
        for number, one in enumerate(questions, start=1)
    ]
    return "".join(map(_line, rows)).encode("utf-8", "replace")


def keep(plan: Plan, file: Path) -> None:
    """Write the plan's made questions to a file of the user's; a crash leaves all or nothing."""
    checkpoint.replace(file, plan.data[0].read_bytes())


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
