"""One answer's modulation as an adapter that the `peft` library loads onto the base LM.

Nothing is approximated: where peft's kind of adapter cannot say what a modulation does, it is
refused. Tests load every kind with `peft` itself and compare.

Letters: V virtual tokens, L layers, H key/value heads, C head size, r rank, I inputs and O outputs
of a projection.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.base.lm import BaseLM, Prefix
from models.base.lora import Worn, transposed
from models.errors import ModelError, UnsupportedModelError
from models.export import peft_format
from models.export.peft_format import CONFIG, WEIGHTS
from models.memory.answering import Answerer
from models.memory.modulation import Selected

CARD = "README.md"
_WHOLE = 1e-6
"""How far from a whole number a weight may be, for rounding; a document of less is left out."""


@dataclass(frozen=True, slots=True)
class PeftAdapter:
    """An adapter as peft keeps it: `config` with its settings, `tensors` by peft's names."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]


@torch.no_grad()
def export_adapter(
    model: Answerer, question: str, selected: Sequence[Selected], folder: Path
) -> None:
    """Write the modulation that answers a question as a folder that `peft` loads, with a README.md.

    Args:
        model: a loaded checkpoint.
        question: what the documents are aggregated for.
        selected: the documents.
        folder: new, or empty.

    Raises:
        ModelError: an adapter cannot say what this modulation does.
        OSError: the folder cannot be written, or there is something in it.
    """
    name = model.config.base_lm
    made = adapter(model.lm, model.applied(question, [selected]), name)
    write(made, folder, card(made, question, model.prompt(question), name))


def adapter(lm: BaseLM, worn: AbstractContextManager[Prefix | None], base_name: str) -> PeftAdapter:
    """The modulation that a context of `Answerer.applied` applies, as peft says it.

    Raises:
        ModelError: the prefix weighs its tokens in a way that no adapter can.
        UnsupportedModelError: it can not in the layers of this base LM.
    """
    if isinstance(worn, Worn):
        return _low_rank(lm, worn, base_name)
    with worn as prefix:
        if prefix is None:
            raise ModelError("the base LM's own answer has no modulation")
        return _prefix(lm, prefix, base_name)


