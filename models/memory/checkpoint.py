"""Checkpoints on disk: config.json, model.safetensors, README.md (a model card). Never pickle.

The base LM is never inside: config.json names it, by content hash where it is the pinned one.
Nothing here imports torch until weights are read, so a fingerprint costs no start-up.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from models.latent.networks import LatentConfig, LatentStack
    from models.memory.stack import Stack
    from models.paper.config import PaperConfig
    from models.paper.stack import PaperStack

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
SHIPPED = Path(__file__).parents[1] / "checkpoints"
DEFAULT = "smollm2-135m"


def find(name: str | Path) -> Path:
    """The folder of a checkpoint: a name of one in the box, or a path.

    Raises:
        CheckpointError: there is none of that name.
    """
    for path in (SHIPPED / name, Path(name)):
        if (path / CONFIG).is_file():
            return path
    shipped = sorted(p.name for p in SHIPPED.glob("*") if (p / CONFIG).is_file())
    raise CheckpointError(
        f"no checkpoint {str(name)!r}: neither one in the box nor a folder with a {CONFIG}",
        hint=f"in the box: {', '.join(shipped) or 'none'}; train one with `mac train`",
    )


def read_config(path: Path) -> dict[str, Any]:
    """The config.json of a checkpoint, as written.

    Raises:
        CheckpointError: it cannot be read or is no JSON object.
    """
    try:
        config = json.loads((path / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path / CONFIG}: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path / CONFIG} does not hold a JSON object")
    return config


def fingerprint(path: Path) -> str:
    """Hash over config and weights, 16 hex digits: other modulations, other fingerprint.

    What a config says of its training, and thresholds that only answering uses, are left out: they
    change no modulation. So is a base LM's quantization where it has none, as in configs that were
    written before there was any.

    Raises:
        CheckpointError: a file of the checkpoint is missing.
    """
    config = read_config(path)
    relevant = {k: v for k, v in config.items() if k not in _ANSWERING}
    if relevant.get("base_quantization") is None:
        relevant.pop("base_quantization", None)
    digest = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode())
    try:
        with (path / WEIGHTS).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise CheckpointError(f"cannot read {path / WEIGHTS}: {error}") from error
    return digest.hexdigest()[:16]


_ANSWERING = frozenset(
    {
        "training",
        "documents",
        "group",
        "lexical_weight",
        "likelihood_weight",
        "coverage_weight",
        "abstain_below",
    }
)


def config_of(path: Path) -> LatentConfig | PaperConfig:
    """The checked config of a checkpoint.

    Raises:
        CheckpointError: a value is missing, unknown or out of range.
    """
    from models.latent.networks import LatentConfig
    from models.paper.config import PaperConfig

    raw = read_config(path)
    kind: type[LatentConfig | PaperConfig] = LatentConfig
    if raw.get("stack") == "paper":
        kind = PaperConfig
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(raw) - known):
        raise CheckpointError(
            f"{path / CONFIG} has settings this version does not know: {', '.join(unknown)}",
            hint="update mac, or use the version that trained it",
        )
    try:
        return kind(**raw)
    except TypeError as error:
        raise CheckpointError(f"{path / CONFIG} is incomplete: {error}") from error


def load(path: Path) -> LatentStack | PaperStack:
    """The networks of a checkpoint, float32, on the CPU.

    Raises:
        CheckpointError: a file is missing or damaged, or a tensor has another shape than
            config.json says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from models.latent.networks import LatentConfig, LatentStack

    config = config_of(path)
    stack: LatentStack | PaperStack
    if isinstance(config, LatentConfig):
        stack = LatentStack(config)
    else:
        from models.paper.stack import PaperStack

        stack = PaperStack(config)
    try:
        tensors = load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path / WEIGHTS} is missing or damaged: {error}", hint="copy the checkpoint again"
        ) from error
    tensors = _unpacked(tensors, path / WEIGHTS)
    expected = stack.state_dict()
    for name in sorted(set(expected) | set(tensors)):
        if name not in tensors or name not in expected:
            where = "missing from" if name not in tensors else "not expected in"
            raise CheckpointError(f"the tensor {name} is {where} {path / WEIGHTS}")
        if tensors[name].shape != expected[name].shape:
            raise CheckpointError(
                f"the tensor {name} in {path / WEIGHTS} has the shape "
                f"{tuple(tensors[name].shape)}, but {CONFIG} says {tuple(expected[name].shape)}"
            )
    stack.load_state_dict(tensors)
    return stack


def save(stack: Stack[Any], path: Path, card: str) -> None:
    """Write a checkpoint, the two projections of `latent` as int8, the rest as float16.

    Each file is replaced whole.

    Args:
        stack: the networks and their config.
        path: the folder, made when missing.
        card: the text of the model card.
    """
    from safetensors.torch import save as to_bytes

    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu() for name, t in stack.state_dict().items()}
    replace(path / WEIGHTS, to_bytes(_packed(tensors), {"format": "pt"}))
    replace(path / CONFIG, (json.dumps(stack.config.as_dict(), indent=2) + "\n").encode())
    replace(path / CARD, card.encode())


_PROJECTIONS = {"amortizer.weight": 1, "head.weight": 0}
"""The two large matrices, and the axis of each along which its R latents lie."""
_SCALE = "_scale"


def _packed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a file holds: projections as int8 with a float32 scale a feature, the rest float16."""
    out = {}
    for name, tensor in tensors.items():
        if name in _PROJECTIONS:
            scale = tensor.abs().amax(_PROJECTIONS[name], keepdim=True).clamp_min(1e-12) / 127
            out[name] = (tensor / scale).round().char().contiguous()
            out[name + _SCALE] = scale
        else:
            out[name] = tensor.half().contiguous()
    return out


def _unpacked(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The inverse of `_packed`, float32; a projection that is no int8 needs no scale."""
    out = {name: tensor.float() for name, tensor in tensors.items()}
    for name, axis in _PROJECTIONS.items():
        if name in tensors and not tensors[name].is_floating_point():
            scale = out.pop(name + _SCALE, None)
            if scale is None or scale.shape != tensors[name].amax(axis, keepdim=True).shape:
                raise CheckpointError(f"the tensor {name}{_SCALE} is missing from {path}")
            out[name] *= scale
    return out


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
