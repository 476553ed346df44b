"""`mac study own-documents`: a user's own files, with questions that the LM makes from them.

Files are read and cut as `mac ingest` does; a passage is a document of the data and goes by its
file and place. Made questions are kept in the results passage by passage, so that an interrupted
run goes on, and are marked as machine-made in the data, in every table and on the page.
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
from maccli.evaluation.plan import Plan
from maccli.evaluation.results import Results
from maccli.reading import files, loaders
from maccli.service.session import Session
from models.evaluation.questions import METHOD, SOURCE, QuestionMaker
from models.memory import checkpoint
from models.text.chunking import split

if TYPE_CHECKING:
    from maccli.evaluation.evaluation import Bars
    from maccli.evaluation.evaluation_store import AnyMemory

KEY = "made"
"""Under which name the results keep the made questions."""
_LEAVE_NEWS = 60.0
"""Seconds between two lines of news where there is no progress bar."""


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """The texts of files, by name, and what was left out."""

    texts: dict[str, str]
    skipped: list[str]

    @classmethod
    def read(cls, folders: Sequence[str]) -> OwnFiles:
        """Read the files in folders, and files that are named themselves.

        Raises:
            MacError: none of them can be read.
        """
        texts: dict[str, str] = {}
        skipped: list[str] = []
        for item in files.find(folders):
            if isinstance(item, files.Unusable):
                skipped.append(f"{item.path}: {item.reason}")
                continue
            name = files.displayed(item.source)
            try:
                texts[name] = loaders.load(item.path).text
            except loaders.Refused as error:
                skipped.append(f"{name}: {error}")
            except OSError as error:
                skipped.append(f"{name}: {error.strerror or error}")
        if not texts:
            raise MacError(
                f"There is nothing to read in {', '.join(folders)}.",
                skipped[0] if skipped else None,
            )
        return cls(texts, skipped)

    def settings(self, wanted: int | None) -> dict[str, Any]:
        """Return what the results must have in common: which files, how questions are made."""
        documents = [
            {"file": name, "sha256": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()}
            for name, text in self.texts.items()
        ]
        by = {} if wanted is None else {"made": wanted, "made_by": METHOD}
        return {"documents": documents, **by}

    def passages(self, model: AnyMemory) -> dict[str, str]:
        """Return the chunks of all files, named FILE[START:END]."""
        return {
            f"{name}[{chunk.start}:{chunk.end}]": chunk.text
            for name, text in self.texts.items()
            for chunk in split(text, model.count_tokens, model.config.chunk_tokens)
        }


def prepare(
    plan: Plan,
    own: OwnFiles,
    session: Session,
    results: Results,
    folder: Path,
    *,
    wanted: int | None,
    keep: Path | None,
    bars: Bars,
    note: Callable[[str], None],
) -> Plan:
    """Return the plan with the passages in its store and, unless it has data, made questions.

    Args:
        plan: without data of its own if questions are made.
        own: the files.
        session: whose LM makes the questions, and whose chunking cuts the files.
        results: keep the questions, and hold those of a run that was interrupted.
        folder: gets the data files.
        wanted: how many questions to make; None makes none.
        keep: a file of the user's for the made questions; a crash leaves all or nothing.
        bars: shows progress.
        note: tells the user something.

    Raises:
        MacError: not one question could be made.
        WeightsError: the base weights cannot be had.
    """
    model = cast("AnyMemory", session.model)
    for line in own.skipped:
        note(f"Left out: {line}")
    passages = own.passages(model)
    documents, data = folder / "documents.jsonl", folder / "questions.jsonl"
    rows = [{"doc_id": name, "text": text} for name, text in passages.items()]
    documents.write_bytes(_lines(rows))
    plan = replace(plan, distractors=(*plan.distractors, documents))
    if wanted is None:
        return plan
    made = make(model, passages, wanted, plan.seed, results, bars=bars, note=note)
    data.write_bytes(
        _lines(
            [
                {
                    "id": f"made-{number}",
                    "source": SOURCE,
                    "doc": passages[question["doc_id"]],
                    "standalone": True,
                    **question,
                }
                for number, question in enumerate(made, start=1)
            ]
        )
    )
    if keep is not None:
        checkpoint.replace(keep, data.read_bytes())
    return replace(plan, data=(data,))


def make(
    model: AnyMemory,
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
        maker = QuestionMaker(model)
        maker.verdicts.update(kept["verdicts"])
        with bars(wanted, "question", "make questions") as progress:
            progress.advance(at_first)
            while len(questions) < wanted and kept["tried"] < len(order):
                name = order[kept["tried"]]
                new = maker.make(passages[name], min(most, wanted - len(questions)))
                questions += [
                    {"doc_id": name, "question": q.question, "answers": list(q.answers)}
                    for q in new
                ]
                kept["tried"] += 1
                kept["verdicts"] = dict(maker.verdicts)
                results.save()
                progress.advance(len(new))
                now = time.perf_counter()
                if now - told > _LEAVE_NEWS and at_first < len(questions) < wanted:
                    told = now
                    pace = (now - begun) / (len(questions) - at_first)
                    left = pace * (wanted - len(questions)) / 60
                    note(f"{len(questions):,} of {wanted:,} questions made; {left:.0f} min left")
    if not questions:
        raise MacError(
            "Not one question could be made from these documents.",
            "The method needs sentences with names, dates or numbers; bring questions with --data.",
        )
    if len(questions) < wanted:
        note(f"Only {len(questions):,} questions could be made, not {wanted:,}.")
    return questions


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return this project's JSON lines."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return text.encode("utf-8", "replace")
