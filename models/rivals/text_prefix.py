"""The strongest prompt-based rival: text in the prompt after trained constant prefix tokens.

This is P-tuning v2 (arXiv 2110.07602) with as many constant tokens as the `latent` stack has,
trained on the same questions, with the texts of the retrieved documents in the prompt.

Letters: P constant prefix tokens, X the size of a token's keys and values in all layers.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.base.lm import Prefix
from models.errors import CheckpointError
from models.latent.memory import LatentMemory
from models.latent.networks import LatentStack

TENSOR = "constant"
"""The name of the only tensor, float32 [P, X], in a file of trained constant tokens."""


def load(path: Path, memory: LatentMemory) -> Prefix:
    """Return the prefix of trained constant tokens from a file.

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
        shape = "nothing" if trained is None else str(list(trained.shape))
        raise CheckpointError(f"{path}: {TENSOR} must be {list(wanted.shape)}, not {shape}", hint)
    wanted.copy_(trained)
    with torch.no_grad():
        return stack.to(memory.lm.device).constant_prefix(memory.lm)
