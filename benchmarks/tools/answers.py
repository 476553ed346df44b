"""F1 of the paper's stack where each question reads the whole bank, as in the paper's tables.

Letters: N questions, T tokens of a modulation, d latent size.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from models.data.files import Example
from models.evaluation.answers import MAX_NEW_TOKENS
from models.evaluation.metrics import f1
from models.paper.memory import PaperMemory
from models.text.chunking import split
from models.text.prompts import question_prompt

BATCH = 8
"""Questions that are decoded together."""


def first_examples(examples: Sequence[Example], documents: int, questions: int) -> list[Example]:
    """Return the first questions about the first documents, in the order of the file."""
    ids = dict.fromkeys(example.document_id for example in examples)
    names = set(list(ids)[:documents])
    return [e for e in examples if e.document_id in names][:questions]


def texts_of(examples: Sequence[Example], memory: PaperMemory, documents: int) -> list[str]:
    """Return the first documents, cut into chunks as long as the stack reads."""
    whole = list(dict.fromkeys(e.document for e in examples))[:documents]
    tokens = memory.config.chunk_tokens
    return [c.text for text in whole for c in split(text, memory.count_tokens, tokens)]


def mean_f1(memory: PaperMemory, examples: Sequence[Example], aggregated: Tensor) -> float:
    """Return the mean F1, in percent, of greedy answers under aggregated modulations [N, T, d]."""
    total = 0.0
    prompts = memory.lm.tokenize([question_prompt(e.question) for e in examples])
    for start in range(0, len(examples), BATCH):
        rows = slice(start, start + BATCH)
        ids = memory.answer_aggregated(aggregated[rows], prompts[rows], MAX_NEW_TOKENS)
        for example, row in zip(examples[rows], ids, strict=True):
            total += f1(str(memory.lm.tokenizer.decode(row)).strip(), example.answers)
    return 100 * total / len(examples)
