"""An answer as it is generated: its text, piece by piece, and what is known of it at its end.

Letters: T tokens a document.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.base.lm import Prefix
from models.memory.modulation import Selected

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.memory.answering import Answerer


class AnswerStream:
    """An answer's text, piece by piece; what else is known of it once it has been read to its end.

    Attributes:
        prefix_tokens: keys and values in front of each layer, constant ones included.
        attention: for each selected document float32 [T], the attention its tokens got from those
            that chose the answer, summed over layers and heads; empty where the prefix has no
            tokens of single documents.
        tokens: how many tokens the answer has.
        confidence: geometric mean of the answer tokens' probabilities, in (0, 1]; 0 for no token.
        timings: seconds: `first` up to the first token, `generate` in all.
    """

    def __init__(
        self,
        memory: Answerer,
        prompt: list[int],
        worn: AbstractContextManager[Prefix | None],
        selected: Sequence[Selected],
        max_new: int,
    ) -> None:
        with worn as prefix:
            pass
        self.prefix_tokens = prefix.bias.shape[1] if prefix is not None else 0
        self.attention: list[NDArray[np.float32]] = []
        self.tokens = 0
        self.confidence = 0.0
        self.timings: dict[str, float] = {}
        self._pieces = self._run(memory, prompt, worn, prefix, selected, max_new)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def _run(
        self,
        memory: Answerer,
        prompt: list[int],
        worn: AbstractContextManager[Prefix | None],
        prefix: Prefix | None,
        selected: Sequence[Selected],
        max_new: int,
    ) -> Iterator[str]:
        lm = memory.lm
        watch = torch.zeros_like(prefix.bias) if prefix is not None and selected else None
        begun = time.perf_counter()
        ids: list[int] = []
        shown = ""
        total = 0.0
        steps = memory.decoder.stream(prompt, prefix, max_new, watch)
        while True:
            # The modulation is worn for a step at a time: between two of them whoever reads the
            # answer may use the base LM for something else, another answer for one.
            with worn:
                step = next(steps, None)
            if step is None:
                break
            token, log_probability = step
            ids.append(token)
            total += log_probability
            self.timings.setdefault("first", time.perf_counter() - begun)
            # A character may be spread over several tokens: show only what can no longer change.
            text = str(lm.tokenizer.decode(ids)).lstrip()
            settled = text.rstrip("\N{REPLACEMENT CHARACTER}")
            if settled.startswith(shown) and settled != shown:
                yield settled[len(shown) :]
                shown = settled
        # What an answer cut short leaves of a character is not shown.
        if ids and text != shown and text.startswith(shown):
            yield settled[len(shown) :]
        self.tokens = len(ids)
        self.confidence = float(np.exp(total / len(ids))) if ids else 0.0
        self.timings["generate"] = time.perf_counter() - begun
        if watch is not None:
            lengths = [len(s.latents) for s in selected]
            documents = watch[0, watch.shape[1] - sum(lengths) :].float().cpu()
            self.attention = [
                s.spread(part.numpy())
                for s, part in zip(selected, documents.split(lengths), strict=True)
            ]
