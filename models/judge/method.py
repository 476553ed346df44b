"""How a judge is trained: on questions, each with its own passage and with one that is near it.

The loss has three terms: what kind of answer the passage gives (none, words of it, yes, no), where
the words stand, and that a question's own passage comes before another that is easily confused with
it (arXiv 1901.04085 ranks passages like this; arXiv 1806.03822 for questions without an answer).

Letters: N pairs.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.base.batching import length_batches
from models.base.device import choose_dtype
from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.judge.config import JudgeConfig
from models.judge.network import KINDS, OUTSIDE, Judgement, JudgeNetwork
from models.judge.pairs import Pair, PairReader
from models.training.batches import Batch
from models.training.corpus import Corpus, Question
from models.training.loss import IGNORE, Loss
from models.training.settings import TrainConfig, decaying

LEARNING_RATE = 1.2e-4
_HEADS = 8.0
"""The heads start at random, so they learn so many times as fast."""
_NEGATIVES, _MISSPELLED, _UNTITLED = 0.5, 0.12, 0.4
"""How often a question gets another passage, is misspelled, and a passage comes without context."""
_RANKING = 0.5
_CPU_TOKENS = 1024
"""The most tokens that a CPU reads at once, so that what it works on stays in its cache."""


@dataclass(slots=True)
class JudgeMethod:
    """The `models.training.method.TrainingMethod` that trains a judge.

    Args:
        config: the settings of the run; `learning_rate` is that of the encoder's layers.
        model: the judge's config.
        lm: the base LM, whose tokens the length of passages is counted in.
        encoder: the sentence encoder to start from.
    """

    config: TrainConfig
    model: JudgeConfig
    lm: BaseLM
    encoder: SentenceEncoder
    stack: JudgeNetwork = field(init=False)
    _reader: PairReader = field(init=False)

    def __post_init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            self.stack = JudgeNetwork(self.model, self.encoder)
        self.stack.to(self.lm.device)
        # Twice as fast on a CPU, backwards, as what transformers takes by itself.
        self.stack.body.set_attn_implementation("eager")
        # Drawing which attention to drop costs a CPU as much time as all of its matrix products.
        for name, module in self.stack.body.named_modules():
            if isinstance(module, nn.Dropout) and name.endswith("attention.self.dropout"):
                module.p = 0.0
        self._reader = PairReader(self.encoder, self.model.max_tokens)

    def initialise(self, corpus: Corpus, note: Callable[[str], None]) -> None:
        """Note the kinds of answers; the network starts as the encoder that it is a copy of."""
        counts = {kind: sum(q.kind == kind for q in corpus.questions) for kind in (*KINDS, "free")}
        note(", ".join(f"{kind}: {count:,}" for kind, count in counts.items()))

    def optimiser(self) -> torch.optim.Optimizer:
        """See `TrainingMethod.optimiser`."""
        layers = [p for p in self.stack.body.parameters() if p.requires_grad]
        heads = [*self.stack.kind.parameters(), *self.stack.span.parameters()]
        rate = self.config.learning_rate
        groups = [{"params": layers, "peak": rate}, {"params": heads, "peak": _HEADS * rate}]
        return torch.optim.AdamW(groups, weight_decay=0.01)

    def rate(self, step: int) -> float:
        """See `models.training.settings.decaying`."""
        return decaying(self.config, step)

    def loss(self, corpus: Corpus, batch: Batch, rng: random.Random | None) -> Loss:
        """See `TrainingMethod.loss`; `answer` is of kinds and places, `relevance` of the order."""
        draw = rng or random.Random(0)
        pairs: list[Pair] = []
        kinds: list[int] = []
        spans: list[tuple[int, int]] = []
        ranked: list[tuple[int, int]] = []
        each = len(batch.questions) // len(batch.chunks)
        for n, number in enumerate(batch.questions):
            question = corpus.questions[number]
            asked = question.text
            if rng is not None and rng.random() < _MISSPELLED:
                asked = misspelled(asked, rng)
            pair, kind, span = self._own(corpus, question, asked, draw)
            pairs.append(pair)
            kinds.append(kind)
            spans.append(span)
            group = batch.chunks[n // each]
            others = [
                c for c in group if c != question.chunk and not corpus.holds_answer(number, c)
            ]
            if others and draw.random() < _NEGATIVES:
                other = draw.choice(others)
                pairs.append(self._pairs(corpus, asked, other, draw)[0])
                kinds.append(KINDS.index("none"))
                spans.append((IGNORE, IGNORE))
                if question.kind != "none":
                    ranked.append((len(pairs) - 2, len(pairs) - 1))
        return self._loss(pairs, torch.tensor(kinds), torch.tensor(spans), ranked)

    def _pairs(self, corpus: Corpus, question: str, chunk: int, draw: random.Random) -> list[Pair]:
        context = "" if draw.random() < _UNTITLED else corpus.contexts[chunk]
        return self._reader.pairs(question, corpus.chunks[chunk], context)

    def _own(
        self, corpus: Corpus, question: Question, asked: str, draw: random.Random
    ) -> tuple[Pair, int, tuple[int, int]]:
        """Return a question with its own passage, the kind of its answer, and the answer's ends."""
        pairs = self._pairs(corpus, asked, question.chunk, draw)
        kind = KINDS.index("span" if question.kind == "free" else question.kind)
        if question.span is None:
            return pairs[0], kind, (IGNORE, IGNORE)
        start, end = question.span
        for pair in pairs:  # of a long passage, the part with the answer
            inside = [i for i, (s, e) in enumerate(pair.spans) if s < end and e > start]
            if inside and pair.spans[inside[-1]][1] >= end:
                return pair, kind, (pair.first + inside[0], pair.first + inside[-1])
        return pairs[0], IGNORE, (IGNORE, IGNORE)

    def _loss(
        self, pairs: list[Pair], kinds: Tensor, spans: Tensor, ranked: list[tuple[int, int]]
    ) -> Loss:
        device = self.lm.device
        kinds, spans = kinds.to(device), spans.to(device)
        judged = self._judged(pairs)
        loss = F.cross_entropy(judged.kind, kinds, ignore_index=IGNORE)
        placed = spans[:, 0] != IGNORE
        if placed.any():
            start = F.cross_entropy(judged.start[placed], spans[placed, 0])
            loss = loss + (start + F.cross_entropy(judged.end[placed], spans[placed, 1])) / 2
        none = KINDS.index("none")
        some = [i for i in range(len(KINDS)) if i != none]
        score = judged.kind[:, some].logsumexp(-1) - judged.kind[:, none]
        order = torch.zeros((), device=device)
        if ranked:
            own, other = torch.tensor(ranked, device=device).T
            order = _RANKING * F.softplus(score[other] - score[own]).mean()
        return Loss(loss, order)

    def _judged(self, pairs: list[Pair]) -> Judgement:
        """Return what the network says of pairs; those of like length are read together."""
        device = self.lm.device
        lengths = [len(pair.ids) for pair in pairs]
        whole = len(pairs) * max(lengths)
        batches = list(length_batches(lengths, _CPU_TOKENS if device.type == "cpu" else whole))
        # The trainer sees to a precision that was asked for.
        half = self.config.precision is None and choose_dtype(device) == torch.bfloat16
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            parts = [
                self.stack(self._reader.inputs([pairs[i] for i in batch], device))
                for batch in batches
            ]
        order = torch.tensor([i for batch in batches for i in batch], device=device).argsort()
        kind, start, end = (
            torch.cat([F.pad(t, (0, size - t.shape[1]), value=OUTSIDE) for t in each])[order]
            for each, size in zip(
                zip(*parts, strict=True), (len(KINDS), *[max(lengths)] * 2), strict=True
            )
        )
        return Judgement(kind, start, end)


def misspelled(question: str, rng: random.Random) -> str:
    """Return a question as people type in haste: letters swapped, lost or doubled, no capitals."""
    words = question.split()
    for _ in range(max(1, len(words) // 4)):
        i = rng.randrange(len(words))
        word = words[i]
        if len(word) < 4:
            continue
        at = rng.randrange(1, len(word) - 1)
        middle = rng.choice(
            (word[at + 1] + word[at] + word[at + 2 :], word[at + 1 :], word[at] + word[at:])
        )
        words[i] = word[:at] + middle
    text = " ".join(words)
    return text.lower() if rng.random() < 0.5 else text
