"""The modulation of one answer as an adapter that the `peft` library loads onto the base LM.

Nothing is approximated: what peft's kind of adapter cannot express is refused. Tests load every
kind with `peft` itself and compare.

Letters: V virtual tokens, L layers, H key/value heads, C head size, r rank, I inputs and O outputs
of a projection.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.base.lm import BaseLM, Prefix
from models.base.lora import AppliedLora, transposed
from models.errors import ModelError, UnsupportedModelError, optional
from models.memory.answering import Answerer
from models.memory.card import repository
from models.memory.modulation import Selected

_WHOLE = 1e-6
"""How far from a whole number a weight may be, for rounding; a document of less is left out."""
Adapter = tuple[Any, dict[str, Tensor]]
"""The config of an adapter, one of peft's classes, and its tensors by peft's names."""


@torch.no_grad()
def export_adapter(
    model: Answerer, question: str, selected: Sequence[Selected], folder: Path
) -> None:
    """Write the modulation that answers a question as a folder that `peft` loads, with a README.md.

    Args:
        model: a loaded checkpoint.
        question: what the documents are aggregated for.
        selected: the documents.
        folder: a new folder, or an empty one.

    Raises:
        MissingPackageError: peft is not installed.
        ModelError: an adapter cannot express this modulation.
        UnsupportedModelError: an adapter cannot express it in the layers of this base LM.
        OSError: the folder cannot be written, or is not empty.
    """
    applied = model.applied(question, [selected])
    if isinstance(applied, AppliedLora):
        config, tensors = _low_rank(model.lm, applied)
    else:
        with applied as prefix:
            if prefix is None:
                raise ModelError("the base LM's own answer has no modulation")
            config, tensors = _prefix(model.lm, prefix)
    config.base_model_name_or_path = repository(model.config.base_lm)
    config.task_type, config.inference_mode = "CAUSAL_LM", True
    card = _card(question, model.prompt(question), model.config.base_lm)
    _write(folder, config, tensors, card)


def _write(folder: Path, config: Any, tensors: dict[str, Tensor], card: str) -> None:
    """Write the folder of an adapter, which appears as a whole or not at all."""
    folder = Path(os.path.abspath(folder))  # "." has neither a name nor a parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder and then renamed, which fails if that one is not empty.
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        draft = work / folder.name  # unlike `work`, with the permissions of the user's folders
        draft.mkdir()
        config.save_pretrained(str(draft))
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
            draft / optional("peft.utils", "rivals").SAFETENSORS_WEIGHTS_NAME,
            {"format": "pt"},
        )
        (draft / "README.md").write_text(card, encoding="utf-8")
        os.replace(draft, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _card(question: str, ids: Sequence[int], base_name: str) -> str:
    """Return the README.md of an adapter: what it is, and how to ask its base LM.

    Args:
        question: what the modulation was aggregated for.
        ids: token ids that the base LM reads under it.
        base_name: a pinned name, a Hub id or a folder.
    """
    base = repository(base_name)
    pinned = (
        f"\n`mac model path {base_name}` prints the folder with exactly the weights that mac uses; "
        "those on the Hub differ a little.\n"
    )
    return f"""\
---
library_name: peft
base_model: {base}
pipeline_tag: text-generation
---

# The modulation that answers: {" ".join(question.split())}

Exported by `mac` (arXiv 2403.04317) for the `peft` library:

