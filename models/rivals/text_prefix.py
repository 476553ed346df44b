"""The strongest prompt-based rival: text in the prompt behind trained constant prefix tokens.

P-tuning v2 (arXiv 2110.07602) with as many constant tokens as the `latent` stack has, trained on
the same questions, and the texts of the retrieved documents in the prompt.

Letters: P constant prefix tokens, X the numbers one token leaves behind in all layers.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.base.lm import BaseLM, Prefix
from models.errors import CheckpointError
from models.latent.memory import LatentMemory
from models.latent.networks import LatentStack

TENSOR = "constant"
"""The name of the one tensor, float32 [P, X], in a file of trained constant tokens."""


def constant_prefix(stack: LatentStack, lm: BaseLM) -> Prefix:
    """The constant prefix tokens alone, as a prefix of one group."""
    none = torch.empty(1, 0, dtype=torch.long, device=lm.device)
    latents = torch.empty(1, 0, stack.config.latent_size, device=lm.device)
    return stack.prefix(lm, latents, none, none, torch.zeros(1, 1, device=lm.device))


def load(path: Path, memory: LatentMemory) -> Prefix:
    """The prefix of trained constant tokens from a file.

    Raises:
        CheckpointError: the file cannot be read, or was trained for other sizes.
    """
    hint = "train one with `python -m benchmarks.text_prefix`"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: no constant prefix tokens ({error})", hint) from error
    stack = LatentStack(memory.config)
    stack.load_state_dict(memory.stack.state_dict())
    wanted = stack.head.constant.data
    trained = tensors.get(TENSOR)
    if trained is None or trained.shape != wanted.shape:
        found = "nothing" if trained is None else str(list(trained.shape))
        raise CheckpointError(f"{path}: {TENSOR} must be {list(wanted.shape)}, found {found}", hint)
    wanted.copy_(trained)
    with torch.no_grad():
        return constant_prefix(stack.to(memory.lm.device), memory.lm)
