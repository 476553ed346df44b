"""`mac study own-documents`: a user's own files, with questions that the LM makes from them.

Files are read and cut as `mac ingest` does; a passage is a document of the data, without the title
and the headings that it stands under, and goes by its file and place. Made questions are kept in
the results passage by passage, so that an interrupted run goes on, and are marked as machine-made
in the data, in every table and on the page.
"""

from __future__ import annotations

import json
import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from maccli import config
from maccli.errors import MacError
from maccli.evaluation import compare
from maccli.evaluation.evaluation import Evaluation, Shared
from maccli.evaluation.plan import Plan
from maccli.reading import files, loaders
from maccli.reading.items import why_not
from maccli.reading.loaders import Loaded
from maccli.service.document import content_hash, part_starts
from models.evaluation.questions import METHOD, SOURCE, QuestionMaker
from models.files import replace_file
from models.text.chunking import split

if TYPE_CHECKING:
    from maccli.service.session import Session
    from models.stacks import AnyMemory


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """What is in files, by name, and what was left out."""

    loaded: dict[str, Loaded]
    skipped: list[str]

    @classmethod
    def read(cls, folders: Sequence[str]) -> OwnFiles:
        """Read the files in folders, and files that are named themselves.

        Raises:
            MacError: none of them can be read.
        """
        loaded: dict[str, Loaded] = {}
        skipped: list[str] = []
        for item in files.find(folders, config.patterns("exclude")):
            if isinstance(item, files.Unusable):
                skipped.append(f"{item.path}: {item.reason}")
                continue
            name = files.displayed(item.source)
            try:
                loaded[name] = loaders.load(item.path)
            except Exception as error:  # whatever it is, the others are read all the same
                skipped.append(f"{name}: {why_not(error)[0]}")
        if not loaded:
            raise MacError(
                f"There is nothing to read in {', '.join(folders)}.",
                skipped[0] if skipped else None,
            )
        return cls(loaded, skipped)

    def settings(self, wanted: int | None) -> dict[str, Any]:
        """Return what the results must have in common: which files, how questions are made."""
        documents = [
            {"file": name, "sha256": content_hash(read.text, marks=read.marks)}
            for name, read in self.loaded.items()
        ]
        by = {} if wanted is None else {"made": wanted, "made_by": METHOD}
        return {"documents": documents, **by}


def run(whole: Evaluation, sources: OwnFiles, wanted: int | None, keep: Path | None) -> None:
    """Measure the plan's rows on the passages of files that the results do not have yet.

    Args:
        whole: one checkpoint, with a plan that has no data if questions are made.
        sources: the files.
        wanted: how many questions to make; None makes none.
        keep: gets the questions that were made; None keeps them in the results only.

    Raises:
        MacError: not one question could be made.
        OSError: `keep` cannot be written.
        DataError, CheckpointError, StoreError, WeightsError: as `maccli.evaluation.compare.run`.
    """
    session, checkpoint, shared = whole.session, whole.checkpoint, whole.shared
    with tempfile.TemporaryDirectory(prefix="mac-eval-") as folder:
        plan = prepare(shared, session, sources, Path(folder), wanted)
        if keep is not None:
            replace_file(keep, plan.data[0].read_bytes())
        with Evaluation(session, checkpoint, replace(shared, plan=plan)) as evaluation:
            compare.run(evaluation)


def prepare(
    shared: Shared, session: Session, sources: OwnFiles, folder: Path, wanted: int | None
) -> Plan:
    """Return the plan with the passages in its store and, unless it has data, made questions.

    Args:
        shared: with a plan that has no data if questions are made.
        session: whose LM makes the questions, and whose chunking cuts the files.
        sources: the files.
        folder: gets the data files.
        wanted: how many questions to make; None makes none.

    Raises:
        MacError: not one question could be made.
        WeightsError: the base weights cannot be downloaded or read.
    """
    model, plan = cast("AnyMemory", session.model), shared.plan
    for line in sources.skipped:
        shared.note(f"Left out: {line}")
    passages = {
        f"{name}[{chunk.start}:{chunk.end}]": chunk.text
        for name, read in sources.loaded.items()
        for chunk in split(
            read.text,
            model.count_tokens,
            model.config.chunk_tokens,
            breaks=part_starts(read.marks),
        )
    }
    documents = [{"doc_id": name, "text": text} for name, text in passages.items()]
    file = _write(folder / "documents.jsonl", documents)
    plan = replace(plan, distractors=(*plan.distractors, file))
    if wanted is None:
        return plan
    questions = [
        {
            "id": f"made-{number}",
            "source": SOURCE,
            "doc": passages[question["doc_id"]],
            "standalone": True,
            **question,
        }
        for number, question in enumerate(_make(shared, model, passages, wanted), start=1)
    ]
    return replace(plan, data=(_write(folder / "questions.jsonl", questions),))


def _make(
    shared: Shared, model: AnyMemory, passages: Mapping[str, str], wanted: int
) -> list[dict[str, Any]]:
    """Make questions from passages in random order until there are enough; each passage once.

    Returns:
        What the results keep of each: `doc_id`, `question`, `answers`.

    Raises:
        MacError: not one could be made.
    """
    order = list(passages)
    random.Random(shared.plan.seed).shuffle(order)
    # Many passages give no question, so the others may give two of the number that each should.
    most = max(1, math.ceil(2 * wanted / max(1, len(order))))
    state: dict[str, Any] = shared.results.data.setdefault(
        "made", {"method": METHOD, "wanted": wanted, "tried": 0, "verdicts": {}, "questions": []}
    )
    questions: list[dict[str, Any]] = state["questions"]
    maker = QuestionMaker(model)
    maker.verdicts.update(state["verdicts"])
    with shared.bars(wanted, "question", "make questions") as progress:
        progress.advance(len(questions))
        while len(questions) < wanted and state["tried"] < len(order):
            name = order[state["tried"]]
            new = maker.make(passages[name], min(most, wanted - len(questions)))
            questions += [
                {"doc_id": name, "question": q.question, "answers": list(q.answers)} for q in new
            ]
            state["tried"] += 1
            state["verdicts"] = dict(maker.verdicts)
            shared.results.save()
            progress.advance(len(new))
    if not questions:
        raise MacError(
            "Not one question could be made from these documents.",
            "The method needs sentences with names, dates or numbers; bring questions with --data.",
        )
    if len(questions) < wanted:
        shared.note(f"Only {len(questions):,} questions could be made, not {wanted:,}.")
    return questions


def _write(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write this project's JSON lines."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_bytes(text.encode("utf-8", "replace"))
    return file
