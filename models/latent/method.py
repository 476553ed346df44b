"""Meta-training of the `latent` stack: what learns, how it starts, and how fast."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from models.base.lm import BaseLM
from models.latent.basis import change_basis
from models.latent.config import LatentConfig
from models.latent.features import FeatureCache
from models.latent.initialise import initialise
from models.latent.networks import LatentStack
from models.latent.objective import answer_gradients, loss
from models.training.batches import Batch, Sampler
from models.training.corpus import Corpus
from models.training.loss import Loss
from models.training.settings import TrainConfig, decaying

SENSITIVITY = 256
"""Examples that say which features answers depend on, before the first step."""
BASIS_BATCHES = 128
"""Batches that say which latents answers depend on, before the first step of a compact one."""


@dataclass(slots=True)
class LatentMethod:
    """The `models.training.method.TrainingMethod` of the `latent` stack.

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
        """See `TrainingMethod.initialise`."""
        if self.start is not None:
            self.stack.load_state_dict(self.start.state_dict())
            if self.model.compact and not self.start.config.compact:
                self._change_basis(corpus, note)
            return
        note("initialising from principal components")
        rng = random.Random(f"{self.config.seed}:initialise")
        texts = rng.sample(corpus.chunks, min(2000, len(corpus.chunks)))
        examples = [
            (corpus.chunks[q.chunk], q.text, q.answers[0])
            for q in rng.sample(corpus.questions, min(SENSITIVITY, len(corpus.questions)))
        ]
        share = initialise(self.stack, self.lm, texts, examples, seed=self.config.seed)
        note(f"{self.model.latent_size} components keep {share:.1%} of the variance")
        if self.model.compact:
            self._change_basis(corpus, note)

    def optimiser(self) -> torch.optim.Optimizer:
        """See `TrainingMethod.optimiser`."""
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
        """See `TrainingMethod.loss`."""
        cache = self._cache()
        if rng is None:  # a measurement, of answers only
            return loss(self.stack, self.lm, corpus, cache, batch)
        with_gradient = [
            rng.random() >= self.config.backprop_dropout for chunks in batch.chunks for _ in chunks
        ]
        return loss(
            self.stack,
            self.lm,
            corpus,
            cache,
            batch,
            with_gradient,
            True,
            self.config.continuation,
        )

    def _change_basis(self, corpus: Corpus, note: Callable[[str], None]) -> None:
        """Choose the latents' basis by examples, see `models.latent.basis`."""
        number = min(BASIS_BATCHES, self.config.steps)
        note(f"choosing the latents' basis by {number} batches")
        config, cache = self.config, self._cache()
        sampler = Sampler(
            corpus,
            [1.0] * (max(corpus.sources) + 1),
            groups=config.groups,
            documents=config.documents,
            seed=config.seed,
            alone=config.alone,
        )
        batches = (sampler.batch(step) for step in range(number))
        change_basis(
            self.stack,
            (answer_gradients(self.stack, self.lm, corpus, cache, batch) for batch in batches),
        )

    def _cache(self) -> FeatureCache:
        """Return the features of documents, whose center is known once there are networks."""
        if self._features is None:
            mean = self.stack.amortizer.mean
            self._features = FeatureCache(self.lm, self.model.chunk_tokens, self.cache, mean)
        return self._features
