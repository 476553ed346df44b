"""A question to the passages that would answer it, without a language model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from maccli.service.evidence import retrieve
from maccli.service.sources import Place, best_sentence, places
from store.labels import EVERYTHING, Within
from store.marks import mark_at

if TYPE_CHECKING:
    from maccli.service.session import Session
    from models.memory.relevance import Retriever
    from models.text.prompts import History


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document that a question selects.

    Attributes:
        source: the document.
        title: of the document, if it has one.
        heading: the headings above the matching sentence, the outermost first; "" if none.
        place: of that sentence, such as "page 3" or "line 40"; "" if there are no such places.
        chunk: the position of the chunk in it, from 0.
        start: offset of the passage in the document's text.
        end: offset of its end.
        text: the passage, whole.
        score: relevance, in nats.
        weight: its share; the weights of all passages add up to 1.
        match_start: offset in `text` of the sentence that matches best.
        match_end: offset of its end.
        stale: why the file can no longer be read, if what is stored is an older version of it.
        also: where the same passage stands, too.
    """

    source: str
    title: str | None
    heading: str
    place: str
    chunk: int
    start: int
    end: int
    text: str
    score: float
    weight: float
    match_start: int
    match_end: int
    stale: str | None
    also: tuple[Place, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the passage as `--json` shows it."""
        numbers = {"score": round(self.score, 4), "weight": round(self.weight, 4)}
        return {**asdict(self), **numbers}


def search(
    session: Session,
    question: str,
    *,
    k: int | None = None,
    retriever: Retriever = "hybrid",
    within: Within = EVERYTHING,
    fast: bool = False,
    history: History = (),
) -> list[Passage]:
    """Return the passages that a question would be answered from, the most relevant first.

    Only the sentence encoder and the judge are loaded. Without a judge an answer is drawn from the
    same passages unless several are nearly level: then it takes a second look with the language
    model.

    Args:
        session: the model and the store.
        question: one or several lines.
        k: how many; None for as many as the model was trained with.
        retriever: how they are found.
        within: the documents that they may stand in.
        fast: leave out the judge, which reads the passages together with the question.
        history: the questions asked before, each with its answer; the question may follow them up.

    Raises:
        MacError: the question is empty or too long, or there is nothing in the store.
        StoreError: the store cannot be used.
        WeightsError: the encoder's weights cannot be downloaded or read.
        ModelError: the model cannot be used.
    """
    evidence = retrieve(
        session,
        question,
        k=k,
        retriever=retriever,
        within=within,
        likelihood=False,
        latents=False,
        fast=fast,
        history=history,
    )
    passages = []
    for match in evidence.matches:
        row, candidate = match.row, match.candidate
        start, end = best_sentence(row.text, evidence.question, match.reading)
        mark = mark_at(row.marks, row.text, start)
        passages.append(
            Passage(
                row.source,
                row.title,
                mark.heading,
                mark.place,
                row.position,
                row.start,
                row.end,
                row.text,
                candidate.score,
                candidate.weight,
                start,
                end,
                row.stale,
                places(match.copies, start),
            )
        )
    return passages
