"""Greedy decoding behind a prefix, for one question or many at once.

Prefix and question share one cache of keys and values with one row of biases, so that a step is one
attention over it and no prefix is copied.

Letters: B sequences, T tokens, S prefix tokens, M places in the cache, L layers, H key/value heads,
C head size.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from models.base.attention import rotate
from models.base.lm import BaseLM, Prefix


@torch.no_grad()
def generate_batch(
    lm: BaseLM,
    prompts: Sequence[Sequence[int]],
    prefix: Prefix | None,
    max_new_tokens: int,
    *,
    stop: Container[int] = (),
) -> list[list[int]]:
    """The most likely continuation of each prompt, up to its end-of-sequence token (left out).

    Args:
        lm: the base LM.
        prompts: token ids of B prompts, each of at least one token.
        prefix: of B groups of one sequence each, or one group of B.
        max_new_tokens: the longest answer; shorter where the base LM's positions end before.
        stop: further tokens that end a continuation, and are left out.

    Raises:
        ModelError: prefix and prompt alone take more positions than there are.
    """
    ids = lm.pad(prompts)
    b, t = ids.shape
    start = int(prefix.length.max()) if prefix is not None else 0
    max_new_tokens = lm.room(start + t, max_new_tokens)
    lengths = torch.tensor([len(p) for p in prompts], device=lm.device)
    cache: list[tuple[Tensor, Tensor]] = []
    hidden = lm.forward(ids, prefix, cache=cache)
    logits = lm.logits(hidden[torch.arange(b), lengths - 1])

    places = lengths if prefix is None else lengths + prefix.starts(b)
    s = prefix.bias.shape[1] if prefix is not None else 0
    bias = hidden.new_full((b, s + t + max_new_tokens), float("-inf"))
    if prefix is not None:
        bias[:, :s] = prefix.bias
    bias[:, s : s + t].masked_fill_(torch.arange(t, device=lm.device) < lengths[:, None], 0.0)
    keys, values = [], []
    for i, (k, v) in enumerate(cache):
        room = k.new_zeros(b, k.shape[1], max_new_tokens, k.shape[3])
        parts = [(k, v), (room, room)]
        if prefix is not None:
            repeat = b // len(prefix.keys[i])
            far = (prefix.keys[i], prefix.values[i])
            parts.insert(
                0, (far[0].repeat_interleave(repeat, 0), far[1].repeat_interleave(repeat, 0))
            )
        keys.append(torch.cat([part[0] for part in parts], 2))
        values.append(torch.cat([part[1] for part in parts], 2))

    out: list[list[int]] = [[] for _ in prompts]
    done = [False] * b
    missing = [0] * b
    for step in range(max_new_tokens):
        tokens = lm.characters.choose_each(logits, missing)
        missing = list(map(lm.characters.missing, missing, tokens))
        for i, chosen in enumerate(tokens):
            done[i] = done[i] or chosen == lm.eos_id or chosen in stop
            if not done[i]:
                out[i].append(chosen)
        if all(done) or step == max_new_tokens - 1:
            break
        place = s + t + step
        bias[:, place] = 0.0
        token = torch.tensor(tokens, device=lm.device)
        hidden = _step(lm, token, places + step, keys, values, bias[:, : place + 1], place)
        logits = lm.logits(hidden)
    return out


def _step(
    lm: BaseLM,
    token: Tensor,
    positions: Tensor,
    keys: list[Tensor],
    values: list[Tensor],
    bias: Tensor,
    place: int,
) -> Tensor:
    """Hidden states [B, hidden size] of one more token [B] each, written at `place`."""
    x = lm.architecture.embed(token[:, None], positions[:, None])
    rotary = lm.architecture.rotary(x, positions[:, None])
    for i, parts in enumerate(lm.parts):
        q, k, v = lm.project(parts, x)
        angles = rotary[parts.kind]
        keys[i][:, :, place : place + 1] = rotate(k, angles)
        values[i][:, :, place : place + 1] = v
        y = F.scaled_dot_product_attention(
            rotate(q, angles),
            keys[i][:, :, : place + 1],
            values[i][:, :, : place + 1],
            attn_mask=bias[:, None, None],
            scale=parts.scaling,
            enable_gqa=True,
        )
        x = lm.feed_forward(parts, x, y)
    return lm.architecture.norm(x)[:, 0]
