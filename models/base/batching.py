"""Batches of similar length, batches without padding, and layers that are computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def batch_tokens(device: torch.device) -> int:
    """Return how many tokens, padding included, to run at a time when no gradient is needed.

    A CPU is a quarter faster when a layer's activations stay in its caches and padding is scarce.
    """
    return 512 if device.type == "cpu" else 4096


def length_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Yield indices of rows of similar length, at most `max_tokens` tokens with padding."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * lengths[i] > max_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


APPLIED: ContextVar[tuple[AbstractContextManager[Any], ...]] = ContextVar("APPLIED", default=())
"""Contexts that change what layers do now, such as `models.base.lora.AppliedLora`. Where a backward
pass runs a layer again, they are entered again, since they may have ended by then."""


@contextmanager
def _again(contexts: Sequence[AbstractContextManager[Any]]) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def run_layers(
    run: Callable[[int, Tensor], Tensor], layers: int, x: Tensor, *, recompute: bool
) -> Tensor:
    """Return what comes out of a network's layers, one after the other.

    Args:
        run: runs a layer, given its number and what goes in; draws nothing at random.
        layers: how many.
        x: what goes into the first.
        recompute: keep for the backward pass only what goes into each layer, and compute the rest
            again there (gradient checkpointing, arXiv 1604.06174).
    """
    contexts = APPLIED.get()
    for i in range(layers):
        if recompute and torch.is_grad_enabled():
            x = checkpoint(
                run,
                i,
                x,
                use_reentrant=False,
                preserve_rng_state=False,
                context_fn=lambda: (nullcontext(), _again(contexts)),
            )
        else:
            x = run(i, x)
    return x


class Packing:
    """Takes the padding out of a batch of B sequences of T tokens, and puts it back.

    Args:
        real: bool [B, T], which tokens are not padding; M of them.
    """

    def __init__(self, real: Tensor) -> None:
        self._shape = real.shape
        self._places = real.flatten().nonzero()[:, 0]

    def pack(self, x: Tensor) -> Tensor:
        """Return [1, M, ...] of x [B, T, ...]."""
        return x.flatten(0, 1)[self._places][None]

    def unpack(self, x: Tensor) -> Tensor:
        """Return [B, T, ...] of x [1, M, ...], with zeros as padding."""
        out = x.new_zeros(self._shape.numel(), *x.shape[2:])
        out = out.index_copy(0, self._places, x[0])
        return out.view(*self._shape, *x.shape[2:])
