"""Answers to many questions by one method, and their scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from maccli.evaluation.evaluation_store import EvaluationStore
from maccli.evaluation.methods import ALL, K, Method
from models.evaluation.answers import answer_from_whole, answer_many, figure, prompt_many, score
from models.memory.protocol import Progress
from models.memory.relevance import Candidate
from models.rivals.qa_tune import prompt_tokens
from models.text.prompts import question_prompt, text_prompt

if TYPE_CHECKING:
    from models.base.lm import BaseLM, Prefix
    from models.data.files import Example
    from models.judge.judge import Judge
    from models.paper.memory import PaperMemory
    from models.stacks import AnyMemory

Select = Callable[["Example", int], list[Candidate]]
"""Returns the k chunks that a method answers a question from."""


@dataclass(slots=True)
class Answers:
    """Answers to N questions, and what they took.

    Attributes:
        predictions: the answers.
        hits: whether a chunk of the right document was selected; empty without a store.
        prompt_tokens: mean length of the prompts.
        prefix_tokens: mean number of keys and values in front of each layer.
        seconds: in all, but without amortizing where a lazy store does that.
    """

    predictions: list[str]
    hits: list[bool]
    prompt_tokens: float
    prefix_tokens: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Readers:
    """What texts are read with, besides the few-shot prompt.

    Attributes:
        prefix: the trained constant tokens of rag-prefix.
        lora: the LM with the adapter of rag-lora.
        judge: what reads the texts beside the modulations, or alone.
    """

    prefix: Prefix | None = None
    lora: BaseLM | None = None
    judge: Judge | None = None


def answer(
    store: EvaluationStore,
    examples: Sequence[Example],
    method: Method,
    k: K,
    select: Select,
    readers: Readers,
    progress: Progress,
) -> Answers:
    """Answer questions from a store.

    Args:
        store: holds all documents.
        examples: the questions.
        method: one that needs the store.
        k: how many chunks are selected; `ALL` for a method and a stack that read the whole store.
        select: selects chunks.
        readers: what the method reads texts with.
        progress: is advanced by 2 for every question: once when its chunks are selected.

    Raises:
        StoreError: the store cannot be read.
        WeightsError: the encoder that it searches by cannot be downloaded or read.
    """
    begun, amortized = time.perf_counter(), _lazy_seconds(store)
    chosen: list[list[Candidate]] = []
    hits: list[bool] = []
    for example in examples:
        if k != ALL:
            chosen.append(select(example, k))
            right = store.chunks_of[example.document_id]
            hits.append(not {c.id for c in chosen[-1]}.isdisjoint(right))
        else:
            hits.append(True)
            if method.reader == "both":
                chosen.append(select(example, 1))
        progress.advance(1)
    questions = [example.question for example in examples]
    if method.reader == "judge" and readers.judge is not None:
        pairs = zip(questions, chosen, strict=True)
        found = [store.judged(readers.judge, question, read) for question, read in pairs]
        answered = Answers(found, [], 0.0, 0.0, 0.0)
        progress.advance(len(found))
    elif not method.uses_modulations:
        texts = [store.texts(candidates) for candidates in chosen]
        answered = _from_texts(store.model, questions, texts, readers, progress)
    else:
        best = [store.texts(c[:1]) for c in chosen] if method.reader == "both" else None
        if k == ALL:
            answered = _from_all(store, questions, best, progress)
        else:
            wordings, judge = questions, readers.judge
            if judge is not None:
                pairs = zip(questions, chosen, strict=True)
                wordings = [judge.respelled(question, store.texts(c)) for question, c in pairs]
            answered = _from_selected(store, wordings, chosen, best, progress)
            if judge is not None:
                of_each = zip(questions, wordings, chosen, answered.predictions, strict=True)
                answered.predictions = [store.weighed_answer(judge, *each) for each in of_each]
    answered.hits = hits
    # Amortizing is adaptation, not answering, whenever it is done.
    answered.seconds = time.perf_counter() - begun - (_lazy_seconds(store) - amortized)
    return answered


def answer_without_documents(
    model: AnyMemory,
    lm: BaseLM,
    examples: Sequence[Example],
    progress: Progress,
    *,
    few_shot: bool = True,
) -> Answers:
    """Answer questions from nothing but the weights of an LM.

    Args:
        model: the checkpoint, whose few-shot prompt is used.
        lm: the frozen base LM, or a tuned copy of it.
        examples: the questions.
        progress: is advanced by 2 for every question.
        few_shot: False for an LM that was tuned to answer: it reads the bare question.
    """
    begun = time.perf_counter()
    if few_shot:
        prompts = [model.rag_prompt(example.question, []) for example in examples]
    else:
        prompts = [prompt_tokens(lm, example.question) for example in examples]
    progress.advance(len(prompts))
    predictions = prompt_many(lm, prompts, None, progress=progress)
    return Answers(predictions, [], _mean_length(prompts), 0.0, time.perf_counter() - begun)


def _from_texts(
    model: AnyMemory,
    questions: Sequence[str],
    texts: Sequence[Sequence[str]],
    readers: Readers,
    progress: Progress,
) -> Answers:
    """Answer each question from texts in the prompt."""
    pairs = list(zip(questions, texts, strict=True))
    lm, prefix = readers.lora or model.lm, readers.prefix
    if readers.lora is not None:
        prompts = [prompt_tokens(lm, question, read) for question, read in pairs]
    elif prefix is not None:
        prompts = lm.tokenize([text_prompt(question, read) for question, read in pairs])
    else:
        prompts = [model.rag_prompt(question, read) for question, read in pairs]
    predictions = prompt_many(lm, prompts, prefix, progress=progress)
    size = prefix.bias.shape[1] if prefix is not None else 0.0
    return Answers(predictions, [], _mean_length(prompts), size, 0.0)


def _from_selected(
    store: EvaluationStore,
    questions: Sequence[str],
    chosen: Sequence[Sequence[Candidate]],
    best: Sequence[Sequence[str]] | None,
    progress: Progress,
) -> Answers:
    """Answer each question from the modulations that it selects.

    Where BM25 finds no chunk there is nothing to answer from, and the answer is empty.
    """
    model = store.model
    places = [i for i, candidates in enumerate(chosen) if candidates]
    prompts = _prompts(model, questions, best, places)
    selected = [store.selected(chosen[i]) for i in places]
    answers = answer_many(
        model, [questions[i] for i in places], selected, prompts=prompts, progress=progress
    )
    progress.advance(len(questions) - len(places))
    predictions = [""] * len(questions)
    for i, text in zip(places, _first_lines(answers, best), strict=True):
        predictions[i] = text
    sizes = [model.prefix_size(modulations) for modulations in selected]
    return Answers(predictions, [], _mean_length(prompts), sum(sizes) / max(1, len(sizes)), 0.0)


def _from_all(
    store: EvaluationStore,
    questions: Sequence[str],
    best: Sequence[Sequence[str]] | None,
    progress: Progress,
) -> Answers:
    """Answer each question from all modulations of the store."""
    model = cast("PaperMemory", store.model)
    prompts = _prompts(model, questions, best, range(len(questions)))
    answers = answer_from_whole(model, questions, store.whole, prompts=prompts, progress=progress)
    size = float(model.prefix_size(()))
    return Answers(_first_lines(answers, best), [], _mean_length(prompts), size, 0.0)


def _prompts(
    model: AnyMemory,
    questions: Sequence[str],
    best: Sequence[Sequence[str]] | None,
    places: Sequence[int],
) -> list[list[int]]:
    """Return the token ids that the LM reads after the modulations, for some of the questions."""
    if best is None:
        return model.lm.tokenize([question_prompt(questions[i]) for i in places])
    return model.lm.tokenize([text_prompt(questions[i], best[i]) for i in places])


def _first_lines(answers: list[str], best: object) -> list[str]:
    """Return what counts of the answers: with text in the prompt, as for rag, their first line."""
    return answers if best is None else [text.split("\n")[0] for text in answers]


def _mean_length(prompts: Sequence[Sequence[int]]) -> float:
    return sum(map(len, prompts)) / max(1, len(prompts))


def _lazy_seconds(store: EvaluationStore) -> float:
    return 0.0 if store.lazy is None else store.lazy.seconds


def scored(examples: Sequence[Example], answered: Answers) -> dict[str, Any]:
    """Return the fields of a `Row` that answers fill: figures, costs and the answers themselves."""
    scores = [
        score(predicted, example.answers)
        for predicted, example in zip(answered.predictions, examples, strict=True)
    ]
    hits: Sequence[bool | None] = answered.hits or [None] * len(examples)
    share = 100 * sum(answered.hits) / len(examples) if answered.hits else None
    return {
        "questions": len(examples),
        "figures": {
            "em": list(figure([s.exact for s in scores])),
            "prefix_em": list(figure([s.prefix for s in scores])),
            "f1": list(figure([s.f1 for s in scores])),
        },
        "costs": {
            "found": share,
            "seconds_a_question": answered.seconds / len(examples),
            "prompt_tokens": answered.prompt_tokens,
            "prefix_tokens": answered.prefix_tokens,
        },
        "answers": [
            {
                "id": example.id,
                "prediction": predicted,
                "em": s.exact,
                "prefix_em": s.prefix,
                "f1": s.f1,
                "found": right,
            }
            for example, predicted, s, right in zip(
                examples, answered.predictions, scores, hits, strict=True
            )
        ],
    }
