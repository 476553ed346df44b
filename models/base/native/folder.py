"""Reads a network out of a folder as transformers writes it: `config.json`, `model.safetensors`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from models.files import remove_abandoned, replace_file

CONFIG, WEIGHTS = "config.json", "model.safetensors"
BFLOAT16_WEIGHTS = "bfloat16.safetensors"

Network = TypeVar("Network", bound=nn.Module)


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if there is none or it cannot be read."""
    try:
        known = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def read_config(folder: Path) -> SimpleNamespace:
    """Return what `config.json` says."""
    return SimpleNamespace(**read_json(folder / CONFIG))


def embedding(count: int, size: int) -> nn.Embedding:
    """Return an embedding whose weights are to be read: drawing them imports torch's compiler."""
    made: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(count, size), freeze=False)
    return made


def derived(
    folder: Path, name: str, version: str, make: Callable[[Any], dict[str, Tensor]]
) -> Path | None:
    """Return a file of tensors that are computed from a folder's weights, and kept beside them.

    It is written the first time, and anew if the weights or the version change.

    Args:
        folder: where the weights are.
        name: of the file.
        version: of what is computed.
        make: computes it, given the open file of the weights.

    Returns:
        The file; None if it cannot be written, or the weights cannot be read.
    """
    file = folder / name
    remove_abandoned(file)  # hundreds of megabytes
    try:
        status = (folder / WEIGHTS).stat()
        made_for = json.dumps([version, status.st_size, status.st_mtime_ns])
        if _made_for(file) != made_for:
            if not os.access(folder, os.W_OK):
                return None  # before it is computed, which takes seconds
            from safetensors.torch import save

            with safe_open(folder / WEIGHTS, "pt") as stored:
                tensors = make(stored)
            replace_file(file, save(tensors, {"made_for": made_for}))
    except (OSError, SafetensorError):
        return None
    return file


def _made_for(file: Path) -> str | None:
    try:
        with safe_open(file, "pt") as stored:
            return (stored.metadata() or {}).get("made_for")
    except (OSError, SafetensorError):
        return None


def _in_bfloat16(stored: Any) -> dict[str, Tensor]:
    names = set(stored.keys())
    return {name: stored.get_tensor(name).to(torch.bfloat16) for name in names}


def read_network(
    make: Callable[[], Network],
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    *,
    keep: bool = False,
) -> Network | None:
    """Return a network with the folder's weights, or None if they are not all there.

    Weights on the CPU that have the right type already stay in the file, which is mapped into
    memory and read where it is needed.

    Args:
        make: makes the network.
        folder: where its weights are.
        dtype: what they become.
        device: where they go.
        keep: write bfloat16 weights beside others, so that they need not be converted each time.
    """
    with torch.device("meta"):  # neither allocated nor initialised
        network = make()
    file = folder / WEIGHTS
    if keep and dtype == torch.bfloat16 and device.type == "cpu":
        file = derived(folder, BFLOAT16_WEIGHTS, "1", _in_bfloat16) or file
    weights: dict[str, Tensor] = {}
    try:
        stored: Any = safe_open(file, "pt")
        names = set(stored.keys())
        for name, empty in network.state_dict().items():
            if name not in names:
                return None
            tensor = stored.get_tensor(name)
            if tensor.shape != empty.shape:
                return None
            weights[name] = tensor.to(device, dtype)
            if weights[name] is not tensor:
                # Opened anew: of a file that is open, all that was read stays in memory.
                del tensor
                stored = safe_open(file, "pt")
    except (OSError, SafetensorError):
        return None
    network.load_state_dict(weights, assign=True)
    return network
