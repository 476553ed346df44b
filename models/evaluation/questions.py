"""Questions made from a text by the frozen base LM, for texts that nobody has asked about.

A rule picks possible answers (`models.evaluation.spans`); the LM, shown worked examples, writes the question
to each; and what does not survive every one of the filters in `Verdict` is dropped. The last filter
is the round trip: the LM is given the text with the question and must answer with the span again.
It is the reader of `rag`, so made questions flatter whoever reads text with this LM.

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

METHOD = "span-question-roundtrip-1"
"""Names these rules, filters and examples; a change of them changes the questions."""
SOURCE = "machine-made"
"""The `source` of made questions in a data file, by which every table can say what they are."""
CANDIDATES = 8
"""The most answers of a text that are tried."""
MAX_NEW_TOKENS = 28
EXTRA_WORDS = 3
"""So many words the round trip's answer may have beside the span's."""

Verdict = Literal[
    "kept",
    "form",
    "holds the answer",
    "names nothing",
    "not in the text",
    "asked twice",
    "round trip",
]
"""What became of a candidate: kept, or dropped because it is no question of its kind, gives its
answer away, leaves open what it is about, says what its sentence does not, is asked to another
answer, too, or is answered otherwise."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STARTS: dict[Kind, re.Pattern[str]] = {
    "date": re.compile(r"(?:\w+ )?(?:When|when|[Ww]hat (?:year|date|month)|[Ww]hich year)\b"),
    "number": re.compile(r"How (?:many|much|long|high|far|old|large)\b|What percentage\b"),
    "name": re.compile(r"(?:\w+ )?(?:Who|Whom|Whose|Which|What|Where|[Ww]hom|[Ww]hich|[Ww]hat)\b"),
}
_CLAIMS = _words("not never no only first last most least largest highest other none without")
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
_COMMON = _words(
    "when what where which whom whose does have been were with from that this many much long into "
    "first year name date make made after before during about town city country person people "
    "place called named born become became come came take took number percentage number often "
    "there their than over most since between located part month kind type"
)


@dataclass(frozen=True, slots=True)
class Made:
    """A made question: `answers[0]` stands at [start:end] of its text."""

    question: str
    answers: tuple[str, ...]
    start: int
    end: int