```python
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = {base!r}
model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
model = PeftModel.from_pretrained(model, ".")  # this folder
ids = torch.tensor([{list(ids)}])  # the question as `mac ask` puts it
with torch.no_grad():
    answer = model.generate(input_ids=ids, do_sample=False, max_new_tokens=32)
print(AutoTokenizer.from_pretrained(base).decode(answer[0, {len(ids)}:]))
```
{pinned if base != base_name else ""}"""


def _low_rank(lm: BaseLM, applied: AppliedLora) -> Adapter:
    """Return LoRA: A [r, I] and B [O, r] of each projection, under the module's name."""
    names = {module: name for name, module in lm.model.named_modules()}
    tensors = {}
    for change in applied.changes:
        name = f"base_model.model.{names[change.module]}"
        (tensors[f"{name}.lora_A.weight"],), (tensors[f"{name}.lora_B.weight"],) = (
            change.a,
            change.b,
        )
    config = optional("peft", "rivals").LoraConfig(
        r=applied.r,
        lora_alpha=applied.lora_alpha,
        target_modules=[names[change.module] for change in applied.changes],
        fan_in_fan_out=any(transposed(change.module) for change in applied.changes),
    )
    return config, tensors


def _prefix(lm: BaseLM, prefix: Prefix) -> Adapter:
    """Return PREFIX_TUNING: `prompt_embeddings` [V, L * 2 * H * C], a layer's keys first.

    peft puts the text after V positions, as many as there are tokens. Ours may take up fewer:
    documents end at one place, and a merged token stands for several. Rotary embedding knows only
    how far apart two tokens are, so the prefix is moved to end where the text begins.
    """
    _require_no_window(lm)
    rows = _repeated(prefix.bias[0])
    shape = lm.shape
    keys = torch.stack(list(prefix.keys))[..., rows, :]  # [L, 1, H, V, C]
    values = torch.stack(list(prefix.values))[..., rows, :]
    if offset := len(rows) - int(prefix.length[0]):
        keys = _moved(lm, keys, offset)
    x = torch.stack((keys, values), 1)[:, :, 0].permute(3, 0, 1, 2, 4)  # [V, L, 2, H, C]
    config = optional("peft", "rivals").PrefixTuningConfig(
        num_virtual_tokens=len(rows),
        num_layers=shape.layers,
        # The key/value heads: under grouped-query attention peft wants these, too.
        num_attention_heads=shape.kv_heads,
        token_dim=shape.kv_heads * shape.head_size,
        encoder_hidden_size=shape.kv_heads * shape.head_size,
        num_transformer_submodules=1,
    )
    return config, {"prompt_embeddings": x.flatten(1)}


def _repeated(bias: Tensor) -> Tensor:
    """Return rows of the prefix, [V], each as often as its bias weighs it.

    A bias of log n on a token is the same as n such tokens, and -inf the same as none.
    """
    weights = bias.double().exp()
    counts = weights.round()
    if not torch.allclose(weights, counts, atol=_WHOLE, rtol=_WHOLE):
        raise ModelError(
            "the answer weighs several documents, which an adapter cannot express",
            "answer from the most relevant document alone (-k 1), or use a checkpoint of the paper "
            "stack",
        )
    return torch.arange(len(bias), device=bias.device).repeat_interleave(counts.long())


def _moved(lm: BaseLM, keys: Tensor, by: int) -> Tensor:
    """Return keys [L, G, H, V, C] that stand `by` positions further on."""
    places = torch.full((1, keys.shape[3]), by, device=keys.device)
    turned = lm.rotate_keys(keys, places)
    # Without a rotary embedding nothing was turned. Some for long contexts also scale what they
    # turn, here for a second time.
    scale = turned.norm() / keys.norm()
    if torch.equal(turned, keys) or not torch.isclose(scale, torch.ones_like(scale), rtol=1e-2):
        raise UnsupportedModelError(
            "this prefix takes up fewer positions than it has tokens, and the keys of this base LM "
            "cannot be moved to where an adapter's stand",
            "use modulations that were not merged (`mac store prune --undo` takes a prune back)",
        )
    return turned


def _require_no_window(lm: BaseLM) -> None:
    config: Any = lm.model.config
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if window is not None and (kinds is None or "sliding_attention" in kinds):
        raise UnsupportedModelError(
            f"the base LM has layers that look back {window} tokens only: there the prefix of an "
            "adapter slides out of sight, ours does not",
            "use a modulation `lora` (mac train --modulation lora)",
        )
