"""The methods that `mac eval` compares: what each is given, and how the frozen LM reads it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from maccli.evaluation import modulated
from maccli.evaluation.bank import ALL, Bank, K
from maccli.evaluation.retrievers import External
from maccli.output import Progress
from models.evaluation.answers import figure, prompt_many, score
from models.memory.relevance import Candidate, RelevanceWeights, Retriever
from models.rivals.qa_tune import prompt_tokens
from models.rivals.text_prefix import prompt_text

if TYPE_CHECKING:
    from maccli.evaluation.bank import AnyMemory
    from models.base.lm import BaseLM, Prefix
    from models.data.files import Example

Reader = Literal["closed-book", "text", "prefix", "mac", "mac+text", "tuned", "lora", "qa-base"]


@dataclass(frozen=True, slots=True)
class Method:
    """A way to answer.

    Attributes:
        name: as the user knows it.
        reader: what the LM answers from: nothing, text in a few-shot prompt, text behind trained
            constant prefix tokens, modulations, modulations and the text of the most relevant
            chunk, or weights that were tuned on the documents; text with a LoRA trained to read
            it; the QA-tuned LM that tuning starts from.
        retriever: how chunks are found: by the checkpoint, or by another encoder; "oracle" takes
            those of the right document; None: none.
    """

    name: str
    reader: Reader
    retriever: Retriever | Literal["oracle"] | External | None

    @property
    def searches(self) -> bool:
        """Whether it finds k chunks in the bank."""
        return self.retriever not in (None, "oracle")

    @property
    def banked(self) -> bool:
        """Whether it needs the bank at all."""
        return self.retriever is not None

    @property
    def modulated(self) -> bool:
        """Whether it answers from modulations, which are a checkpoint's own."""
        return self.reader in ("mac", "mac+text")

    @property
    def whole(self) -> bool:
        """Whether it can read the whole bank where the stack can (`-k all`)."""
        return self.modulated and self.retriever == "hybrid"


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("closed-book", "closed-book", None),
        Method("rag-bm25", "text", "bm25"),
        Method("rag-dense", "text", "dense"),
        Method("rag-hybrid", "text", "hybrid"),
        Method("rag-prefix-bm25", "prefix", "bm25"),
        Method("rag-prefix-dense", "prefix", "dense"),
        Method("rag-prefix-hybrid", "prefix", "hybrid"),
        Method("rag-lora-bm25", "lora", "bm25"),
        Method("rag-lora-dense", "lora", "dense"),
        Method("rag-lora-hybrid", "lora", "hybrid"),
        Method("mac", "mac", "hybrid"),
        Method("mac-dense", "mac", "dense"),
        Method("mac-bm25", "mac", "bm25"),
        Method("mac+text", "mac+text", "hybrid"),
        Method("oracle", "text", "oracle"),
        Method("rag-prefix-oracle", "prefix", "oracle"),
        Method("rag-lora-oracle", "lora", "oracle"),
        Method("mac-oracle", "mac", "oracle"),
        Method("qa-base", "qa-base", None),
        Method("uniform", "tuned", None),
        Method("salient-spans", "tuned", None),
        Method("camels", "tuned", None),
    )
}
"""By name, in the order in which they are shown."""


@dataclass(slots=True)
class Answered:
    """Answers to N questions, and what they took.

    Attributes:
        predictions: the answers.
        found: whether a chunk of the right document was among those found; none without a bank.
        prompt_tokens: mean length of the prompts.
        prefix_tokens: mean number of keys and values in front of each layer.
        seconds: in all, but without amortizing where a bank does that late.
    """

    predictions: list[str]
    found: list[bool]
    prompt_tokens: float
    prefix_tokens: float
    seconds: float


def by_encoder(external: External, readers: Collection[str]) -> list[Method]:
    """Return the methods that search by another encoder, for the readers that are asked for."""
    both = not {"text", "mac"}.intersection(readers)
    return [
        Method(f"{prefix}-{external.name}", reader, external)
        for prefix, reader in _FAMILIES
        if both or reader in readers
    ]


_FAMILIES: tuple[tuple[str, Reader], ...] = (("rag", "text"), ("mac", "mac"))


def answer(
    bank: Bank,
    examples: Sequence[Example],
    method: Method,
    k: K,
    weights: RelevanceWeights,
    *,
    prefix: Prefix | None = None,
    reader: BaseLM | None = None,
    progress: Progress,
) -> Answered:
    """Answer questions from the bank.

    Args:
        bank: all documents.
        examples: the questions.
        method: one that needs the bank.
        k: how many chunks are found; `ALL` for a method and a stack that read the whole bank.
        weights: how dense and lexical relevance mix.
        prefix: the trained constant tokens, for a method that reads behind them.
        reader: the LM with a LoRA trained to read text, for a method that reads with it.
        progress: is advanced by 2 for every question: once when its chunks are found.

    Raises:
        StoreError: the store cannot be read.
        WeightsError: the encoder that it searches by cannot be had.
    """
    begun, late = time.perf_counter(), _late_seconds(bank)
    questions = [example.question for example in examples]
    chosen: list[list[Candidate]] = []
    found: list[bool] = []
    for example in examples:
        if k != ALL:
            chosen.append(_found(bank, example, method, k, weights))
            own = bank.chunks_of[example.document_id]
            found.append(not {c.id for c in chosen[-1]}.isdisjoint(own))
        elif method.reader == "mac+text":
            chosen.append(_found(bank, example, method, 1, weights))
        progress.advance(1)
    if k == ALL:
        found = [True] * len(examples)
    if method.modulated:
        texts = [bank.texts(c[:1]) for c in chosen] if method.reader == "mac+text" else None
        reached = _Steps(progress).reached
        if k == ALL:
            made = modulated.from_whole(bank, questions, texts, reached)
        else:
            made = modulated.from_chosen(bank, questions, chosen, texts, reached)
        predictions, read, before = made
        prompts = _mean(read)
    else:
        found_texts = [bank.texts(candidates) for candidates in chosen]
        predictions, prompts, before = _from_texts(
            bank.memory, questions, found_texts, prefix, progress, reader
        )
    # Amortizing is adaptation, not answering, whenever it is done.
    seconds = time.perf_counter() - begun - (_late_seconds(bank) - late)
    return Answered(predictions, found, prompts, before, seconds)


def _late_seconds(bank: Bank) -> float:
    return 0.0 if bank.late is None else bank.late.seconds


def _found(
    bank: Bank, example: Example, method: Method, k: int, weights: RelevanceWeights
) -> list[Candidate]:
    """Return the chunks that a method answers a question from."""
    retriever = method.retriever
    assert retriever is not None
    if isinstance(retriever, External):
        return bank.found_by(retriever, example.question, k)
    if retriever == "oracle":
        return bank.right(example)
    return bank.candidates(example.question, k, retriever, weights)


def closed_book(
    memory: AnyMemory,
    lm: BaseLM,
    examples: Sequence[Example],
    progress: Progress,
    *,
    few_shot: bool = True,
) -> Answered:
    """Answer questions from nothing but the weights of an LM, in the same few-shot prompt.

    Args:
        memory: whose prompt it is.
        lm: the frozen base LM, or a tuned copy of it.
        examples: the questions.
        progress: is advanced by 2 for every question.
        few_shot: False for an LM that was tuned to answer: it reads the bare question.
    """
    begun = time.perf_counter()
    if few_shot:
        prompts = [memory.rag_prompt(example.question, []) for example in examples]
    else:
        prompts = [prompt_tokens(lm, example.question) for example in examples]
    progress.advance(len(prompts))
    predictions = prompt_many(lm, prompts, None, progress=_Steps(progress).reached)
    return Answered(predictions, [], _mean(prompts), 0.0, time.perf_counter() - begun)


def scored(examples: Sequence[Example], answered: Answered) -> dict[str, Any]:
    """Return the figures of a row in percent, each with its interval, and every prediction."""
    scores = [
        score(predicted, example.answers)
        for predicted, example in zip(answered.predictions, examples, strict=True)
    ]
    row: dict[str, Any] = {"questions": len(examples)}
    for name, values in (
        ("em", [s.exact for s in scores]),
        ("prefix_em", [s.prefix for s in scores]),
        ("f1", [s.f1 for s in scores]),
    ):
        value, low, high = figure(values)
        row[name], row[f"{name}_interval"] = value, [low, high]
    found: Sequence[bool | None] = answered.found
    row["found"] = 100 * sum(answered.found) / len(found) if found else None
    row["seconds_a_question"] = answered.seconds / len(examples)
    row["prompt_tokens"] = answered.prompt_tokens
    row["prefix_tokens"] = answered.prefix_tokens
    row["predictions"] = [
        {
            "id": example.id,
            "prediction": predicted,
            "em": one.exact,
            "prefix_em": one.prefix,
            "f1": one.f1,
            "found": right,
        }
        for example, predicted, one, right in zip(
            examples, answered.predictions, scores, found or [None] * len(examples), strict=True
        )
    ]
    return row


def _from_texts(
    memory: AnyMemory,
    questions: list[str],
    texts: list[list[str]],
    prefix: Prefix | None,
    progress: Progress,
    reader: BaseLM | None = None,
) -> tuple[list[str], float, float]:
    """Answers, mean prompt tokens, mean prefix tokens."""
    pairs = zip(questions, texts, strict=True)
    if reader is not None:
        prompts = [prompt_tokens(reader, question, found) for question, found in pairs]
    elif prefix is None:
        prompts = [memory.rag_prompt(question, found) for question, found in pairs]
    else:
        prompts = memory.lm.tokenize([prompt_text(question, found) for question, found in pairs])
    made = prompt_many(reader or memory.lm, prompts, prefix, progress=_Steps(progress).reached)
    return made, _mean(prompts), prefix.bias.shape[1] if prefix is not None else 0.0


def _mean(prompts: Sequence[Sequence[int]]) -> float:
    return sum(map(len, prompts)) / max(1, len(prompts))


class _Steps:
    """Turns "so many are done" into "so many more are done"."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0

    def reached(self, done: int) -> None:
        self._progress.advance(done - self._done)
        self._done = done
