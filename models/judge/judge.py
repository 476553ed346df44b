"""A judge at work: which passages answer a question, and with which words of theirs.

Letters: T tokens of a passage.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.base.batching import length_batches
from models.base.device import choose_dtype
from models.base.encoder import SentenceEncoder
from models.errors import CheckpointError
from models.judge.config import JudgeConfig
from models.judge.network import KINDS, JudgeNetwork
from models.judge.pairs import Pair, PairReader
from models.judge.respelling import respelled
from models.judge.spans import Span, boundaries, crosses, tidied
from models.judge.tables import fitting
from models.memory import checkpoint
from models.text.chunking import pieces

SHIPPED = Path(__file__).parent
"""The folder with the judges in the box."""
ANSWERS = 4
"""The most answers of a passage."""
ANSWER_TOKENS = 40
"""The most tokens of an answer."""
_BATCH_TOKENS = 2048
_ENDS = 8
_WORDS = re.compile(r"\w+")


def find(name: str) -> Path:
    """Return the folder of a judge: one in the box by its name, or any by its folder."""
    return SHIPPED / name if (SHIPPED / name / checkpoint.CONFIG).is_file() else Path(name)


@dataclass(frozen=True, slots=True)
class Found:
    """An answer that a passage gives.

    Attributes:
        text: its words; "yes" or "no" where the passage does not say it in words.
        span: where it stands in the passage; None for yes and no.
        log_probability: of this answer, against all others and none.
    """

    text: str
    span: Span | None
    log_probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a judge makes of a passage.

    Attributes:
        log_odds: of the passage answering the question, in nats.
        answers: what it answers, if it does; the most likely first.
        text: the passage.
        spans: the offsets (start, end) of the passage's T tokens, or of the part that was read.
        kinds: log p of each of `KINDS`, float32 [4].
        starts: log p of each token beginning the answer, float32 [T].
        ends: log p of each token ending it, float32 [T].
        cells: what stands in the passage's tables, and how well it fits the question, -1 to 1,
            see `models.judge.tables`.
        sentences: what the judge makes of each sentence, row and block of code read alone; empty
            until `Judge.read_closely`.
    """

    log_odds: float
    answers: tuple[Found, ...]
    text: str
    spans: Sequence[Span]
    kinds: NDArray[np.float32]
    starts: NDArray[np.float32]
    ends: NDArray[np.float32]
    cells: Mapping[str, float] = field(default_factory=dict)
    sentences: Sequence[Reading] = ()

    def log_probability(self, answer: str) -> float:
        """Return log p of an answer: yes, no, or words that stand in the passage; else -inf."""
        words = _WORDS.findall(answer)
        if not words:
            return -math.inf
        if len(words) == 1 and words[0].lower() in ("yes", "no"):
            return float(self.kinds[KINDS.index(words[0].lower())])
        said = re.compile(
            r"(?<!\w)" + r"\W+".join(map(re.escape, words)) + r"(?!\w)", re.IGNORECASE
        )
        scores = [-math.inf]
        for found in said.finditer(self.text):
            inside = [
                i for i, (s, e) in enumerate(self.spans) if s < found.end() and e > found.start()
            ]
            if inside:
                scores.append(float(self.starts[inside[0]] + self.ends[inside[-1]]))
        return float(self.kinds[KINDS.index("span")] + np.logaddexp.reduce(scores))


