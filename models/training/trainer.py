"""The training loop of `mac train`, for every stack and rival.

Only the networks of the method learn; the base LM and the sentence encoder stay as they are. The
same code runs on the CPU, on one GPU and, started by `accelerate launch`, on several.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from models.base.encoder import SentenceEncoder
from models.data.files import Example
from models.errors import CheckpointError
from models.memory.stack import Stack
from models.training import state as training_state
from models.training.batches import Batch, Sampler
from models.training.corpus import Corpus, build
from models.training.loss import Loss
from models.training.method import TrainingMethod
from models.training.settings import TrainConfig, autocast, average_gradients

DEV_BATCHES = 8
"""The number of batches of dev examples that the dev loss is the mean of."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """The figures of a step, a JSON line of the log; losses as in `models.training.loss.Loss`."""

    step: int
    answer_loss: float
    relevance_loss: float
    examples: int
    examples_per_second: float
    learning_rate: float
    seconds: float
    dev_loss: float | None = None


@dataclass(slots=True)
class Trainer:
    """A run of meta-training, which can be resumed at any saved step.

    Args:
        method: what learns, how, and for how long.
        encoder: the frozen sentence encoder.
        sources: the examples of each data source.
        weights: how often each source is drawn.
        out: the folder of the checkpoint, where the state to resume from is saved, too.
        cache: the folder for sentence embeddings; None computes them each time.
        dev: examples that are not trained on; their answer loss is measured at each save.
        note: told what happens before the first step.
    """

    method: TrainingMethod
    encoder: SentenceEncoder
    sources: Sequence[Sequence[Example]]
    weights: Sequence[float]
    out: Path
    cache: Path | None = None
    dev: Sequence[Sequence[Example]] = ()
    note: Callable[[str], None] = print
    step: int = field(init=False, default=0)
    examples: int = field(init=False, default=0)
    dev_loss: float | None = field(init=False, default=None)

    @property
    def config(self) -> TrainConfig:
        """The settings of the run."""
        return self.method.config

    @property
    def stack(self) -> Stack[Any]:
        """The networks that learn."""
        return self.method.stack

    def run(self, report: Callable[[StepReport], None], *, resume: bool = False) -> Stack[Any]:
        """Train to the last step and save the checkpoint, which is also saved on an interruption.

        Args:
            report: called after each step.
            resume: continue from the state in `out`.

        Raises:
            CheckpointError: there is no state to resume, or it belongs to another run.
            DataError: the data has no example to learn from.
        """
        from accelerate import PartialState

        config, method = self.config, self.method
        world = PartialState(cpu=method.lm.device.type == "cpu")
        parts = world.num_processes * config.accumulate
        corpus, sampler, optimiser = self._prepare(parts, resume)
        dev = self._dev_corpus()
        saved = time.monotonic()
        try:
            while self.step < config.steps:
                started = time.perf_counter()
                whole = sampler.batch(self.step)
                first = world.process_index * config.accumulate
                batches = [whole.part(first + i, parts) for i in range(config.accumulate)]
                rng = random.Random(f"{config.seed}:step:{self.step}:{world.process_index}")
                terms = self._train_step(corpus, batches, optimiser, rng, world.num_processes)
                self.step += 1
                self.examples += len(whole.questions)
                last = self.step == config.steps
                due = last or time.monotonic() - saved > 60 * config.save_minutes
                saving = due and world.is_main_process
                if saving and dev is not None:  # the others wait at their next step
                    self.dev_loss = self._measure(dev)
                seconds = time.perf_counter() - started
                report(self._report(terms, len(whole.questions), seconds, saving))
                if saving:
                    self.save(optimiser)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            if world.is_main_process and self.step:
                self.save(optimiser)
            raise
        return self.stack

    def _prepare(self, parts: int, resume: bool) -> tuple[Corpus, Sampler, torch.optim.Optimizer]:
        """Return what to learn from and the optimiser, with the networks set to start or resume.

        Args:
            parts: the number of batches of all processes in a step.
            resume: see `run`.
        """
        config, method = self.config, self.method
        method.lm.gradient_checkpointing = config.gradient_checkpointing
        slots = config.steps * config.groups * config.documents * parts
        corpus = self._corpus(self.sources, self.weights, slots, "embeddings")
        sampler = self._sampler(corpus, self.weights, config.groups * parts)
        optimiser = method.optimiser()
        if resume:
            self._resume(optimiser)
        else:
            method.initialise(corpus, self.note)
        return corpus, sampler, optimiser

    def _report(self, terms: Loss, examples: int, seconds: float, measured: bool) -> StepReport:
        """Return the figures of the step that was just made, with a number of examples."""
        return StepReport(
            self.step,
            round(float(terms.answer), 4),
            round(float(terms.relevance), 4),
            self.examples,
            round(examples / seconds, 2),
            round(self.config.learning_rate * self.method.rate(self.step - 1), 8),
            round(seconds, 3),
            self.dev_loss if measured else None,
        )

    def _train_step(
        self,
        corpus: Corpus,
        batches: Sequence[Batch],
        optimiser: torch.optim.Optimizer,
        rng: random.Random,
        processes: int,
    ) -> Loss:
        """Make a step with several batches, and return the mean of their losses."""
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * self.method.rate(self.step)
        optimiser.zero_grad(set_to_none=True)
        total = torch.zeros(2)
        for batch in batches:
            with autocast(self.config, self.method.lm.device):
                terms = self.method.loss(corpus, batch, rng)
            (terms.total / len(batches)).backward()
            total += torch.stack((terms.answer, terms.relevance)).detach().float().cpu()
        average_gradients(self.stack, processes)
        torch.nn.utils.clip_grad_norm_(self.stack.parameters(), self.config.clip)
        optimiser.step()
        return Loss(*(total / len(batches)))

    def _dev_corpus(self) -> Corpus | None:
        if not self.dev:
            return None
        slots = DEV_BATCHES * self.config.groups * self.config.documents
        return self._corpus(self.dev, [1.0] * len(self.dev), slots, "dev-embeddings")

    @torch.no_grad()
    def _measure(self, dev: Corpus) -> float:
        """Return the answer loss of the dev examples, over the same few batches each time."""
        sampler = self._sampler(dev, [1.0] * len(self.dev), self.config.groups)
        with autocast(self.config, self.method.lm.device):
            terms = [self.method.loss(dev, sampler.batch(i), None) for i in range(DEV_BATCHES)]
        return round(sum(float(t.answer) for t in terms) / len(terms), 4)

    def _corpus(
        self, sources: Sequence[Sequence[Example]], weights: Sequence[float], slots: int, name: str
    ) -> Corpus:
        """Return chunks and questions, enough for batches with `slots` documents in all."""
        # A few more, so that there are negatives to choose from; the rest would never be drawn.
        enough = [max(64, math.ceil(1.5 * slots * w / sum(weights))) for w in weights]
        corpus = build(
            sources,
            lambda texts: [len(row) for row in self.method.lm.tokenize(texts)],
            chunk_tokens=self.method.model.chunk_tokens,
            limits=[self.config.limit or most for most in enough],
            seed=self.config.seed,
        )
        cached = self.cache / f"{name}.safetensors" if self.cache is not None else None
        corpus.embed(self.encoder, cached, self.note)
        return corpus

    def _sampler(self, corpus: Corpus, weights: Sequence[float], groups: int) -> Sampler:
        return Sampler(
            corpus,
            weights,
            groups=groups,
            documents=self.config.documents,
            seed=self.config.seed,
            alone=self.config.alone,
        )

    def save(self, optimiser: torch.optim.Optimizer) -> None:
        """Write the checkpoint of this step, and the state to resume from."""
        run = {**asdict(self.config), "step": self.step, "examples": self.examples}
        if self.dev_loss is not None:
            run["dev_loss"] = self.dev_loss
        model = self.method.model
        self.stack.config = replace(model, training={**model.training, **run})
        self.stack.save(self.out)
        training_state.save(self.out, self.stack, optimiser, run)

    def _resume(self, optimiser: torch.optim.Optimizer) -> None:
        run = training_state.load(self.out, self.stack, optimiser)
        fixed = ["seed", "groups", "documents", "limit", "accumulate", "clip", "precision"]
        if self.config.limit is None:  # otherwise the steps decide how many documents there are
            fixed.append("steps")
        for name in fixed:
            if (before := run.get(name)) != (now := getattr(self.config, name)):
                raise CheckpointError(
                    f"the run in {self.out} had {name}={before}, not {now}",
                    hint="resume with the same settings, or train into another folder",
                )
        self.step, self.examples = run["step"], run["examples"]
