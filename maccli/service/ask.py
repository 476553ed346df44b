"""A question to an answer: retrieve what is relevant, answer from it, cite the sources."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from maccli.output import count
from maccli.service.evidence import COUNTS, Evidence, checked, is_relevant, retrieve
from maccli.service.sources import Source, cite, outline
from models.memory import confidence
from models.text.requests import Request, is_several, requested
from store.labels import EVERYTHING, Within

if TYPE_CHECKING:
    from maccli.service.session import Session
    from models.memory.confidence import Confidence
    from models.memory.protocol import AnswerStream, LoadedModel
    from models.memory.relevance import Retriever
    from models.text.prompts import History

Mode = Literal["mac", "rag", "closed-book"]
Outcome = Literal["answer", "not sure", "nothing relevant"]

EXCUSES: Mapping[Request | None, str] = {
    None: "Not sure. This passage may hold it:",
    "list": "Not sure of all of them. This passage may hold them:",
    "comparison": "I cannot compare: I answer with words of one passage. These may help:",
    "summary": "I cannot summarise: I answer with words of one passage. The document says:",
}
"""What is said where there is no answer, by what was asked for; the passages follow."""
_NOTHING, _NO_DOCUMENT = "Nothing relevant found", "No document has these tags and dates."


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer.

    Attributes:
        k: how many chunks to draw from; None for as many as the model was trained with.
        retriever: how they are found.
        mode: answer from the modulations, from the texts in the prompt, or from nothing.
        max_new_tokens: the longest answer.
        within: the documents that may be drawn from.
        fast: leave out the judge, which reads the passages together with the question.
        free: answer in the language model's own words, however likely they are right.
        history: the questions asked before, each with its answer; the question may follow them up.
    """

    k: int | None = None
    retriever: Retriever = "hybrid"
    mode: Mode = "mac"
    max_new_tokens: int = 32
    within: Within = EVERYTHING
    fast: bool = False
    free: bool = False
    history: History = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and where it came from.

    Attributes:
        question: the question.
        follows: whether it was answered as a follow-up to the questions before it.
        answer: the answer; empty if there is none.
        outcome: "not sure" where there are passages that may hold the answer, but what the model
            made of them is probably wrong; "nothing relevant" where there are none.
        probability: how likely the answer is right (of "not sure": would have been), from 0 to 1;
            None if it is not known.
        threshold: the least probability that an answer is given with; None if it is not known.
        free: whether the answer is in the language model's own words: no passage says it.
        request: what was asked for, where the model cannot do that; None elsewhere.
        sources: where the answer came from, else the nearest sentences; for a summary see
            `maccli.service.sources.outline`.
        prefix_tokens: the keys and values in front of each layer.
        timings: seconds of the steps `load`, `encode`, `aggregate` and `generate`.
        model: what the user calls the checkpoint.
        documents: the number of documents in the store.
        searched: how many of them may be drawn from.
    """

    question: str
    follows: bool
    answer: str
    outcome: Outcome
    probability: float | None
    threshold: float | None
    free: bool
    request: Request | None
    sources: list[Source]
    prefix_tokens: int
    timings: dict[str, float]
    model: str
    documents: int
    searched: int

    @property
    def abstained(self) -> bool:
        """Whether there is no answer."""
        return self.outcome != "answer"

    @property
    def excuse(self) -> str:
        """What is said in place of the answer; the passages follow."""
        if self.outcome == "not sure":
            return EXCUSES[self.request]
        if not self.searched:
            return _NO_DOCUMENT
        return f"{_NOTHING} in {count(self.searched, 'document')}."

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as `--json` shows it."""
        return {
            "question": self.question,
            "follows": self.follows,
            "answer": self.answer,
            "outcome": self.outcome,
            "probability": round(self.probability, 4) if self.probability is not None else None,
            "threshold": self.threshold,
            "free": self.free,
            "request": self.request,
            "abstained": self.abstained,
            "sources": [
                {**asdict(source), "weight": round(source.weight, 4)} for source in self.sources
            ],
            "prefix_tokens": self.prefix_tokens,
            "timings": {name: round(seconds, 4) for name, seconds in self.timings.items()},
            "model": self.model,
        }


def ask(
    session: Session,
    question: str,
    options: Options | None = None,
    *,
    on_text: Callable[[str], None] | None = None,
) -> Answer:
    """Answer a question from the session's store.

    If nothing in the store is relevant enough, or the answer is probably wrong, there is no answer
    (see `Answer.outcome`), but the nearest sources.

    Args:
        session: the model and the store.
        question: one or several lines.
        options: how to answer.
        on_text: called with each piece of the answer as soon as it is known; where the checkpoint
            can tell how likely it is right, with all of it at its end, and only if it is given.

    Raises:
        MacError: the question is empty or too long, or there is nothing in the store.
        StoreError: the store cannot be used.
        WeightsError: the base weights cannot be downloaded or read.
        ModelError: the model cannot be used.
    """
    options = options or Options()
    if options.mode == "closed-book":
        evidence = Evidence(checked(question))
    else:
        evidence = retrieve(
            session,
            question,
            k=options.k,
            retriever=options.retriever,
            within=options.within,
            latents=options.mode == "mac",
            fast=options.fast,
            history=options.history,
        )
    return answer(session, evidence, options, on_text)


