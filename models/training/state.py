"""The state of a training run that is resumed: weights, optimiser moments, the step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import CheckpointError
from models.files import replace_file

FILE = "training-state.safetensors"


def save(
    folder: Path, stack: nn.Module, optimiser: torch.optim.Optimizer, run: dict[str, Any]
) -> None:
    """Write the state; a crash leaves either the old one or the new one.

    Args:
        folder: the folder of the checkpoint.
        stack: the networks.
        optimiser: the optimiser of the networks' parameters.
        run: settings and counters, which JSON can hold.
    """
    from safetensors.torch import save as to_bytes

    names = {id(parameter): name for name, parameter in stack.named_parameters()}
    state: dict[str, Tensor] = {f"model.{name}": t for name, t in stack.state_dict().items()}
    for parameter, moments in optimiser.state.items():
        for key, value in moments.items():
            state[f"optimiser.{names[id(parameter)]}.{key}"] = torch.as_tensor(value)
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    replace_file(folder / FILE, to_bytes(tensors, {"run": json.dumps(run)}))


def load(folder: Path, stack: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Load the state into networks and optimiser, and return `run` as it was saved.

    Raises:
        CheckpointError: there is no state, it is damaged, or its networks have another shape.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    if not path.exists():
        raise CheckpointError(
            f"nothing to resume in {folder}: there is no {FILE}", hint="leave out --resume"
        )
    try:
        with safe_open(path, "pt") as stored:
            run: dict[str, Any] = json.loads(stored.metadata()["run"])
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        stack.load_state_dict(_below(state, "model."))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not fit this run: {error}", hint="train into another folder"
        ) from error
    for name, parameter in stack.named_parameters():
        moments = _below(state, f"optimiser.{name}.")
        if moments:
            optimiser.state[parameter] = {
                key: t if key == "step" else t.to(parameter.device) for key, t in moments.items()
            }
    return run


def _below(state: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
