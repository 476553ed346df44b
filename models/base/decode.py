"""Greedy decoding after a prefix, for one question or many at once.

Letters: B sequences, T tokens of a prompt, S prefix tokens.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import torch
from torch import Tensor

from models.base.lm import BaseLM, Prefix


@torch.inference_mode()
def decode_stream(
    lm: BaseLM,
    prompt: Sequence[int],
    prefix: Prefix | None,
    max_new_tokens: int,
    watch: Tensor | None = None,
    surprise: list[float] | None = None,
) -> Iterator[int]:
    """Yield the most likely continuation token by token, without its end-of-sequence token.

    Args:
        lm: the base LM.
        prompt: T token ids, at least one.
        prefix: of one group and one sequence, or none.
        max_new_tokens: the most tokens; fewer where the base LM's positions end before.
        watch: [1, S], grows by the attention that the tokens which chose the answer paid to each
            prefix token, summed over layers and heads.
        surprise: gets -log p of each token, in nats, that of the end of the sequence included.

    Raises:
        ModelError: prefix and prompt alone take more positions than there are.
    """
    for (token,) in _steps(lm, [prompt], prefix, max_new_tokens, watch, surprise):
        if token == lm.eos_id:
            return
        yield token


@torch.inference_mode()
def generate_batch(
    lm: BaseLM,
    prompts: Sequence[Sequence[int]],
    prefix: Prefix | None,
    max_new_tokens: int,
    *,
    stop: Container[int] = (),
) -> list[list[int]]:
    """Return the most likely continuation of each prompt, up to its end-of-sequence token.

    Args:
        lm: the base LM.
        prompts: token ids of B prompts, each of at least one token.
        prefix: of B groups of one sequence each, or one group of B.
        max_new_tokens: the most tokens; fewer where the base LM's positions end before.
        stop: further tokens that end a continuation, and are left out.

    Raises:
        ModelError: prefix and prompt alone take more positions than there are.
    """
    out: list[list[int]] = [[] for _ in prompts]
    done = [False] * len(prompts)
    for tokens in _steps(lm, prompts, prefix, max_new_tokens):
        for i, token in enumerate(tokens):
            done[i] = done[i] or token == lm.eos_id or token in stop
            if not done[i]:
                out[i].append(token)
        if all(done):
            break
    return out


def _steps(
    lm: BaseLM,
    prompts: Sequence[Sequence[int]],
    prefix: Prefix | None,
    max_new_tokens: int,
    watch: Tensor | None = None,
    surprise: list[float] | None = None,
) -> Iterator[list[int]]:
    """Yield for each step the token of each of B sequences; `surprise` is for the first of them."""
    ids = lm.pad(prompts)
    b, t = ids.shape
    start = int(prefix.length.max()) if prefix is not None else 0
    max_new_tokens = lm.architecture.context_left(start + t, max_new_tokens)
    if max_new_tokens < 1:
        return
    lengths = torch.tensor([len(p) for p in prompts], device=lm.device)
    cache = lm.new_cache(prefix, b, t + max_new_tokens - 1)
    hidden = lm.forward(ids, cache=cache, watch=watch)[torch.arange(b), lengths - 1]
    if b > 1:
        cache.hide_padding(lengths)
    missing = [0] * b
    for step in range(max_new_tokens):
        logits = lm.logits(hidden)
        tokens = lm.characters.choose_each(logits, missing)
        if surprise is not None:
            surprise.append(-float(logits[0].float().log_softmax(-1)[tokens[0]]))
        yield tokens
        if step == max_new_tokens - 1:
            return
        missing = list(map(lm.characters.missing, missing, tokens))
        ids = torch.tensor(tokens, device=lm.device)[:, None]
        hidden = lm.forward(ids, cache=cache, watch=watch)[:, 0]
