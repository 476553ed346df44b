"""Converts checkpoints of the authors' code (github.com/jihoontack/MAC) to a `PaperStack`.

Their file is a pickled `state_dict` of all networks but the base LM. All sizes are taken from the
shapes of the tensors. Their T5 reads the padding of its inputs; a single text, as here, has none.

Letters: T tokens of a modulation, in and out the inputs and outputs of a layer.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.base.lm import Shape
from models.errors import CheckpointError
from models.paper.config import PaperConfig
from models.paper.stack import PaperStack

T5_STACKS = {"amortizer": "enc_decoder", "question": "aggregator.question_encoder"}
"""The name of each T5: ours, and theirs."""
MLPS = {"amortizer": "mlps", "question": "aggregator.mlps"}
CROSS = {
    "norm1": "norm_query",
    "norm_context": "norm_context",
    "attn.to_q": "query",
    "attn.to_k": "key",
    "attn.to_v": "value",
    "attn.to_out.0": "out",
    "norm2": "norm_mlp",
    "mlp.net.0": "up",
    "mlp.net.3": "down",
}
"""The name of each layer of a cross-attention block: theirs, and ours."""


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors in one of their files; no code in it is executed.

    Raises:
        CheckpointError: it is not such a file.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        tensors: dict[str, Tensor] = {
            name: tensor.float() for name, tensor in state["state_dict"].items()
        }
    except (
        *(OSError, RuntimeError, KeyError, TypeError, AttributeError, EOFError),
        pickle.UnpicklingError,
    ) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of the authors' code",
            "the file must hold a `state_dict` with tensors only",
        ) from error
    return tensors


def convert(theirs: Mapping[str, Tensor], shape: Shape, **identities: Any) -> PaperStack:
    """Return a stack with their weights.

    Args:
        theirs: their names and tensors.
        shape: the shape of the base LM that they were trained for.
        identities: `base_lm`, `base_sha256`, `encoder`, `encoder_sha256`, `encoder_rules`,
            `key_size`, `tokenizer` and other fields of a `PaperConfig` that the tensors do not
            tell.

    Raises:
        CheckpointError: a tensor is missing, is not known, or does not fit the base LM.
    """
    source = _Source(theirs)
    prompts = source.peek("enc_decoder.learnable_prompts")
    vectors, blocks = (
        source.count("token_SA.mlp_layers"),
        source.count("aggregator.cross_attention_list"),
    )
    size = len(source.peek("token_SA.mlp_layers.0.net.0.weight"))
    if size != shape.hidden_size or vectors % (2 * shape.layers):
        raise CheckpointError(
            f"the weights are for a base LM of hidden size {size} with {vectors} keys and values "
            f"in its prefix; this one has hidden size {shape.hidden_size} and {shape.layers} layers"
        )
    if shape.kv_heads * shape.head_size != size:
        raise CheckpointError(
            f"the base LM's keys have {shape.kv_heads * shape.head_size} numbers, the weights' "
            f"{size}: the authors' code knows no grouped-query attention"
        )
    inner = len(source.peek("aggregator.cross_attention_list.0.attn.to_q.weight"))
    networks = {ours: _t5_config(source, prefix) for ours, prefix in T5_STACKS.items()}
    config = PaperConfig(
        layers=shape.layers,
        kv_heads=shape.kv_heads,
        head_size=shape.head_size,
        hidden_size=size,
        amortizer="t5",
        network=networks["amortizer"],
        question_network=networks["question"],
        tokens=prompts.shape[1],
        prefix_tokens=vectors // (2 * shape.layers),
        blocks=blocks,
        heads=8,
        attention_size=inner // 8,
        head_hidden=len(source.peek("token_SA.mlp_layers.0.net.1.weight")),
        **identities,
    )
    stack = PaperStack(config)
    ours: dict[str, Tensor] = {}
    for name, prefix in T5_STACKS.items():
        ours |= _t5(source, prefix, f"{name}.network.")
        ours |= _per_token(
            source, MLPS[name], config.tokens, f"{name}.mlps.", ("mlp.0", "mlp.1", "mlp.3")
        )
    for i in range(blocks):
        for theirs_name, ours_name in CROSS.items():
            for kind in ("weight", "bias"):
                place = f"aggregator.cross_attention_list.{i}.{theirs_name}.{kind}"
                if place in theirs:
                    ours[f"aggregator.blocks.{i}.{ours_name}.{kind}"] = source.take(place)
    ours |= _per_token(
        source, "token_SA.mlp_layers", vectors, "head.mlps.", ("net.0", "net.1", "net.4")
    )
    source.require_all_taken()
    try:
        stack.load_state_dict(ours)
    except RuntimeError as error:
        raise CheckpointError(f"the weights do not fit together: {error}") from error
    return stack


class _Source:
    """Their tensors; it remembers which were taken."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors, self._left = tensors, set(tensors)

    def peek(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise CheckpointError(f"the authors' checkpoint has no tensor {name}")
        return self._tensors[name]

    def take(self, name: str) -> Tensor:
        self._left.discard(name)
        return self.peek(name)

    def below(self, prefix: str) -> Iterable[str]:
        return sorted(name for name in self._tensors if name.startswith(prefix + "."))

    def count(self, prefix: str) -> int:
        """Return how many numbered modules are below a name."""
        numbers = {name.removeprefix(prefix + ".").split(".")[0] for name in self.below(prefix)}
        return len(numbers)

    def require_all_taken(self) -> None:
        if self._left:
            names = ", ".join(sorted(self._left)[:3])
            raise CheckpointError(
                f"the authors' checkpoint has {len(self._left)} tensors that are not known: {names}"
            )


def _t5_config(source: _Source, prefix: str) -> dict[str, Any]:
    """Return the sizes of a T5, from its tensors."""
    block = f"{prefix}.encoder.block.0.layer"
    heads = source.peek(f"{block}.0.SelfAttention.relative_attention_bias.weight").shape
    gated = any(re.search(r"DenseReluDense\.wi_0\.", name) for name in source.below(prefix))
    vocabulary, width = source.peek(f"{prefix}.shared.weight").shape
    hidden = source.peek(f"{block}.1.DenseReluDense.{'wi_0' if gated else 'wi'}.weight")
    inner = source.peek(f"{block}.0.SelfAttention.q.weight")
    return {
        "model_type": "t5",
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": len(inner) // heads[1],
        "d_ff": len(hidden),
        "num_heads": heads[1],
        "num_layers": source.count(f"{prefix}.encoder.block"),
        "num_decoder_layers": source.count(f"{prefix}.decoder.block"),
        "relative_attention_num_buckets": heads[0],
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "decoder_start_token_id": 0,
    }


def _t5(source: _Source, prefix: str, ours: str) -> dict[str, Tensor]:
    """Return a T5 with its learned prompts; its embedding is stored three times and taken once."""
    out = {}
    for name in source.below(prefix):
        tensor, rest = source.peek(name), name.removeprefix(prefix + ".")
        if not rest.startswith(("shared.", "encoder.", "decoder.", "learnable_prompts")):
            continue  # anything else is reported if nobody takes it
        source.take(name)
        if rest == "learnable_prompts":
            out[ours + "prompts"] = tensor[0]
        elif rest == "shared.weight":
            out[ours + "embed.weight"] = tensor
        elif not rest.endswith("embed_tokens.weight"):
            out[ours + rest] = tensor
    return out


def _per_token(
    source: _Source, theirs: str, count: int, ours: str, layers: tuple[str, str, str]
) -> dict[str, Tensor]:
    """Return one MLP a token, stacked: their weights are [out, in], ours [T, in, out]."""

    def stacked(name: str, change: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        tensors = [change(source.take(f"{theirs}.{i}.{name}")) for i in range(count)]
        if len({tensor.shape for tensor in tensors}) > 1:
            raise CheckpointError(f"the tensors {theirs}.*.{name} do not fit together")
        return torch.stack(tensors)

    out = {}
    for name, layer in zip(("norm", "up", "down"), layers, strict=True):
        turn = (lambda x: x) if name == "norm" else torch.t
        out[ours + name] = stacked(f"{layer}.weight", turn)
        out[f"{ours}{name}_bias"] = stacked(f"{layer}.bias")
    if f"{theirs}.0.skip.weight" in source.below(theirs):
        out[ours + "skip"] = stacked("skip.weight", torch.t)
        out[ours + "skip_bias"] = stacked("skip.bias")
    return out
