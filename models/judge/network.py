"""The judge's network: the sentence encoder's layers, tuned to read a question with a passage.

Letters: B pairs, T tokens, H hidden size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.base.encoder import SentenceEncoder
from models.judge.config import JudgeConfig
from models.judge.pairs import Inputs
from models.memory import checkpoint
from models.memory.card import judge_card
from models.memory.stack import Stack

KINDS = ("none", "span", "yes", "no")
"""What a passage may answer: nothing, words that stand in it, yes, or no."""
OUTSIDE = -1e4
"""The logit of places that are not of the passage."""


class Judgement(NamedTuple):
    """What the network says of B pairs, as float32 logits.

    Attributes:
        kind: [B, 4], of `KINDS`.
        start: [B, T], of where the answer's first token stands.
        end: [B, T], of where its last one does.
    """

    kind: Tensor
    start: Tensor
    end: Tensor


class JudgeNetwork(Stack[JudgeConfig]):
    """The encoder's layers with two heads. Its embeddings are the encoder's own, and stay as is.

    Args:
        config: the judge's config.
        encoder: the sentence encoder to start from; it is not changed.
    """

    def __init__(self, config: JudgeConfig, encoder: SentenceEncoder) -> None:
        super().__init__()
        self.config = config
        model: Any = encoder.model
        shared = model.embeddings
        self.body = copy.deepcopy(model, {id(shared): shared})
        self.body.pooler = None
        self._typed = model.config.type_vocab_size > 1
        size = encoder.size
        self.kind = nn.Sequential(nn.Linear(2 * size, size), nn.GELU(), nn.Linear(size, len(KINDS)))
        self.span = nn.Linear(size, 2)
        self.requires_grad_(True)
        shared.requires_grad_(False)

    def forward(self, inputs: Inputs) -> Judgement:
        """Judge pairs of a question and a passage."""
        hidden: Tensor = self.body(
            input_ids=inputs.ids,
            attention_mask=inputs.real.long(),
            **({"token_type_ids": inputs.types} if self._typed else {}),
        ).last_hidden_state
        mask = inputs.real[..., None].to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        kind: Tensor = self.kind(torch.cat((hidden[:, 0], mean), -1))
        places: Tensor = self.span(hidden).float().masked_fill(~inputs.passage[..., None], OUTSIDE)
        return Judgement(kind.float(), places[..., 0], places[..., 1])

    def _own(self) -> dict[str, Tensor]:
        """Return the weights that are not the encoder's."""
        state = self.state_dict()
        return {n: t for n, t in state.items() if not n.startswith("body.embeddings.")}

    def own_weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights that are not the encoder's."""
        return {name: tensor.clone() for name, tensor in self._own().items()}

    def average(self, others: Mapping[str, Tensor]) -> None:
        """Make each weight the mean of itself and of another, see `own_weights`."""
        for name, tensor in self._own().items():
            tensor.lerp_(others[name], 0.5)

    def _int8(self) -> Mapping[str, int]:
        """Return the matrices that are kept as int8, see `models.memory.stack.MemoryStack`."""
        return {name: 1 for name, tensor in self._own().items() if tensor.dim() == 2}

    def save(self, folder: Path) -> None:
        """Write the judge; each file is replaced as a whole."""
        config = self.config
        text = judge_card(config.encoder, config.training)
        checkpoint.save(folder, config.as_dict(), self._own(), text, self._int8())

    def restore(self, folder: Path) -> None:
        """Read the weights of a judge.

        Raises:
            CheckpointError: see `models.memory.checkpoint.load`.
        """
        weights = checkpoint.load(folder, self._own(), self._int8())
        self.load_state_dict(weights, strict=False)
