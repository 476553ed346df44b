"""Meta-training of the paper's stack (arXiv 2403.04317, section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from models.base.lm import BaseLM
from models.paper.config import PaperConfig
from models.paper.heads import PrefixHead
from models.paper.networks import take_pretrained
from models.paper.objective import draw_with_gradient, loss
from models.paper.reading import Reader
from models.paper.stack import PaperStack
from models.text.prompts import INSTRUCTION
from models.training.batches import Batch
from models.training.corpus import Corpus
from models.training.loss import Loss
from models.training.settings import TrainConfig

WARMUP = 0.01
"""Share of the steps in which the learning rate rises; from then on it is constant."""
_SMALL = 0.1
"""Factor on the head's random weights: the start dominates, but the latents have an effect."""


@dataclass(slots=True)
class PaperMethod:
    """The `models.training.method.TrainingMethod` of the paper.

    Its loss is that of the answers, its optimiser Adam, its learning rate constant.

    Args:
        config: the settings of the run.
        model: sizes and identities of the checkpoint to train.
        lm: the frozen base LM.
        reader: reads texts for the amortizer.
        pretrained: folder of the pretrained model that amortizer and input encoder start from.
        start: networks to train further, of the sizes in `model`.
        pretrained_question: folder of another pretrained model for the input encoder.
    """

    config: TrainConfig
    model: PaperConfig
    lm: BaseLM
    reader: Reader
    pretrained: Path | None = None
    start: PaperStack | None = None
    pretrained_question: Path | None = None
    stack: PaperStack = field(init=False)

    def __post_init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            self.stack = PaperStack(self.model)
        self.stack.check(self.lm)
        self.stack.to(self.lm.device)

    def initialise(self, corpus: Corpus, note: Callable[[str], None]) -> None:
        """See `TrainingMethod.initialise`."""
        del corpus
        if self.start is not None:
            self.stack.load_state_dict(self.start.state_dict())
            return
        if self.pretrained is not None:
            note(f"starting the amortizer from {self.pretrained}")
            take_pretrained(self.stack.amortizer.network, self.pretrained)
            question = self.pretrained_question or self.pretrained
            take_pretrained(self.stack.question.network, question)
        if isinstance(self.stack.head, PrefixHead):
            instruction_prefix(self.stack.head, self.lm)

    def optimiser(self) -> torch.optim.Optimizer:
        """Return Adam over all weights."""
        group = {"params": list(self.stack.parameters()), "peak": self.config.learning_rate}
        return torch.optim.Adam([group])

    def rate(self, step: int) -> float:
        """Return the share: linear warm-up over a hundredth of the steps, then constant."""
        return min(1.0, (step + 1) / max(1, round(WARMUP * self.config.steps)))

    def loss(self, corpus: Corpus, batch: Batch, rng: random.Random | None) -> Loss:
        """See `TrainingMethod.loss`."""
        if rng is None:
            return loss(self.stack, self.lm, self.reader, corpus, batch)
        documents = sum(map(len, batch.chunks))
        with_gradient = draw_with_gradient(documents, self.config.backprop_dropout, rng)
        return loss(self.stack, self.lm, self.reader, corpus, batch, with_gradient, True)


@torch.no_grad()
def instruction_prefix(head: PrefixHead, lm: BaseLM) -> None:
    """Make the prefix start near the keys and values of a few tokens that the base LM knows.

    They are its begin-of-sequence token, which it has learned to use as an attention sink, and the
    beginning of an instruction. The paper starts from random ones; a frozen LM cannot make sense
    of those, and most of a short training would go into learning what it can read.
    """
    row = [lm.bos_id, *lm.tokenize([INSTRUCTION])[0]][: head.prefix_tokens]
    row += row[-1:] * (head.prefix_tokens - len(row))
    x = lm.features(lm.pad([row])).unflatten(-1, (head.shape.kv_heads, -1))  # [1, P, L, 2, H, C]
    keys, values = x.permute(3, 2, 0, 4, 1, 5)
    keys = lm.rotate_keys(keys, torch.arange(head.prefix_tokens, device=lm.device)[None])
    start = torch.stack((keys, values), 1).permute(2, 4, 0, 1, 3, 5).flatten(0, 3).flatten(1)
    mlps = head.mlps
    mlps.down_bias.copy_(start)
    mlps.down.mul_(_SMALL)
    if mlps.skip is not None and mlps.skip_bias is not None:
        mlps.skip.mul_(_SMALL)
        mlps.skip_bias.zero_()