def write(made: PeftAdapter, folder: Path, card: str) -> None:
    """Write an adapter's folder, which appears whole or not at all.

    Args:
        made: the adapter.
        folder: made here; one that is there must be empty.
        card: the text of its README.md.

    Raises:
        OSError: it cannot be written, or there is something in the folder.
    """
    folder = Path(os.path.abspath(folder))  # "." has neither a name nor a parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder and then renamed, which fails where that has something in it.
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        made_in = work / folder.name  # with the permissions that the user's folders have
        made_in.mkdir()
        (made_in / WEIGHTS).write_bytes(peft_format.to_bytes(made.tensors))
        (made_in / CONFIG).write_text(json.dumps(made.config, indent=2) + "\n")
        (made_in / CARD).write_text(card, encoding="utf-8")
        os.replace(made_in, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def card(made: PeftAdapter, question: str, ids: Sequence[int], base_name: str) -> str:
    """The README.md of an adapter's folder: what it is, and how its base LM is to be asked.

    Args:
        made: the adapter.
        question: what the modulation was made for.
        ids: token ids that the base LM reads under it.
        base_name: as in `adapter`.
    """
    base = made.config["base_model_name_or_path"]
    pinned = base != base_name
    return "\n".join(
        [
            "---",
            "library_name: peft",
            f"base_model: {base}",
            "pipeline_tag: text-generation",
            "---",
            "",
            f"# The modulation that answers: {' '.join(question.split())}",
            "",
            "Made by `mac ask --export-adapter` (arXiv 2403.04317), for the `peft` library:",
            "",
            "```python",
            "import torch",
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f"base = {base!r}",
            'model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")',
            'model = PeftModel.from_pretrained(model, ".")  # this folder',
            f"ids = torch.tensor([{list(ids)}])  # the question as `mac ask` puts it",
            "with torch.no_grad():",
            "    made = model.generate(input_ids=ids, do_sample=False, max_new_tokens=32)",
            f"print(AutoTokenizer.from_pretrained(base).decode(made[0, {len(ids)}:]))",
            "```",
            *(
                [
                    "",
                    f"`mac model path {base_name}` prints the folder of exactly the weights that "
                    "mac uses; those on the Hub differ a little.",
                ]
                if pinned
                else []
            ),
            "",
        ]
    )


def _low_rank(lm: BaseLM, worn: Worn, base_name: str) -> PeftAdapter:
    """LoRA: A [r, I] and B [O, r] of each projection, under the module's name."""
    names = {module: name for name, module in lm.model.named_modules()}
    layers = []
    for change in worn.changes:
        (a,), (b,) = change.a, change.b
        layers.append((names[change.module], a, b))
    config = peft_format.low_rank(
        base_name,
        [name for name, *_ in layers],
        worn.r,
        worn.lora_alpha,
        transposed=any(transposed(c.module) for c in worn.changes),
    )
    return PeftAdapter(config, peft_format.tensors(layers))


def _prefix(lm: BaseLM, prefix: Prefix, base_name: str) -> PeftAdapter:
    """PREFIX_TUNING: `prompt_embeddings` [V, L * 2 * H * C], keys before values in each layer.

    peft puts the text behind V positions, as many as there are tokens. Ours may take up fewer:
    documents end at one place, and a merged token stands for several. Rotary embedding knows only
    how far apart two tokens are, so the prefix is moved to end where the text begins.
    """
    _require_no_window(lm)
    rows = _weighed(prefix.bias[0])
    shape = lm.shape
    keys = torch.stack(list(prefix.keys))[..., rows, :]  # [L, 1, H, V, C]
    values = torch.stack(list(prefix.values))[..., rows, :]
    if moved := len(rows) - int(prefix.length[0]):
        keys = _moved(lm, keys, moved)
    x = torch.stack((keys, values), 1)[:, :, 0].permute(3, 0, 1, 2, 4)  # [V, L, 2, H, C]
    config = {
        "peft_type": "PREFIX_TUNING",
        **peft_format.common(base_name),
        "num_virtual_tokens": len(rows),
        "num_layers": shape.layers,
        # The key/value heads: under grouped-query attention peft wants these, too.
        "num_attention_heads": shape.kv_heads,
        "token_dim": shape.kv_heads * shape.head_size,
        "encoder_hidden_size": shape.kv_heads * shape.head_size,
        "num_transformer_submodules": 1,
        "prefix_projection": False,
    }
    return PeftAdapter(config, {"prompt_embeddings": x.flatten(1)})


def _weighed(bias: Tensor) -> Tensor:
    """Rows of the prefix, [V], so often that attention without a bias weighs them as the bias does.

    A bias of log n on a token is the same as n such tokens, and -inf the same as none.
    """
    weights = bias.double().exp()
    counts = weights.round()
    if not torch.allclose(weights, counts, atol=_WHOLE, rtol=_WHOLE):
        raise ModelError(
            "the answer draws from several documents by their weights, which an adapter cannot say",
            "draw from the most relevant one alone (-k 1), or use a checkpoint of the paper stack",
        )
    return torch.arange(len(bias), device=bias.device).repeat_interleave(counts.long())


def _moved(lm: BaseLM, keys: Tensor, by: int) -> Tensor:
    """Keys [L, G, H, V, C] as many positions further on."""
    places = torch.full((1, keys.shape[3]), by, device=keys.device)
    turned = lm.rotate_keys(keys, places)
    # Without a rotary embedding nothing was turned. Some for long contexts also scale what they
    # turn, here for a second time.
    scale = turned.norm() / keys.norm()
    if torch.equal(turned, keys) or not torch.isclose(scale, torch.ones_like(scale), rtol=1e-2):
        raise UnsupportedModelError(
            "this prefix takes up fewer positions than it has tokens, and the keys of this base LM "
            "cannot be moved to where an adapter's stand",
            "use modulations that were not merged (`mac store undo` takes a prune back)",
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
