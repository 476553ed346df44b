"""Greedy decoding of one answer, exactly what the base LM would choose token by token.

Once the decoder has worked long enough for it to pay, a narrow copy of the LM guesses a few
tokens ahead and the LM confirms or corrects them in one pass (see `models.base.draft`).

Letters: S prefix tokens, T question tokens, K tokens of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from models.base.blocks import Blocks, Cache
from models.base.draft import Draft
from models.base.lm import BaseLM, Prefix

GUESSES = 15
"""How many tokens are guessed ahead at most: an exact pass over 16 costs about that over 8."""
PATIENCE = 64
"""Tokens decoded before the copy is made: in about so many more it is worth the time."""


class Decoder:
    """Decodes behind a prefix with the weights of one base LM.

    Args:
        lm: the base LM.
        patience: tokens after which a narrow copy of the LM begins to guess ahead; None never.
    """

    def __init__(self, lm: BaseLM, patience: int | None = PATIENCE) -> None:
        self.lm = lm
        self._blocks = Blocks(lm)
        self._wait = patience if patience is not None and Draft.suits(lm) else None
        self._draft: Draft | None = None

    @torch.inference_mode()
    def stream(
        self,
        prompt: Sequence[int],
        prefix: Prefix | None,
        max_new_tokens: int,
        watch: Tensor | None = None,
    ) -> Iterator[tuple[int, float]]:
        """The most likely continuation, token by token, without its end-of-sequence token.

        Args:
            prompt: T token ids, at least one.
            prefix: of one group and one sequence, or none.
            max_new_tokens: the longest answer; shorter where the base LM's positions end before.
            watch: [1, S], grows by the attention that the tokens which chose the answer paid to
                each prefix token, summed over layers and heads.

        Yields:
            Each token id with its log probability.

        Raises:
            ModelError: prefix and prompt alone take more positions than there are.
        """
        lm = self.lm
        start = int(prefix.length[0]) if prefix is not None else 0
        max_new_tokens = lm.room(start + len(prompt), max_new_tokens)
        cache = Cache(lm, prefix, len(prompt) + max_new_tokens)
        block, known = list(prompt), len(prompt)
        left, reach, missing = max_new_tokens, GUESSES, 0
        while left > 0:
            # The last known token and every guess choose a token each.
            rows = len(block) - known + 1
            seen = watch.new_zeros(rows, watch.shape[1]) if watch is not None else None
            products = self._blocks.current()
            hidden = self._blocks.run(block, cache, products, seen)
            scores = lm.logits(hidden[-rows:]).float()
            cache.length += known
            for row in range(rows):
                token = lm.characters.choose(scores[row], missing)
                missing = lm.characters.missing(missing, token)
                if watch is not None and seen is not None:
                    watch += seen[row]
                if token == lm.eos_id:
                    return
                yield token, float(scores[row, token] - scores[row].logsumexp(-1))
                left -= 1
                if row == rows - 1 or token != block[known + row]:
                    break
                cache.length += 1
            if products is not self._blocks.own:
                # The narrow copy does not wear the modulation: few of its guesses would be right.
                block, known = [token], 1
                continue
            self._age(row + 1)
            if rows > 1:  # after a wrong guess not so far, until they are right again
                reach = min(2 * row + 1, GUESSES)
            block, known = [token, *self._guess(token, cache, min(left - 1, reach))], 1

    def _guess(self, token: int, cache: Cache, most: int) -> list[int]:
        """What may follow the token, up to the answer's end; leaves the cache's length alone."""
        guesses: list[int] = []
        if self._draft is None:
            return guesses
        begun = cache.length
        while len(guesses) < most and token != self.lm.eos_id:
            hidden = self._blocks.run([token], cache, self._draft.products)
            token = self._draft.guess(hidden[0])
            guesses.append(token)
            cache.length += 1
        cache.length = begun
        return guesses

    def _age(self, tokens: int) -> None:
        """Count tokens decoded, and make the draft when it is time."""
        if self._wait is not None and self._draft is None:
            self._wait -= tokens
            if self._wait <= 0:
                self._draft = Draft(self.lm)
