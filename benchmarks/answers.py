"""F1 of the paper's stack where each question reads the whole bank, as in the paper's tables.

Letters: N questions, K documents in the bank, T tokens of a modulation, d latent size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.batching import batch_tokens, length_batches
from models.chunking import split
from models.data import Example
from models.evaluate import MAX_NEW_TOKENS
from models.generate import generate_batch
from models.lm import BaseLM
from models.metrics import f1
from models.objective import question_prompt
from models.paper.reading import Reader, collate
from models.paper.stack import Amortizer, PaperStack

BATCH = 8
"""Questions that are decoded together."""


def chosen(examples: Sequence[Example], documents: int, questions: int) -> list[Example]:
    """The first questions about the first documents, in the files' order."""
    names = list(dict.fromkeys(e.document_id for e in examples))[:documents]
    kept = set(names)
    return [e for e in examples if e.document_id in kept][:questions]


def texts_of(examples: Sequence[Example], lm: BaseLM, documents: int, tokens: int) -> list[str]:
    """What the bank is made of: the first documents, in pieces of at most so many tokens."""
    whole = list(dict.fromkeys(e.document for e in examples))[:documents]

    def count(texts: Sequence[str]) -> list[int]:
        return [len(row) for row in lm.tokenize(texts)]

    return [chunk.text for text in whole for chunk in split(text, count, tokens)]


@torch.no_grad()
def latents(network: Amortizer, reader: Reader, texts: Sequence[str]) -> Tensor:
    """What amortizer or input encoder make of texts, [K, T, d], in their order."""
    rows = reader.read(texts)
    out: list[Tensor] = [rows[0]] * len(rows)
    for batch in length_batches([len(row) for row in rows], batch_tokens(rows[0].device)):
        for i, z in zip(batch, network(collate([rows[i] for i in batch])), strict=True):
            out[i] = z
    return torch.stack(out)


@torch.no_grad()
def mean_f1(stack: PaperStack, lm: BaseLM, asked: Sequence[Example], aggregated: Tensor) -> float:
    """Mean F1 in percent of greedy answers, each under its modulation of [N, T, d]."""
    total = 0.0
    prompts = lm.tokenize([question_prompt(e.question) for e in asked])
    for start in range(0, len(asked), BATCH):
        rows = slice(start, start + BATCH)
        with stack.head.worn(lm, aggregated[rows]) as prefix:
            ids = generate_batch(lm, prompts[rows], prefix, MAX_NEW_TOKENS)
        for example, row in zip(asked[rows], ids, strict=True):
            total += f1(str(lm.tokenizer.decode(row)).strip(), example.answers)
    return 100 * total / len(asked)
