"""Greedy decoding of one answer, token by token.

Prefix, question and answer share one preallocated cache, and a step runs one token through weights
joined beforehand (queries, keys and values in one product; gate and up in another): at batch one a
small LM's time goes to memory traffic and to the number of operations, and this has the fewest of
both.

Letters: M places in the cache, S prefix tokens, T question tokens, H key/value heads, C head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from models.attention import rotate
from models.lm import BaseLM, Prefix


class Decoder:
    """Decodes behind a prefix with the weights of one base LM."""

    def __init__(self, lm: BaseLM) -> None:
        self.lm = lm

    @torch.no_grad()
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
            max_new_tokens: the longest answer.
            watch: [1, S], grows by the attention that the tokens which chose the answer paid to
                each prefix token, summed over layers and heads.

        Yields:
            Each token id with its log probability.
        """
        lm = self.lm
        ids = lm.pad([prompt])
        cache: list[tuple[Tensor, Tensor]] = []
        hidden = lm.forward(ids, prefix, cache=cache, watch=watch)[:, -1]
        s, start = (prefix.bias.shape[1], prefix.length) if prefix is not None else (0, 0)
        t = len(prompt)
        bias = hidden.new_zeros(s + t + max_new_tokens)
        keys, values = [], []
        for i, (k, v) in enumerate(cache):
            room = k.new_zeros(*k.shape[:2], max_new_tokens, k.shape[3])
            parts = [(k, v), (room, room)]
            if prefix is not None:
                parts.insert(0, (prefix.keys[i], prefix.values[i]))
            keys.append(torch.cat([part[0] for part in parts], 2)[0])
            values.append(torch.cat([part[1] for part in parts], 2)[0])
        if prefix is not None:
            bias[:s] = prefix.bias[0]
        for step in range(max_new_tokens):
            scores = lm.logits(hidden)[0].float()
            token = int(scores.argmax())
            if token == lm.eos_id:
                return
            yield token, float(scores[token] - scores.logsumexp(-1))
            if step == max_new_tokens - 1:
                return
            place = s + t + step
            hidden = self._step(token, start + t + step, keys, values, bias, place, watch)

    def _step(
        self,
        token: int,
        position: int,
        keys: list[Tensor],
        values: list[Tensor],
        bias: Tensor,
        place: int,
        watch: Tensor | None,
    ) -> Tensor:
        """Hidden state [1, hidden size] of one more token, written at `place` in the cache."""
        lm = self.lm
        device = lm.device
        x = lm.embed(torch.tensor([[token]], device=device))
        rotary = lm.rotary(x, torch.tensor([[position]], device=device))
        h, c = lm.shape.kv_heads, lm.shape.head_size
        for i, layer in enumerate(lm.layers):
            q, k, v = lm.project(layer, x)
            cos, sin = rotary[lm.layer_types[i]]
            keys[i][:, place] = rotate(k, cos, sin)[0, :, 0]
            values[i][:, place] = v[0, :, 0]
            q = (rotate(q, cos, sin) * layer.self_attn.scaling).view(h, -1, c)
            weights = (q @ keys[i][:, : place + 1].transpose(1, 2) + bias[: place + 1]).softmax(-1)
            if watch is not None:
                watch += weights[..., : watch.shape[1]].sum((0, 1))
            y = (weights @ values[i][:, : place + 1]).view(1, lm.heads, 1, c)
            x = lm.feed_forward(layer, x, y)
        return lm.norm(x)[:, 0]
