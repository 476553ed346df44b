"""Low-rank adapters (LoRA, arXiv 2106.09685) on the linear layers of the base LM, by `peft`.

The rivals of `mac` are made of them: the QA-tuned base that online fine-tuning starts from
(arXiv 2403.04317, section 4), and text in the prompt read with as many trained parameters as `mac`
has. A folder holds the two files of `peft` and, in a third, what an adapter was trained for.
"""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from models.base.lm import BaseLM
from models.base.lora import linear_layers, sizes, transposed
from models.errors import CheckpointError, ModelError, optional
from models.files import replace_file
from models.memory.card import repository
from models.memory.stack import Stack

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The files of `peft`."""
NOTES = "mac.json"
"""The file with the `AdapterConfig`, which `peft` does not read."""
EXTRA = "rivals"
_HINT = "train one with `mac train-rival`"
Task = Literal["closed-book", "text"]


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What an adapter is and how it was trained.

    Attributes:
        base_lm: the base LM that it was trained on: a pinned name, a Hub id or a folder.
        base_sha256: of its weights; None where it is not known, as in an adapter made elsewhere.
        rank: the rank of the matrices.
        alpha: their product is scaled by alpha / rank.
        task: what stood in front of the question in training; None where it is not known.
        chunk_tokens: the longest piece of a document that it was trained on.
        training: the settings and figures of the run.
    """

    base_lm: str
    base_sha256: str | None
    rank: int
    alpha: float
    task: Task | None = None
    chunk_tokens: int = 192
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise CheckpointError(f"an adapter's rank must be at least 1, not {self.rank}")


class Adapter(Stack[AdapterConfig]):
    """A base LM with low-rank matrices beside its linear layers; an untrained one changes nothing.

    Args:
        config: names the base LM; rank and scale of a new adapter.
        lm: the base LM, which stays as it is.
        settings: peft's `LoraConfig`; None: all linear layers, as `config` says.
        seed: random seed of the first matrices.

    Attributes:
        lm: the base LM with the adapter. It shares the weights of the one that was given.
        model: the same as peft's `PeftModel`.
        weights: the adapter's parameters.

    Raises:
        MissingPackageError: peft is not installed.
        ValueError: the settings name no layer of the base LM.
    """

    lm: BaseLM
    model: Any

    def __init__(
        self, config: AdapterConfig, lm: BaseLM, settings: Any = None, seed: int = 0
    ) -> None:
        super().__init__()
        peft = optional("peft", EXTRA)
        self.config = config
        settings = settings or peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            target_modules="all-linear",
            fan_in_fan_out=any(map(transposed, linear_layers(lm).values())),
            task_type="CAUSAL_LM",
        )
        settings.base_model_name_or_path = None  # peft takes it from the model's path
        shared = {id(t): t for t in chain(lm.full_model.parameters(), lm.full_model.buffers())}
        with torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(seed)
            model = peft.get_peft_model(copy.deepcopy(lm.full_model, shared), settings)
        settings.base_model_name_or_path = repository(config.base_lm)
        # No submodules of this one: the base LM's weights are neither trained nor saved.
        self.__dict__["model"] = model
        self.__dict__["lm"] = BaseLM(model.get_base_model(), lm.tokenizer)
        self.weights = nn.ParameterList(
            weight for name, weight in model.named_parameters() if ".lora_" in name
        ).requires_grad_(not settings.inference_mode)

    def save(self, folder: Path) -> None:
        """Write the folder that `load` and `peft` read; each file is replaced as a whole."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            self.model.save_pretrained(temporary, save_embedding_layers=False)
            notes = json.dumps(asdict(self.config), indent=2) + "\n"
            (Path(temporary) / NOTES).write_text(notes, encoding="utf-8")
            for name in (WEIGHTS, CONFIG, NOTES):
                replace_file(folder / name, (Path(temporary) / name).read_bytes())


def rank_for(parameters: int, lm: BaseLM) -> int:
    """Return the rank that gives an adapter about `parameters` trained numbers."""
    return max(1, round(parameters / sum(sum(sizes(m)) for m in linear_layers(lm).values())))


def read_config(folder: Path) -> AdapterConfig:
    """Read what an adapter is, one of ours or of `peft`, without its weights.

    Raises:
        CheckpointError: a file is missing or damaged, or it is no LoRA.
    """
    settings = _read(folder / CONFIG)
    notes = _read(folder / NOTES) if (folder / NOTES).exists() else {}
    if settings.get("peft_type") != "LORA":
        kind = settings.get("peft_type")
        raise CheckpointError(f"{folder / CONFIG}: peft_type = {kind!r} is not supported", _HINT)
    known = {"base_lm": str(settings.get("base_model_name_or_path")), "base_sha256": None, **notes}
    try:
        rank, alpha = int(settings["r"]), float(settings["lora_alpha"])
        return AdapterConfig(**known | {"rank": rank, "alpha": alpha})
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"no adapter can be read in {folder}: {error!r}", _HINT) from error


def load(folder: Path, lm: BaseLM) -> Adapter:
    """Load an adapter, one of ours or of `peft`, onto its base LM; it is not trained further.

    Raises:
        CheckpointError: a file is missing or damaged, it is no LoRA, or it is for another base LM.
        MissingPackageError: peft is not installed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_config(folder)
    peft = optional("peft", EXTRA)
    try:
        settings = peft.LoraConfig.from_pretrained(str(folder))
        settings.inference_mode = True
        tensors = load_file(folder / WEIGHTS)
        adapter = Adapter(config, lm, settings)
        result = peft.set_peft_model_state_dict(adapter.model, tensors)
    except (OSError, SafetensorError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().replace("\n", " ")  # which tensor, a second line says
        raise CheckpointError(f"no adapter can be read in {folder}: {reason}", _HINT) from error
    missing = [name for name in result.missing_keys if ".lora_" in name]
    if odd := [*missing, *result.unexpected_keys]:
        raise CheckpointError(f"{folder / WEIGHTS} is no LoRA adapter: tensor {odd[0]}", _HINT)
    return adapter


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}", _HINT) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} does not hold a JSON object", _HINT)
    return content


@torch.no_grad()
def merged(lm: BaseLM, adapter: Adapter | None, dtype: torch.dtype | None = None) -> BaseLM:
    """Return a copy of a base LM with the adapter added to its weights; both stay as they are.

    Args:
        lm: the base LM.
        adapter: an adapter of this base LM; None only copies.
        dtype: type of the copy; by default the base LM's. The sums are computed in float32.

    Raises:
        ModelError: the base LM's weights are in 4 bits.
    """
    if getattr(lm.model, "is_quantized", False):
        raise ModelError("the weights of a base model in 4 bits cannot be fine-tuned")
    if adapter is None:
        model = copy.deepcopy(lm.model)
    else:
        model = _cast(copy.deepcopy(adapter.model), torch.float32).merge_and_unload()
    return BaseLM(_cast(model, dtype or lm.dtype), lm.tokenizer)


def _cast(model: Any, dtype: torch.dtype) -> Any:
    """Change the type of the weights only: a rotary embedding's frequencies stay exact."""
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide a warning about a name that peft asks transformers for and that is deprecated there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield
