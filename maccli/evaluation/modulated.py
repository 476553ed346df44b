"""Answers from modulations: of the chunks that a question selects, or of all that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, cast

from maccli.evaluation.bank import Bank
from models.evaluation.answers import answer_from_whole, answer_many
from models.latent.objective import question_prompt
from models.memory.relevance import Candidate
from models.rivals.text_prefix import prompt_text

if TYPE_CHECKING:
    from maccli.evaluation.bank import AnyMemory
    from models.paper.memory import PaperMemory

Texts = Sequence[Sequence[str]] | None
"""For each question what the LM reads as text, besides the modulations; None: nothing."""
Made = tuple[list[str], list[list[int]], float]
"""Answers, prompts, and the mean number of prefix tokens."""


def from_chosen(
    bank: Bank,
    questions: Sequence[str],
    chosen: Sequence[Sequence[Candidate]],
    texts: Texts,
    reached: Callable[[int], None],
) -> Made:
    """Answer each question from the modulations that it selects.

    Where BM25 finds no chunk there is nothing to answer from, and the answer is empty.

    Args:
        bank: all documents.
        questions: the questions.
        chosen: what each selects.
        texts: for each what it reads besides.
        reached: told how many answers are done.
    """
    memory = bank.memory
    places = [i for i, candidates in enumerate(chosen) if candidates]
    prompts = _prompts(memory, questions, texts, places)
    selected = [bank.modulations(chosen[i]) for i in places]
    asked = [questions[i] for i in places]
    made = answer_many(memory, asked, selected, prompts=prompts, progress=reached)
    reached(len(questions))
    out = [""] * len(questions)
    for i, text in zip(places, _counting(made, texts), strict=True):
        out[i] = text
    sizes = [memory.prefix_size(one) for one in selected]
    return out, prompts, sum(sizes) / max(1, len(sizes))


def from_whole(
    bank: Bank, questions: Sequence[str], texts: Texts, reached: Callable[[int], None]
) -> Made:
    """Answer each question from all modulations of the bank; arguments as for `from_chosen`."""
    memory = cast("PaperMemory", bank.memory)
    prompts = _prompts(memory, questions, texts, range(len(questions)))
    made = answer_from_whole(memory, questions, bank.whole, prompts=prompts, progress=reached)
    return _counting(made, texts), prompts, float(memory.prefix_size(()))


def _prompts(
    memory: AnyMemory, questions: Sequence[str], texts: Texts, places: Iterable[int]
) -> list[list[int]]:
    """Token ids of what the LM reads behind the modulations, for the questions at some places."""
    if texts is None:
        return memory.lm.tokenize([question_prompt(questions[i]) for i in places])
    return memory.lm.tokenize([prompt_text(questions[i], texts[i]) for i in places])


def _counting(made: list[str], texts: Texts) -> list[str]:
    """What counts of the answers: their first line behind text, as for rag."""
    return made if texts is None else [text.split("\n")[0] for text in made]