class QuestionMaker:
    """Makes questions with a loaded checkpoint's base LM; its trained parts have no say.

    Args:
        memory: whose frozen LM and few-shot prompt are used.

    Attributes:
        verdicts: what became of the candidates so far.
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

    def make(self, text: str, most: int) -> list[Made]:
        """At most so many questions that the text answers, of as many sentences as possible.

        Args:
            text: of the length of a chunk.
            most: how many; the same text gives the same ones first.
        """
        candidates = _candidates(text)[:CANDIDATES]
        asked = self._ask(candidates)
        often = Counter(map(normalise, asked))
        left: list[tuple[Span, str]] = []
        for (sentence, span), question in zip(candidates, asked, strict=True):
            verdict = judge(question, span, sentence)
            if verdict == "kept" and often[normalise(question)] > 1:
                verdict = "asked twice"  # to different answers: it asks for neither
            if verdict == "kept":
                left.append((span, question))
            else:
                self.verdicts[verdict] += 1
        said = self._answer(text, [question for _, question in left])
        made = []
        for (span, question), answer in zip(left, said, strict=True):
            agrees = any(_agree(answer, one) for one in span.answers)
            self.verdicts["kept" if agrees else "round trip"] += 1
            if agrees:
                made.append(Made(question, span.answers, span.start, span.end))
        return _spread(made, text)[:most]

    def _ask(self, candidates: Sequence[tuple[str, Span]]) -> list[str]:
        """Write a question to each answer, from the sentence that it stands in."""
        out = [""] * len(candidates)
        for kind, shared in self._examples.items():
            rows = [i for i, (_, span) in enumerate(candidates) if span.kind == kind]
            begins = [_begin(candidates[i][1]) for i in rows]
            prompts = [
                question_request(candidates[i][0], candidates[i][1].text, begin)
                for i, begin in zip(rows, begins, strict=True)
            ]
            made = self._generate(shared, prompts)
            for i, begin, text in zip(rows, begins, made, strict=True):
                out[i] = f"{begin} {text}".strip()
        return out

    def _answer(self, text: str, questions: Sequence[str]) -> list[str]:
        """Answer from the text in the few-shot prompt of `rag`."""
        if not questions:
            return []
        ids = [self._lm.bos_id, *self._lm.tokenize([few_shot_text(text)])[0]]
        return self._generate(self._lm.read(ids), [question_prompt(q) for q in questions])

    def _generate(self, shared: Prefix, prompts: Sequence[str]) -> list[str]:
        if not prompts:
            return []
        prefix = shared._replace(bias=shared.bias.expand(len(prompts), -1))
        made = generate_batch(
            self._lm, self._lm.tokenize(prompts), prefix, MAX_NEW_TOKENS, stop=self._stop
        )
        return [str(self._lm.tokenizer.decode(row)).strip().split("\n")[0] for row in made]


def judge(question: str, span: Span, sentence: str) -> Verdict:
    """What the filters that need no LM say of a question that a span of a sentence answers.

    "kept" leaves the round trip to do.
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
    # Plurals and tenses may differ, so words are compared by their beginnings, and a verb in four
    # words may be another one; but every name, number and superlative is the sentence's.
    known = {word[:5] for word in _WORDS.findall(sentence.lower())}
    said = [word for word in _WORDS.findall(question) if word.lower() not in _COMMON]
    strange = [word for word in said if word.lower()[:5] not in known]
    numbers = set(re.findall(r"\d+", question)) - set(re.findall(r"\d+", sentence))
    claims = _CLAIMS & set(question.lower().split()) - set(sentence.lower().split())
    invented = any(word[0].isupper() for word in strange)
    if numbers or claims or invented or len(strange) > max(1, len(said) // 4):
        return "not in the text"
    return "kept"


def _begin(span: Span) -> str:
    """What is put into the LM's mouth: it else asks for something else than the answer."""
    if span.kind != "number":
        return " When" if span.kind == "date" else ""
    bare = span.answers[-1]
    if "%" in bare or bare.endswith("cent"):
        return " What percentage"
    counted = span.text[len(bare) :].strip()
    return f" How many {counted}" if counted and bare[0].isdigit() else " How much"


def _bare(span: Span) -> bool:
    """Whether it is a number of which the rules do not see what it counts."""
    return span.kind == "number" and span.text.replace(",", "").replace(".", "").isdigit()


def _agree(said: str, answer: str) -> bool:
    """Whether what was said is the answer, with few words around it at most."""
    theirs, ours = normalise(said), normalise(answer)
    extra = len(theirs.split()) - len(ours.split())
    return bool(ours) and f" {ours} " in f" {theirs} " and extra <= EXTRA_WORDS


def _candidates(text: str) -> list[tuple[str, Span]]:
    """Sentences with an answer in each, its place in the text; one a sentence first, then more.

    What begins with a pronoun or the like does not say what it is about, and is left out.
    """
    rows: list[list[tuple[str, Span]]] = []
    for start, end in sentences(text):
        sentence = text[start:end]
        if _BEGINS_DANGLING.match(sentence) or not 6 <= len(sentence.split()) <= 60:
            continue
        found = [
            Span(start + s.start, start + s.end, s.text, s.kind)
            for s in spans(sentence)
            if sentence.count(s.text) == 1 and not _bare(s)
        ]
        # Of names those that stand late in a sentence are asked for best.
        found.sort(key=lambda s: (s.kind == "name", -s.start))
        rows.append([(sentence, span) for span in found])
    most = max(map(len, rows), default=0)
    ordered = [row[i] for i in range(most) for row in rows if i < len(row)]
    # Few questions to names survive the filters: they come when there is nothing else.
    return sorted(ordered, key=lambda pair: pair[1].kind == "name")


def _spread(made: Sequence[Made], text: str) -> list[Made]:
    """One question of every sentence, then the rest; each question and answer once."""
    bounds = sentences(text)
    seen: Counter[int] = Counter()
    ranked = []
    for one in made:
        place = next(i for i, (_, end) in enumerate(bounds) if one.start < end)
        ranked.append((seen[place], one))
        seen[place] += 1
    ranked.sort(key=lambda pair: pair[0])
    once: dict[str, Made] = {}
    for _, one in ranked:
        once.setdefault(normalise(one.question), one)
    return list(once.values())
