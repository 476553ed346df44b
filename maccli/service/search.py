"""A question to the passages that would answer it, without a language model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from maccli.service.ask import checked
from maccli.service.evidence import retrieve
from maccli.service.sources import by_words
from store.labels import EVERYTHING, Within

if TYPE_CHECKING:
    from maccli.service.session import Session
    from models.memory.relevance import Retriever


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document that a question selects.

    Attributes:
        source: the document.
        title: of the document, if it has one.
        chunk: the position of the chunk in it, from 0.
        start: offset of the passage in the document's text.
        end: offset of its end.
        text: the passage, whole.
        score: relevance, in nats.
        weight: its share; the weights of all passages add up to 1.
        match_start: offset in `text` of the sentence that matches best.
        match_end: offset of its end.
    """

    source: str
    title: str | None
    chunk: int
    start: int
    end: int
    text: str
    score: float
    weight: float
    match_start: int
    match_end: int

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
) -> list[Passage]:
    """Return the passages that a question would be answered from, the most relevant first.

    Only the sentence encoder is loaded. An answer is drawn from the same passages unless several
    are nearly level: then it takes a second look with the language model.

    Args:
        session: the model and the store.
        question: one or several lines.
        k: how many; None for as many as the model was trained with.
        retriever: how they are found.
        within: the documents that they may stand in.

    Raises:
        MacError: the question is empty or too long, or there is nothing in the store.
        StoreError: the store cannot be used.
        WeightsError: the encoder's weights cannot be downloaded or read.
        ModelError: the model cannot be used.
    """
    evidence = retrieve(
        session,
        checked(question),
        k=k,
        retriever=retriever,
        within=within,
        likelihood=False,
        latents=False,
    )
    passages = []
    for match in evidence.matches:
        row, candidate = match.row, match.candidate
        span = by_words(row.text, evidence.question)
        place = (row.source, row.title, row.position, row.start, row.end, row.text)
        passages.append(Passage(*place, candidate.score, candidate.weight, *span))
    return passages
