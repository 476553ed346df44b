"""Checkpoints on disk: config.json, model.safetensors, README.md (a model card). Never pickle.

The base LM is not inside: config.json names it, by content hash where it is the pinned one. torch
is imported only when weights are read or written, so a fingerprint costs no start-up.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from models.base.encoder_rules import EncoderRules, rules_of
from models.errors import CheckpointError
from models.files import file_sha256, replace_file

if TYPE_CHECKING:
    from torch import Tensor

    from models.memory.protocol import TrainedConfig

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
SHIPPED = Path(__file__).parents[1] / "checkpoints"
DEFAULT = "smollm2-135m"

Config = TypeVar("Config", bound="TrainedConfig")


def ls() -> list[Path]:
    """Return the folders of the bundled checkpoints, by name."""
    return sorted(path.parent for path in SHIPPED.glob(f"*/{CONFIG}"))


def find(name: str | Path) -> Path:
    """Return the folder of a checkpoint: a bundled one by its name, or any by its path.

    Raises:
        CheckpointError: there is none of that name.
    """
    for path in (SHIPPED / name, Path(os.path.expanduser(name))):
        if (path / CONFIG).is_file():
            return path
    raise CheckpointError(
        f"no checkpoint {str(name)!r}: neither a bundled one nor a folder with a {CONFIG}",
        hint=f"bundled: {', '.join(path.name for path in ls()) or 'none'}; train one with "
        "`mac train`",
    )


def read_config(path: Path) -> dict[str, Any]:
    """Return the config.json of a checkpoint as it was written.

    Raises:
        CheckpointError: it cannot be read or is not a JSON object.
    """
    try:
        config = json.loads((path / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path / CONFIG}: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path / CONFIG} does not hold a JSON object")
    return config


def checked_config(path: Path, kind: type[Config]) -> Config:
    """Return the config.json of a checkpoint as a dataclass, which checks its values.

    Raises:
        CheckpointError: a value is missing, unknown or out of range.
    """
    raw = read_config(path)
    if unknown := sorted(set(raw) - {field.name for field in fields(kind)}):
        raise CheckpointError(
            f"{path / CONFIG} has settings this version does not know: {', '.join(unknown)}",
            hint="update mac, or use the version that trained it",
        )
    try:
        return kind(**raw)
    except TypeError as error:
        raise CheckpointError(f"{path / CONFIG} is incomplete: {error}") from error


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write config.json of a checkpoint, which is never half written."""
    replace_file(path / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def fingerprint(path: Path) -> str:
    """Return a hash over config and weights, 16 hex digits: other modulations, other fingerprint.

    Settings that change no modulation are left out: those of training, and those that only
    answering uses. So are a base LM's quantization where it has none, and an encoder's rules where
    they are those of a config without any.

    Raises:
        CheckpointError: a file of the checkpoint is missing, or the encoder's rules are not known.
    """
    config = read_config(path)
    relevant = {k: v for k, v in config.items() if k not in ANSWERING}
    for name in ("base_quantization", "compact"):
        if not relevant.get(name):
            relevant.pop(name, None)
    if rules_of(relevant.get("encoder_rules", {})) == EncoderRules():
        relevant.pop("encoder_rules", None)
    digest = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode())
    try:
        digest.update(bytes.fromhex(file_sha256(path / WEIGHTS)))
    except OSError as error:
        raise CheckpointError(f"cannot read {path / WEIGHTS}: {error}") from error
    return digest.hexdigest()[:16]


ANSWERING = frozenset(
    {
        "training",
        "documents",
        "group",
        "lexical_weight",
        "likelihood_weight",
        "coverage_weight",
        "abstain_below",
        "confidence",
        "judge",
        "judge_weight",
        "judge_prior",
        "judge_confidence",
    }
)
"""Settings of config.json that change no modulation, and so no fingerprint."""


def load(path: Path, expected: Mapping[str, Tensor], int8: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, float32, on the CPU.

    Args:
        path: the checkpoint's folder.
        expected: tensors of the names and shapes that it must have.
        int8: see `models.memory.stack.MemoryStack`.

    Raises:
        CheckpointError: the file is missing or damaged, or a tensor is missing or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = path / WEIGHTS
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{file} is missing or damaged: {error}", hint="copy the checkpoint again"
        ) from error
    tensors = _unpacked(tensors, int8, file)
    for name in sorted(set(expected) | set(tensors)):
        if name not in tensors or name not in expected:
            where = "missing from" if name not in tensors else "not expected in"
            raise CheckpointError(f"the tensor {name} is {where} {file}")
        if tensors[name].shape != expected[name].shape:
            raise CheckpointError(
                f"the tensor {name} in {file} has the shape "
                f"{tuple(tensors[name].shape)}, but {CONFIG} says {tuple(expected[name].shape)}"
            )
    return tensors


def save(
    path: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    card: str,
    int8: Mapping[str, int],
) -> None:
    """Write a checkpoint; each file is replaced as a whole.

    Args:
        path: the folder, made when missing.
        config: what goes into config.json.
        tensors: the networks' weights by name; written as float16.
        card: the text of the model card.
        int8: see `models.memory.stack.MemoryStack`; these tensors are written as int8.
    """
    from safetensors.torch import save as to_bytes

    path.mkdir(parents=True, exist_ok=True)
    packed = _packed({name: t.detach().cpu() for name, t in tensors.items()}, int8)
    replace_file(path / WEIGHTS, to_bytes(packed, {"format": "pt"}))
    write_config(path, config)
    replace_file(path / CARD, card.encode())


_SCALE = "_scale"


def _packed(tensors: Mapping[str, Tensor], int8: Mapping[str, int]) -> dict[str, Tensor]:
    """Return what a file holds: int8 with float32 scales along an axis, or float16."""
    out = {}
    for name, tensor in tensors.items():
        if name in int8:
            scale = tensor.abs().amax(int8[name], keepdim=True).clamp_min(1e-12) / 127
            out[name] = (tensor / scale).round().char().contiguous()
            out[name + _SCALE] = scale
        else:
            out[name] = tensor.half().contiguous()
    return out


def _unpacked(
    tensors: Mapping[str, Tensor], int8: Mapping[str, int], file: Path
) -> dict[str, Tensor]:
    """Return the inverse of `_packed`, float32; a tensor of floating point needs no scale."""
    out = {name: tensor.float() for name, tensor in tensors.items()}
    for name, axis in int8.items():
        if name in tensors and not tensors[name].is_floating_point():
            scale = out.pop(name + _SCALE, None)
            if scale is None or scale.shape != tensors[name].amax(axis, keepdim=True).shape:
                raise CheckpointError(f"the tensor {name}{_SCALE} is missing from {file}")
            out[name] *= scale
    return out
