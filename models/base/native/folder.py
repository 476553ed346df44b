"""Reads a network out of a folder as transformers writes it: `config.json`, `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

CONFIG, WEIGHTS = "config.json", "model.safetensors"

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


def read_network(
    make: Callable[[], Network], folder: Path, dtype: torch.dtype, device: torch.device
) -> Network | None:
    """Return a network with the folder's weights, or None if they are not all there.

    Weights on the CPU that have the right type already stay in the file, which is mapped into
    memory and read where it is needed.

    Args:
        make: makes the network.
        folder: where its weights are.
        dtype: what they become.
        device: where they go.
    """
    with torch.device("meta"):  # neither allocated nor initialised
        network = make()
    file = folder / WEIGHTS
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
