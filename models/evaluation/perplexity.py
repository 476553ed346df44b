"""Language modelling under a modulation: how well the rest of a text is predicted from its start.

The LM reads the later half of a text after the earlier half in one of the forms of `CONTEXTS`; the
same tokens of the later half count in every form. It shows what a modulation loses of its text in a
task that the `latent` stack was not trained for.

Letters: K chunks of the earlier half, T tokens of the later one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

from models.base.lm import Prefix
from models.evaluation.metrics import RESAMPLES
from models.latent.memory import LatentMemory
from models.memory.modulation import Selected
from models.text.chunking import CountTokens, sentences, split

Context = Literal["none", "constant", "mac", "faint", "text"]
CONTEXTS: tuple[Context, ...] = ("none", "constant", "mac", "faint", "text")
"""The forms: nothing; the constant prefix tokens alone; they and the modulations of all chunks of
the earlier half; the same with `FAINT` added to their log weights; the earlier half itself, as
text."""
FAINT = -3.0
"""In nats. Modulations were made for questions; for going on with a text they draw too much
attention at their usual weight."""
MAX_TOKENS = 2048
"""The most tokens of a text; the sentences after them are left out."""


@dataclass(frozen=True, slots=True)
class Surprise:
    """The surprise of the T - 1 tokens after the first of a later half.

    Attributes:
        nats: the sum over tokens, for each of `CONTEXTS`.
        tokens: how many tokens count.
        context: how many tokens or keys stand before them, for each of `CONTEXTS`.
        chunks: K.
    """

    nats: dict[Context, float]
    tokens: int
    context: dict[Context, int]
    chunks: int


def halves(text: str, count_tokens: CountTokens, most: int = MAX_TOKENS) -> tuple[str, str] | None:
    """Cut a text at the end of the sentence that is nearest to its middle, counted in tokens.

    The later half begins with the space before it. The result is None without two sentences.
    """
    bounds = sentences(text)
    counts = count_tokens([text[start:end] for start, end in bounds])
    ends = [int(n) for n in np.cumsum(counts) if n <= most]
    if len(ends) < 2:
        return None
    cut = min(range(len(ends) - 1), key=lambda i: abs(2 * ends[i] - ends[-1]))
    middle = bounds[cut][1]
    return text[bounds[0][0] : middle], text[middle : bounds[len(ends) - 1][1]]


@torch.no_grad()
def surprise(memory: LatentMemory, before: str, after: str) -> Surprise | None:
    """Measure the later half in every context; return None if it has fewer than two tokens.

    All chunks of the earlier half are in the prefix with equal weights: there is no question.

    Args:
        memory: a checkpoint of the `latent` stack.
        before: the earlier half, of any length.
        after: the later half.
    """
    lm = memory.lm
    earlier, later = lm.tokenize([before, after])
    if len(later) < 2:
        return None
    chunks = split(before, memory.count_tokens, memory.config.chunk_tokens)
    weight = -math.log(len(chunks))
    modulations = memory.amortize([chunk.text for chunk in chunks])

    def prefix(log_weight: float) -> Prefix:
        return memory.prefix([[Selected(m.latents, m.scales, log_weight) for m in modulations]])

    modulation = prefix(weight)
    constant = memory.stack.constant_prefix(lm)
    nats: dict[Context, float] = {
        "none": _nats(memory, [lm.bos_id], later),
        "constant": _nats(memory, [], later, constant),
        "mac": _nats(memory, [], later, modulation),
        "faint": _nats(memory, [], later, prefix(weight + FAINT)),
        "text": _nats(memory, [lm.bos_id, *earlier], later),
    }
    context: dict[Context, int] = {
        "none": 0,
        "constant": constant.bias.shape[1],
        "mac": modulation.bias.shape[1],
        "faint": modulation.bias.shape[1],
        "text": len(earlier),
    }
    return Surprise(nats, len(later) - 1, context, len(chunks))


def _nats(
    memory: LatentMemory, context: Sequence[int], later: Sequence[int], prefix: Prefix | None = None
) -> float:
    """Return the surprise of later[1:] after the context, the prefix and later[0]."""
    ids = memory.lm.pad([[*context, *later]])
    hidden = memory.lm.forward(ids[:, :-1], prefix)[0, len(context) :]
    logits = memory.lm.logits(hidden).float()
    return float(F.cross_entropy(logits, ids[0, len(context) + 1 :], reduction="sum"))


def perplexity(nats: Sequence[float], tokens: Sequence[int]) -> tuple[float, float, float]:
    """Return the exponential of the mean surprise a token, and its bootstrap 95 % interval.

    Args:
        nats: the surprise of each text, [N].
        tokens: the tokens of each text, [N].

    Raises:
        ValueError: there are no texts.
    """
    if not tokens:
        raise ValueError("a perplexity needs at least one text, got none")
    surprises, counts = np.asarray(nats, np.float64), np.asarray(tokens, np.float64)
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(counts), size=len(counts))
        rates.append(surprises[drawn].sum() / counts[drawn].sum())
    low, high = np.quantile(rates, [0.025, 0.975])
    return (
        float(np.exp(surprises.sum() / counts.sum())),
        float(np.exp(low)),
        float(np.exp(high)),
    )
