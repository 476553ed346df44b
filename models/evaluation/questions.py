"""Writes questions about a text with the frozen base LM, for texts that nobody asked about.

Rules pick possible answers (`models.evaluation.spans`); the LM, shown worked examples, writes a
question to each; and the filters in `Verdict` drop bad ones. The last filter is the round trip: the
LM is given the text with the question and must answer with the span again. It is the reader of
`rag`, so these questions favour methods that read text with this LM.

Letters: B prompts, S prefix tokens, L layers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.base.decode import generate_batch
from models.base.lm import Prefix
from models.evaluation.metrics import normalise
from models.evaluation.spans import Kind, Span, names_something, spans
from models.memory.answering import Answerer
from models.text.chunking import sentences
from models.text.prompts import (
    QUESTION_EXAMPLES,
    few_shot_text,
    question_prompt,
    question_request,
)
from models.text.sentences import word_set

METHOD = "span-question-roundtrip-1"
"""The name of these rules, filters and examples; a change of them changes the questions."""
SOURCE = "machine-made"
"""The `source` of these questions in a data file, by which tables tell them from real ones."""
CANDIDATES = 8
"""The number of answers that are tried for a text."""
MAX_NEW_TOKENS = 28
EXTRA_WORDS = 3
"""The most words of the round trip's answer besides those of the span."""

Verdict = Literal[
    "kept",
    "form",
    "holds the answer",
    "names nothing",
    "not in the text",
    "asked twice",
    "round trip",
]
"""The result for a candidate: kept, or dropped because it does not have the form of a question of
its kind, gives its answer away, does not say what it is about, says what its sentence does not, was
also written to another answer, or is answered otherwise."""


_STARTS: dict[Kind, re.Pattern[str]] = {
    "date": re.compile(r"(?:\w+ )?(?:When|when|[Ww]hat (?:year|date|month)|[Ww]hich year)\b"),
    "number": re.compile(r"How (?:many|much|long|high|far|old|large)\b|What percentage\b"),
    "name": re.compile(r"(?:\w+ )?(?:Who|Whom|Whose|Which|What|Where|[Ww]hom|[Ww]hich|[Ww]hat)\b"),
}
_CLAIMS = word_set("not never no only first last most least largest highest other none without")
_DANGLING = re.compile(
    r"\b(?:he|she|it|they|him|them|this|these|those|the (?:text|passage|article|author|sentence|"
    r"question|answer)|according to)\b",
    re.IGNORECASE,
)
_POSSESSIVE = re.compile(r"\b(?:his|her|its|their)\b")
_BEGINS_DANGLING = re.compile(
    r"(?:He|She|It|They|His|Her|Its|Their|This|These|Those|That|Such|However|There|Here)\b"
)
_WORDS = re.compile(r"[^\W_]{4,}")
_COMMON = word_set(
    "when what where which whom whose does have been were with from that this many much long into "
    "first year name date make made after before during about town city country person people "
    "place called named born become became come came take took number percentage number often "
    "there their than over most since between located part month kind type"
)


@dataclass(frozen=True, slots=True)
class WrittenQuestion:
    """A question with its answers; `answers[0]` is at [start:end] of its text."""

    question: str
    answers: tuple[str, ...]
    start: int
    end: int


class QuestionMaker:
    """Writes questions with the base LM of a checkpoint; its trained networks are not used.

    Args:
        memory: the checkpoint.

    Attributes:
        verdicts: the results for all candidates so far.
    """

    def __init__(self, memory: Answerer) -> None:
        self._lm = memory.lm
        ends = self._lm.tokenize(["\n", "\n\n", "?\n", "?\n\n"])
        self._stop = frozenset(row[-1] for row in ends if row)
        self._examples = {
            kind: self._lm.read([self._lm.bos_id, *self._lm.tokenize([text])[0]])
            for kind, text in QUESTION_EXAMPLES.items()
        }
        self.verdicts: Counter[Verdict] = Counter()

    def make(self, text: str, most: int) -> list[WrittenQuestion]:
        """Return questions that the text answers, from as many sentences as possible.

        Args:
            text: a text of the length of a chunk.
            most: the most questions; the same text gives the same ones first.
        """
        candidates = _candidates(text)[:CANDIDATES]
        questions = self._ask(candidates)
        times = Counter(map(normalise, questions))
        remaining: list[tuple[Span, str]] = []
        for (sentence, span), question in zip(candidates, questions, strict=True):
            verdict = judge(question, span, sentence)
            if verdict == "kept" and times[normalise(question)] > 1:
                verdict = "asked twice"  # to different answers: it asks for neither
            if verdict == "kept":
                remaining.append((span, question))
            else:
                self.verdicts[verdict] += 1
        answers = self._answer(text, [question for _, question in remaining])
        written = []
        for (span, question), answer in zip(remaining, answers, strict=True):
            agrees = any(_agree(answer, expected) for expected in span.answers)
            self.verdicts["kept" if agrees else "round trip"] += 1
            if agrees:
                written.append(WrittenQuestion(question, span.answers, span.start, span.end))
        return _spread(written, text)[:most]

    def _ask(self, candidates: Sequence[tuple[str, Span]]) -> list[str]:
        """Write a question to each answer, from its sentence."""
        out = [""] * len(candidates)
        for kind, shared in self._examples.items():
            rows = [i for i, (_, span) in enumerate(candidates) if span.kind == kind]
            starts = [_start(candidates[i][1]) for i in rows]
            prompts = [
                question_request(candidates[i][0], candidates[i][1].text, start)
                for i, start in zip(rows, starts, strict=True)
            ]
            texts = self._generate(shared, prompts)
            for i, start, text in zip(rows, starts, texts, strict=True):
                out[i] = f"{start} {text}".strip()
        return out

    def _answer(self, text: str, questions: Sequence[str]) -> list[str]:
        """Answer questions from the text in the few-shot prompt of `rag`."""
        if not questions:
            return []
        ids = [self._lm.bos_id, *self._lm.tokenize([few_shot_text(text)])[0]]
        return self._generate(self._lm.read(ids), [question_prompt(q) for q in questions])

    def _generate(self, shared: Prefix, prompts: Sequence[str]) -> list[str]:
        if not prompts:
            return []
        prefix = shared._replace(bias=shared.bias.expand(len(prompts), -1))
        rows = generate_batch(
            self._lm, self._lm.tokenize(prompts), prefix, MAX_NEW_TOKENS, stop=self._stop
        )
        return [str(self._lm.tokenizer.decode(row)).strip().split("\n")[0] for row in rows]


