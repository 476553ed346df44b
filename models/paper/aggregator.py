"""Turns the modulations of many documents into a single one (h_psi of arXiv 2403.04317, section 3).

There are three ways through the same weights: all documents at once; block by block with a running
softmax, which gives the same result in bounded memory but reads the bank once a layer; and
hierarchically in groups of M documents, an approximation that reads the bank once.

Letters: N questions, K documents in the bank, k of them in a block, T tokens a modulation, d latent
size, M documents a group, A attention heads, C head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from models.paper.layers import CrossBlock

Blocks = Iterable[Tensor]
"""The bank in blocks [k, T, d]; k may differ."""


class Aggregator(nn.Module):
    """Cross-attention, several blocks of it, from a question's tokens to the bank (section 3.2).

    Args:
        size: d.
        blocks: the number of blocks; 4 in the paper.
        heads: A; 8 in the paper.
        head_size: C; 96 in the paper.
    """

    def __init__(self, size: int, blocks: int = 4, heads: int = 8, head_size: int = 96) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CrossBlock(size, size, heads, head_size) for _ in range(blocks))

    def forward(self, question: Tensor, bank: Tensor, visible: Tensor | None = None) -> Tensor:
        """Aggregate all documents at once (section 3.2); memory grows with K T.

        Args:
            question: [N, T, d], the input encoder's tokens.
            bank: [K, T, d], or [N, K, T, d] if each question has its own bank.
            visible: bool [N, K], the documents each question may read, at least one; None: all.

        Returns:
            [N, T, d]; the order of the documents makes no difference.
        """
        _require_documents(bank.shape[-3])
        context = bank.flatten(-3, -2)
        if visible is not None:
            visible = visible.repeat_interleave(bank.shape[-2], 1)
        for block in self.blocks:
            question = block(question, context, visible)
        return question

    def chunked(self, question: Tensor, read: Callable[[], Blocks]) -> Tensor:
        """Return the result of `forward` with only one block of documents in memory at a time.

        The softmax over the bank is computed with a running maximum, sum and weighted mean of
        values (online softmax, arXiv 1805.02867), so nothing is approximated.

        Args:
            question: [N, T, d].
            read: starts reading the bank; called once for each layer.

        Returns:
            [N, T, d].
        """
        for layer in self.blocks:
            block: CrossBlock = layer  # type: ignore[assignment]
            queries = block.queries(question)
            queries = queries * queries.shape[-1] ** -0.5
            largest = queries.new_full((*queries.shape[:-1], 1), float("-inf"))
            total, mean = torch.zeros_like(largest), torch.zeros_like(queries)
            documents = 0
            for part in read():
                documents += len(part)
                if not len(part):
                    continue
                keys, values = block.context(part.flatten(0, 1))
                scores = queries @ keys.transpose(-1, -2)
                now = torch.maximum(largest, scores.amax(-1, keepdim=True))
                weights, old = (scores - now).exp(), (largest - now).exp()
                total = total * old + weights.sum(-1, keepdim=True)
                mean = mean * old + weights @ values
                largest = now
            _require_documents(documents)
            question = block.finish(question, mean / total)
        return question

    def hierarchical(self, question: Tensor, bank: Blocks, group: int) -> Tensor:
        """Aggregate groups of M documents, then groups of M results, until one is left (3.3).

        A group is of neighbours in the bank. Each level has at most 1 / M as many entries as the
        level below, rounded up, so this ends for every bank. A level passes a group on as soon as
        it has to make room, so that at most M entries a level are in memory. A bank of up to M
        documents gives the result of `forward`.

        Args:
            question: [N, T, d].
            bank: the documents, read once.
            group: M, at least 2.

        Returns:
            [N, T, d].

        Raises:
            ValueError: M is below 2, or there are no documents.
        """
        if group < 2:
            raise ValueError(f"a group must have at least 2 documents, not {group}")
        levels: list[list[Tensor]] = [[]]
        for part in bank:
            for document in part:
                self._push(question, levels, 0, document, group)
        _require_documents(len(levels[0]))
        for level, entries in enumerate(levels):  # `levels` grows as groups are passed upwards
            merged: Tensor = self(question, torch.stack(entries, -3))
            if level + 1 == len(levels):
                return merged
            self._push(question, levels, level + 1, merged, group)
        raise AssertionError("the highest level returns")

    def _push(
        self, question: Tensor, levels: list[list[Tensor]], level: int, entry: Tensor, group: int
    ) -> None:
        """Put an entry [T, d] or [N, T, d] on a level, which first passes on a full group."""
        if level == len(levels):
            levels.append([])
        if len(levels[level]) == group:
            merged = self(question, torch.stack(levels[level], -3))
            levels[level].clear()
            self._push(question, levels, level + 1, merged, group)
        levels[level].append(entry)


def _require_documents(count: int) -> None:
    if not count:
        raise ValueError("there is no document to aggregate")
