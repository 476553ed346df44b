"""An answer as it is generated: its text, piece by piece, and what is known of it at its end.

Letters: T tokens of a document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch

from models.base.decode import decode_stream
from models.base.lm import BaseLM, Prefix
from models.memory.modulation import Selected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class GeneratedAnswer:
    """The text of an answer, piece by piece (see `models.memory.protocol.AnswerStream`).

    Args:
        lm: the base LM.
        prompt: token ids that it follows.
        max_new_tokens: the most tokens of the answer.
        applied: a context that gives the prefix and can be entered again.
        selected: the documents whose tokens stand at the prefix's end, in order.

    Attributes:
        prefix_tokens: the number of keys and values in front of each layer, constant ones included.
        attention: for each selected document float32 [T], the attention that its tokens got from
            those that chose the answer, summed over layers and heads.
        surprise: -log p of each token of the answer, in nats, its end included.
    """

    def __init__(
        self,
        lm: BaseLM,
        prompt: list[int],
        max_new_tokens: int,
        applied: AbstractContextManager[Prefix | None],
        selected: Sequence[Selected],
    ) -> None:
        with applied as prefix:
            pass
        self.prefix_tokens = prefix.bias.shape[1] if prefix is not None else 0
        self.attention: list[NDArray[np.float32]] = []
        watch = torch.zeros_like(prefix.bias) if prefix is not None and selected else None
        self.surprise: list[float] = []
        self._tokens = decode_stream(lm, prompt, prefix, max_new_tokens, watch, self.surprise)
        self._pieces = self._run(lm, applied, selected, watch)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def _run(
        self,
        lm: BaseLM,
        applied: AbstractContextManager[Prefix | None],
        selected: Sequence[Selected],
        watch: torch.Tensor | None,
    ) -> Iterator[str]:
        ids: list[int] = []
        text = shown = settled = ""
        while True:
            # The modulation is applied for a single step: between two of them the reader
            # of the answer may use the base LM for something else, such as another answer.
            with applied:
                token = next(self._tokens, None)
            if token is None:
                break
            ids.append(token)
            # A character may be spread over several tokens: show only what can no longer change.
            text = str(lm.tokenizer.decode(ids)).lstrip()
            settled = text.rstrip("\N{REPLACEMENT CHARACTER}")
            if settled.startswith(shown) and settled != shown:
                yield settled[len(shown) :]
                shown = settled
        # Half a character at the end of an answer that was cut short is not shown.
        if text != shown and text.startswith(shown):
            yield settled[len(shown) :]
        if watch is not None:
            lengths = [len(document.latents) for document in selected]
            got = watch[0, watch.shape[1] - sum(lengths) :].float().cpu()
            self.attention = [
                document.spread(part.numpy())
                for document, part in zip(selected, got.split(lengths), strict=True)
            ]