def answer(
    session: Session,
    evidence: Evidence,
    options: Options,
    on_text: Callable[[str], None] | None = None,
) -> Answer:
    """Answer from evidence, or abstain, as `ask` does; what was drawn on is counted in the store.

    Evidence without documents gives the base LM's own answer.
    """
    timings = {**evidence.seconds, "generate": 0.0}
    loaded = session.load_seconds
    model = session.model
    timings["load"] += session.load_seconds - loaded
    rule = _rule(model, evidence) if options.mode == "mac" else None
    outcome, request, sources = _possible(session, evidence, options)
    text, probability, stream = "", None, None
    begun = time.perf_counter()
    if outcome == "answer":
        stream = _stream(session, evidence, options)
        text = _written(stream, on_text if options.free or not rule else None)
    if stream is not None and rule and evidence.matches:
        text, probability = _weighed(session, evidence, text, stream, rule, free=options.free)
        partial = request == "list" and not is_several(text)
        if not text or partial or (probability < rule.above and not options.free):
            outcome, text = "not sure", ""
    timings["generate"] = time.perf_counter() - begun
    if outcome == "answer":
        if on_text and rule and not options.free:
            on_text(text)
        if evidence.matches and session.asked is not None:
            weights = {match.row.id: match.candidate.weight for match in evidence.matches}
            session.asked.record_use({i: w for i, w in weights.items() if w >= COUNTS})
    if not sources:
        sources = cite(evidence, stream if options.mode == "mac" else None, model, text)
    said = any(source.marked for source in sources) or text.strip(".").lower() in ("yes", "no")
    return Answer(
        question=evidence.question,
        follows=evidence.following is not None,
        answer=text,
        outcome=outcome,
        probability=probability,
        threshold=rule.above if rule else None,
        free=bool(text) and not said,
        request=request if outcome == "not sure" else None,
        sources=sources,
        prefix_tokens=stream.prefix_tokens if stream is not None else 0,
        timings=timings,
        model=session.choice.model,
        documents=evidence.documents,
        searched=evidence.searched,
    )


def _possible(
    session: Session, evidence: Evidence, options: Options
) -> tuple[Outcome, Request | None, list[Source]]:
    """Return outcome, request and outline as they are known before anything is generated."""
    outcome: Outcome = "answer"
    request = None if options.free or options.mode != "mac" else requested(evidence.question)
    if evidence.documents and not is_relevant(evidence, session.model.config.abstain_below):
        outcome = "nothing relevant"
    sources: list[Source] = []
    if request == "summary" and session.asked is not None:
        sources = outline(session.asked, evidence, options.within, relevant=outcome == "answer")
        request = request if sources else None
    if sources or (request == "comparison" and outcome == "answer"):
        outcome = "not sure"
    return outcome, request, sources


def _written(stream: AnswerStream, on_text: Callable[[str], None] | None) -> str:
    """Return all of an answer; each piece of it is told as soon as it is known."""
    pieces = []
    for piece in stream:
        pieces.append(piece)
        if on_text:
            on_text(piece)
    return "".join(pieces).strip()


def _rule(model: LoadedModel, evidence: Evidence) -> Confidence | None:
    """Return how likely answers are right; None if the checkpoint does not say."""
    if _is_judged(model, evidence):
        from models.judge import choice

        return confidence.read(model.config.judge_confidence, choice.NAMES)
    return confidence.read(model.config.confidence)


def _is_judged(model: LoadedModel, evidence: Evidence) -> bool:
    """Return whether the judge's answers are weighed, too."""
    return bool(evidence.readings) and model.config.judge_confidence is not None


def _weighed(
    session: Session,
    evidence: Evidence,
    text: str,
    stream: AnswerStream,
    rule: Confidence,
    *,
    free: bool,
) -> tuple[str, float]:
    """Return the answer that is most likely right, and how likely it is.

    Where a judge has read the passages, that may be an answer of the judge.
    """
    model, judge = session.model, session.judge
    question, candidates = evidence.wording, [match.candidate for match in evidence.matches]
    if judge is not None and _is_judged(model, evidence):
        from models.judge import choice

        modulations = evidence.modulations()
        chosen = choice.choose(
            rule,
            question,
            text,
            judge.read_closely(question, evidence.readings),
            candidates,
            evidence.support,
            lambda answers: model.answer_likelihoods(question, answers, modulations),
            free=free,
        )
        return chosen.text, chosen.probability
    scores = [candidate.score for candidate in candidates]
    known = confidence.features(question, text, stream.surprise, evidence.support, scores)
    return text, rule.probability(known)


def is_excuse(text: str) -> bool:
    """Return whether a text begins like an `Answer.excuse`."""
    return text.startswith((*EXCUSES.values(), _NOTHING, _NO_DOCUMENT))


def _stream(session: Session, evidence: Evidence, options: Options) -> AnswerStream:
    model, question = session.model, evidence.wording
    limit = options.max_new_tokens
    if options.mode == "rag" and evidence.matches:
        texts = [match.row.text for match in evidence.matches]
        return model.answer_rag(question, texts, max_new_tokens=limit)
    return model.answer(question, evidence.modulations(), max_new_tokens=limit)