def judge(question: str, span: Span, sentence: str) -> Verdict:
    """Return the verdict of the filters that need no LM on a question to a span of a sentence.

    A question that is "kept" still has to pass the round trip.
    """
    words = question.split()
    if not (
        4 <= len(words) <= 28
        and question.endswith("?")
        and question.count("?") == 1
        and _STARTS[span.kind].match(question)
        and not _DANGLING.search(question)
        and all(names_something(question[: m.start()]) for m in _POSSESSIVE.finditer(question))
    ):
        return "form"
    normal = f" {normalise(question)} "
    if any(f" {normalise(answer)} " in normal for answer in span.answers if normalise(answer)):
        return "holds the answer"
    if not names_something(question):
        return "names nothing"
    # Plurals and tenses may differ, so words are compared by their beginnings, and one word in four
    # may be another one; but every name, number and superlative must be in the sentence.
    known = {word[:5] for word in _WORDS.findall(sentence.lower())}
    words_said = [word for word in _WORDS.findall(question) if word.lower() not in _COMMON]
    strange = [word for word in words_said if word.lower()[:5] not in known]
    numbers = set(re.findall(r"\d+", question)) - set(re.findall(r"\d+", sentence))
    claims = _CLAIMS & set(question.lower().split()) - set(sentence.lower().split())
    invented = any(word[0].isupper() for word in strange)
    if numbers or claims or invented or len(strange) > max(1, len(words_said) // 4):
        return "not in the text"
    return "kept"


def _start(span: Span) -> str:
    """Return how the question starts; the LM would otherwise ask for something else."""
    if span.kind != "number":
        return " When" if span.kind == "date" else ""
    bare = span.answers[-1]
    if "%" in bare or bare.endswith("cent"):
        return " What percentage"
    counted = span.text[len(bare) :].strip()
    return f" How many {counted}" if counted and bare[0].isdigit() else " How much"


def _bare(span: Span) -> bool:
    """Return whether a span is a number without what it counts."""
    return span.kind == "number" and span.text.replace(",", "").replace(".", "").isdigit()


def _agree(given: str, answer: str) -> bool:
    """Return whether a given answer is the right one, with at most a few words around it."""
    theirs, ours = normalise(given), normalise(answer)
    extra = len(theirs.split()) - len(ours.split())
    return bool(ours) and f" {ours} " in f" {theirs} " and extra <= EXTRA_WORDS


def _candidates(text: str) -> list[tuple[str, Span]]:
    """Return sentences, each with an answer in it: the first answer of every sentence, then more.

    Sentences that begin with a pronoun or the like do not say what they are about; they are left
    out.
    """
    rows: list[list[tuple[str, Span]]] = []
    for start, end in sentences(text):
        sentence = text[start:end]
        if _BEGINS_DANGLING.match(sentence) or not 6 <= len(sentence.split()) <= 60:
            continue
        answers = [
            Span(start + s.start, start + s.end, s.text, s.kind)
            for s in spans(sentence)
            if sentence.count(s.text) == 1 and not _bare(s)
        ]
        # The questions to names late in a sentence are the best.
        answers.sort(key=lambda s: (s.kind == "name", -s.start))
        rows.append([(sentence, span) for span in answers])
    most = max(map(len, rows), default=0)
    ordered = [row[i] for i in range(most) for row in rows if i < len(row)]
    # Few questions to names pass the filters: they are tried last.
    return sorted(ordered, key=lambda pair: pair[1].kind == "name")


def _spread(questions: Sequence[WrittenQuestion], text: str) -> list[WrittenQuestion]:
    """Return a question from every sentence first, then the rest; no question twice."""
    bounds = sentences(text)
    seen: Counter[int] = Counter()
    ranked = []
    for question in questions:
        sentence = next(i for i, (_, end) in enumerate(bounds) if question.start < end)
        ranked.append((seen[sentence], question))
        seen[sentence] += 1
    ranked.sort(key=lambda pair: pair[0])
    distinct: dict[str, WrittenQuestion] = {}
    for _, question in ranked:
        distinct.setdefault(normalise(question.question), question)
    return list(distinct.values())