class Judge:
    """Reads passages for a question.

    Args:
        network: the trained network.
        encoder: the sentence encoder that it was tuned from.
    """

    def __init__(self, network: JudgeNetwork, encoder: SentenceEncoder) -> None:
        self._network, self._encoder = network.eval().requires_grad_(False), encoder
        self._device = encoder.model.device
        network.to(self._device)
        self._dtype = choose_dtype(self._device)

    @classmethod
    def load(cls, name: str, encoder: SentenceEncoder, sha256: str | None = None) -> Judge:
        """Load a judge: one in the box by its name, or any by its folder.

        Args:
            name: the name or the folder.
            encoder: the sentence encoder that it was tuned from.
            sha256: of the encoder's weights, if it is known.

        Raises:
            CheckpointError: it cannot be read, or was tuned from another encoder.
        """
        folder = find(name)
        config = checkpoint.checked_config(folder, JudgeConfig)
        if sha256 and config.encoder_sha256 not in (None, sha256):
            raise CheckpointError(
                f"the judge in {folder} was tuned from another sentence encoder",
                hint="train one for this encoder: mac train-judge",
            )
        network = JudgeNetwork(config, encoder)
        network.restore(folder)
        judge = cls(network, encoder)
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.to(judge._dtype)  # or they would be converted each time they are used
        return judge

    @cached_property
    def _reader(self) -> PairReader:
        return PairReader(self._encoder, self._network.config.max_tokens)

    @cached_property
    def _words(self) -> frozenset[str]:
        """The words that the encoder knows as such."""
        return frozenset(self._encoder.tokenizer.get_vocab())

    def respelled(self, question: str, texts: Sequence[str]) -> str:
        """Return a question with its misspelled words as passages have them, see `respelling`."""
        return respelled(question, texts, self._words)

    @torch.no_grad()
    def read(
        self, question: str, texts: Sequence[str], contexts: Sequence[str] = ()
    ) -> list[Reading]:
        """Return what is to be made of each passage.

        Args:
            question: one or several lines, after what was asked before it; it is `respelled`.
            texts: the passages; a long one is read in parts that overlap.
            contexts: what is read before each, see `models.text.prompts.context`.
        """
        question = self.respelled(question, texts)
        pairs: list[tuple[int, Pair]] = []
        for i, (text, context) in enumerate(zip(texts, contexts or [""] * len(texts), strict=True)):
            pairs += [(i, pair) for pair in self._reader.pairs(question, text, context)]
        parts: list[list[Reading]] = [[] for _ in texts]
        lengths = [len(pair.ids) for _, pair in pairs]
        for batch in length_batches(lengths, _BATCH_TOKENS):
            inputs = self._reader.inputs([pairs[i][1] for i in batch], self._device)
            with torch.autocast(
                self._device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16
            ):
                judged = self._network(inputs)
            kinds = judged.kind.log_softmax(-1).cpu().numpy()
            starts = judged.start.log_softmax(-1).cpu().numpy()
            ends = judged.end.log_softmax(-1).cpu().numpy()
            for row, i in enumerate(batch):
                number, pair = pairs[i]
                there = slice(pair.first, pair.first + len(pair.spans))
                parts[number].append(
                    _reading(texts[number], pair, kinds[row], starts[row, there], ends[row, there])
                )
        # Of a passage that was read in parts, what the best of them says.
        return [max(readings, key=lambda reading: reading.log_odds) for readings in parts]

    def read_closely(self, question: str, readings: Sequence[Reading]) -> list[Reading]:
        """Return readings with what a second look finds: in each sentence alone, and in tables.

        In a single sentence the right words are found more often than in the whole passage. What
        tables say, see `models.judge.tables`.
        """
        texts = [reading.text for reading in readings]
        question = self.respelled(question, texts)
        split = [[text[start:end] for start, end in pieces(text)] for text in texts]
        sentences = iter(self.read(question, [part for parts in split for part in parts]))
        cells = fitting(question, texts, lambda names: self._encoder.encode(names).cpu().numpy())
        return [
            replace(reading, cells=fit, sentences=tuple(islice(sentences, len(parts))))
            for reading, fit, parts in zip(readings, cells, split, strict=True)
        ]


def _log_odds(kinds: NDArray[np.float32]) -> float:
    """Return the log odds of any answer, from log probabilities [4] of `KINDS`."""
    none = KINDS.index("none")
    some = np.logaddexp.reduce(np.delete(kinds, none))
    return float(some - kinds[none])


def _reading(
    text: str,
    pair: Pair,
    kinds: NDArray[np.float32],
    starts: NDArray[np.float32],
    ends: NDArray[np.float32],
) -> Reading:
    """Return what log probabilities, [4] of kinds and [T] of both ends, say of a passage."""
    found = {word: Found(word, None, float(kinds[KINDS.index(word)])) for word in ("yes", "no")}
    between = boundaries(text)
    for start in np.argsort(-starts)[:_ENDS]:
        likely = start + np.argsort(-ends[start : start + ANSWER_TOKENS])
        begin = pair.spans[start][0]
        inside = (end for end in likely if not crosses((begin, pair.spans[end][1]), between))
        for end in islice(inside, _ENDS):
            span = tidied(text, begin, pair.spans[end][1])
            score = float(kinds[KINDS.index("span")] + starts[start] + ends[end])
            words = text[slice(*span)]
            if words and (words not in found or found[words].log_probability < score):
                found[words] = Found(words, span, score)
    best = sorted(found.values(), key=lambda answer: -answer.log_probability)
    answers = tuple(best[:ANSWERS])
    return Reading(_log_odds(kinds), answers, text, pair.spans, kinds, starts, ends)
