"""What a stack brings to the training loop; `LatentMethod` is that of the `latent` stack.

The loop (`models.training.trainer`) knows of steps, batches, logs and resuming; a method knows what learns,
how it starts, and what its loss is.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from models.base.lm import BaseLM
from models.latent.features import FeatureCache
from models.latent.initialise import initialise
from models.latent.networks import LatentConfig, LatentStack
from models.latent.objective import Loss, loss
from models.memory.stack import Stack
from models.paper.config import PaperConfig
from models.training.batches import Batch
from models.training.corpus import Corpus
from models.training.settings import TrainConfig, decaying

if TYPE_CHECKING:
    from models.rivals.adapter import AdapterConfig
    from models.rivals.camels import CamelsConfig

SENSITIVITY = 256
"""Examples that say which features answers depend on, before the first step."""


class Method(Protocol):
    """How one stack is meta-trained."""

    @property
    def config(self) -> TrainConfig:
        """The run."""

    @property
    def model(self) -> LatentConfig | PaperConfig | AdapterConfig | CamelsConfig:
        """Sizes and identities of the checkpoint to make."""

    @property
    def lm(self) -> BaseLM:
        """The frozen base LM."""

    @property
    def stack(self) -> Stack[Any]:
        """The networks, on the base LM's device."""

    def initialise(self, corpus: Corpus, note: Callable[[str], None]) -> None:
        """Bring the networks to where training starts; not called when a run is resumed."""

    def optimiser(self) -> torch.optim.Optimizer:
        """An optimiser whose groups of parameters say their `peak` learning rate."""

    def rate(self, step: int) -> float:
        """Share of the peak learning rate at a step."""

    def loss(self, corpus: Corpus, batch: Batch, rng: random.Random | None) -> Loss:
        """The loss of a batch; without `rng` nothing is drawn, to measure on dev examples."""


@dataclass(slots=True)
class LatentMethod:
    """The `latent` stack's: see `models.latent.objective` and `models.latent.initialise`.

    Args:
        config: the run.
        model: sizes and identities of the checkpoint to make.
        lm: the frozen base LM.
        cache: folder for document features, or None to compute them each time.
        start: networks to go on from, of the sizes in `model`; None: principal components.
    """

    config: TrainConfig
    model: LatentConfig
    lm: BaseLM
    cache: Path | None = None
    start: LatentStack | None = None
    stack: LatentStack = field(init=False)
    _features: FeatureCache | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.stack = LatentStack(self.model).to(self.lm.device)

    def initialise(self, corpus: Corpus, note: Callable[[str], None]) -> None:
        """See `Method.initialise`."""
        if self.start is not None:
            self.stack.load_state_dict(self.start.state_dict())
            return
        note("initialising from principal components")
        rng = random.Random(f"{self.config.seed}:initialise")
        texts = rng.sample(corpus.chunks, min(2000, len(corpus.chunks)))
        asked = [
            (corpus.chunks[q.chunk], q.text, q.answers[0])
            for q in rng.sample(corpus.questions, min(SENSITIVITY, len(corpus.questions)))
        ]
        kept = initialise(self.stack, self.lm, texts, asked, seed=self.config.seed)
        note(f"{self.model.latent_size} components keep {kept:.1%} of the variance")

    def optimiser(self) -> torch.optim.Optimizer:
        """See `Method.optimiser`."""
        stack, config = self.stack, self.config
        projections = [stack.amortizer.weight, stack.head.weight, stack.head.bias]
        return torch.optim.AdamW(
            [
                {"params": projections, "peak": config.learning_rate},
                {"params": [stack.head.constant], "peak": config.constant_learning_rate},
                {"params": stack.relevance.parameters(), "peak": config.relevance_learning_rate},
            ],
            weight_decay=0.0,
            betas=(0.9, 0.98),
        )

    def rate(self, step: int) -> float:
        """See `decaying`."""
        return decaying(self.config, step)

    def loss(self, corpus: Corpus, batch: Batch, rng: random.Random | None) -> Loss:
        """See `Method.loss`."""
        if self._features is None:  # its center is known once the networks are initialised
            mean = self.stack.amortizer.mean
            self._features = FeatureCache(self.lm, self.model.chunk_tokens, self.cache, mean)
        if rng is None:
            return loss(self.stack, self.lm, corpus, self._features, batch)
        kept = [
            rng.random() >= self.config.backprop_dropout for chunks in batch.chunks for _ in chunks
        ]
        noise = torch.Generator(self.lm.device).manual_seed(rng.getrandbits(48))
        return loss(self.stack, self.lm, corpus, self._features, batch, kept, noise)
