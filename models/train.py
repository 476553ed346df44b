"""Meta-training: `mac train`.

Only the stack's own parameters learn; the base LM and the sentence encoder stay as they are. One
code path serves the CPU, one GPU and, started through `accelerate launch`, several.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from models import checkpoint
from models.batches import Sampler
from models.corpus import Corpus, build
from models.data import Example
from models.encoder import SentenceEncoder
from models.errors import CheckpointError
from models.features import FeatureCache
from models.initialise import initialise
from models.latent import LatentConfig, LatentStack
from models.lm import BaseLM
from models.objective import loss

STATE = "training-state.safetensors"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What a run is made of; saved in the checkpoint's config.json under `training`.

    Attributes:
        steps: optimiser steps.
        groups: G, groups of confusable documents a step.
        documents: D, documents of a group, with a question each.
        learning_rate: of amortizer and prefix head (AdamW, linear decay after `warmup`).
        constant_learning_rate: of the constant prefix tokens.
        relevance_learning_rate: of the bilinear form.
        backprop_dropout: p, the share of a batch's documents amortized under stop-gradient (paper,
            3.3).
        alone: how often a question sees its own document only.
        limit: at most so many documents of a source.
        save_minutes: how often the state is saved.
    """

    steps: int = 2000
    groups: int = 2
    documents: int = 8
    learning_rate: float = 2e-4
    constant_learning_rate: float = 1e-3
    relevance_learning_rate: float = 1e-4
    warmup: int = 50
    backprop_dropout: float = 0.0
    alone: float = 0.2
    limit: int | None = None
    seed: int = 0
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        for name in ("steps", "groups", "documents"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.documents < 2:
            raise ValueError(
                f"documents must be at least 2 (one is the answer's), not {self.documents}"
            )
        if not 0 <= self.backprop_dropout < 1:
            raise ValueError(f"backprop_dropout must be in [0, 1), not {self.backprop_dropout}")


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known after a step; one JSON line of the log."""

    step: int
    answer_loss: float
    relevance_loss: float
    examples: int
    examples_per_second: float
    learning_rate: float
    seconds: float


@dataclass(slots=True)
class Trainer:
    """One run of meta-training, resumable at any saved step.

    Args:
        config: the run.
        model: sizes and identities of the checkpoint to make.
        lm: the frozen base LM.
        encoder: the frozen sentence encoder.
        sources: examples of each data source.
        weights: how often each source is drawn.
        out: the checkpoint's folder; the state to resume from lies beside its files.
        cache: folder for document features, or None to compute them each time.
    """

    config: TrainConfig
    model: LatentConfig
    lm: BaseLM
    encoder: SentenceEncoder
    sources: Sequence[Sequence[Example]]
    weights: Sequence[float]
    out: Path
    cache: Path | None = None
    note: Callable[[str], None] = print
    stack: LatentStack = field(init=False)
    corpus: Corpus = field(init=False)
    step: int = field(init=False, default=0)
    examples: int = field(init=False, default=0)

    def run(self, report: Callable[[Progress], None], *, resume: bool = False) -> LatentStack:
        """Train to the last step and save the checkpoint.

        Args:
            report: called after each step.
            resume: go on from the state in `out`.

        Raises:
            CheckpointError: there is nothing to resume, or it belongs to another run.
            DataError: the data has no example to learn from.
        """
        from accelerate import PartialState

        world = PartialState()
        config = self.config
        self.stack = LatentStack(self.model).to(self.lm.device)
        self.corpus = build(
            self.sources,
            lambda texts: [len(row) for row in self.lm.tokenize(texts)],
            chunk_tokens=self.model.chunk_tokens,
            limit=config.limit,
            seed=config.seed,
        )
        self.corpus.embed(
            self.encoder, self.cache and self.cache / "embeddings.safetensors", self.note
        )
        sampler = Sampler(
            self.corpus,
            self.weights,
            groups=config.groups * world.num_processes,
            documents=config.documents,
            seed=config.seed,
            alone=config.alone,
        )
        optimiser = self._optimiser()
        if resume:
            self._load_state(optimiser)
        else:
            self._initialise()
        features = FeatureCache(
            self.lm, self.model.chunk_tokens, self.cache, self.stack.amortizer.mean
        )
        saved = time.monotonic()
        for group in optimiser.param_groups:
            group["peak"] = group.get("peak", group["lr"])
        while self.step < config.steps:
            started = time.perf_counter()
            rate = self._rate(self.step)
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * rate
            batch = sampler.batch(self.step).part(world.process_index, world.num_processes)
            dropped = torch.rand(
                len(batch.chunks) * config.documents,
                generator=torch.Generator().manual_seed(hash((config.seed, self.step))),
            )
            kept = (dropped >= config.backprop_dropout).tolist()
            terms = loss(self.stack, self.lm, self.corpus, features, batch, kept)
            optimiser.zero_grad(set_to_none=True)
            terms.total.backward()
            _average_gradients(self.stack, world.num_processes)
            torch.nn.utils.clip_grad_norm_(self.stack.parameters(), 1.0)
            optimiser.step()
            self.step += 1
            self.examples += len(batch.questions) * world.num_processes
            seconds = time.perf_counter() - started
            report(
                Progress(
                    self.step,
                    round(float(terms.answer.detach()), 4),
                    round(float(terms.relevance.detach()), 4),
                    self.examples,
                    round(len(batch.questions) * world.num_processes / seconds, 2),
                    config.learning_rate * rate,
                    round(seconds, 3),
                )
            )
            if world.is_main_process and time.monotonic() - saved > 60 * config.save_minutes:
                self.save(optimiser)
                saved = time.monotonic()
        if world.is_main_process:
            self.save(optimiser)
        return self.stack

    def save(self, optimiser: torch.optim.Optimizer) -> None:
        """Write the checkpoint as it is now, and the state to resume from."""
        from dataclasses import replace

        from safetensors.torch import save as to_bytes

        training = {**asdict(self.config), "step": self.step, "examples": self.examples}
        self.stack.config = replace(self.model, training={**self.model.training, **training})
        names = {id(p): name for name, p in self.stack.named_parameters()}
        state: dict[str, Tensor] = {f"model.{n}": t for n, t in self.stack.state_dict().items()}
        for parameter, moments in optimiser.state.items():
            for key, value in moments.items():
                state[f"optimiser.{names[id(parameter)]}.{key}"] = torch.as_tensor(value)
        state = {n: t.detach().cpu().contiguous() for n, t in state.items()}
        checkpoint.save(self.stack, self.out, card(self.stack.config))
        metadata = {"training": json.dumps(training)}
        checkpoint.replace(self.out / STATE, to_bytes(state, metadata))

    def _load_state(self, optimiser: torch.optim.Optimizer) -> None:
        from safetensors import safe_open

        path = self.out / STATE
        if not path.exists():
            raise CheckpointError(
                f"nothing to resume in {self.out}: there is no {STATE}", hint="leave out --resume"
            )
        with safe_open(path, "pt") as stored:
            training = json.loads(stored.metadata()["training"])
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        for name in ("seed", "groups", "documents", "limit"):
            ours = getattr(self.config, name)
            if training[name] != ours:
                raise CheckpointError(
                    f"the run in {self.out} had {name}={training[name]}, not {ours}",
                    hint="resume with the same settings, or train into another folder",
                )
        self.step, self.examples = training["step"], training["examples"]
        self.stack.load_state_dict(
            {n.removeprefix("model."): t for n, t in state.items() if n.startswith("model.")}
        )
        for name, parameter in self.stack.named_parameters():
            start = f"optimiser.{name}."
            moments = {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
            if moments:
                optimiser.state[parameter] = {
                    k: t if k == "step" else t.to(parameter.device) for k, t in moments.items()
                }

    def _initialise(self) -> None:
        self.note("initialising from principal components")
        order = torch.randperm(
            len(self.corpus.chunks), generator=torch.Generator().manual_seed(self.config.seed)
        )
        texts = (self.corpus.chunks[i] for i in order.tolist())
        kept = initialise(self.stack, self.lm, list(texts)[:2000], seed=self.config.seed)
        self.note(f"{self.model.latent_size} components keep {kept:.1%} of the variance")

    def _optimiser(self) -> torch.optim.Optimizer:
        stack, config = self.stack, self.config
        projections = [stack.amortizer.weight, stack.head.weight, stack.head.bias]
        return torch.optim.AdamW(
            [
                {"params": projections, "lr": config.learning_rate},
                {"params": [stack.head.constant], "lr": config.constant_learning_rate},
                {"params": stack.relevance.parameters(), "lr": config.relevance_learning_rate},
            ],
            weight_decay=0.0,
            betas=(0.9, 0.98),
        )

    def _rate(self, step: int) -> float:
        """Share of the peak learning rate: linear warm-up, then linear decay to a hundredth."""
        if step < self.config.warmup:
            return (step + 1) / self.config.warmup
        left = (self.config.steps - step) / max(1, self.config.steps - self.config.warmup)
        return max(0.01, left)


def _average_gradients(stack: LatentStack, processes: int) -> None:
    if processes == 1:
        return
    for parameter in stack.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= processes


def card(config: LatentConfig) -> str:
    """The model card of a checkpoint, in the Hub's format."""
    training = config.training
    lines = [
        "---",
        "library_name: mac",
        f"base_model: {config.base_lm}",
        "license: apache-2.0",
        "---",
        "",
        f"# A `{config.stack}` checkpoint for {config.base_lm}",
        "",
        "Turns documents into modulations of a frozen base LM, and questions into the modulation",
        "that answers them (arXiv 2403.04317). The base LM is not inside.",
        "",
        f"- latent size {config.latent_size}, {config.constant_tokens} constant prefix tokens, "
        f"chunks of up to {config.chunk_tokens} tokens",
        f"- sentence encoder: {config.encoder}",
        "",
        "## Training",
        "",
        "```",
        str(training.get("command", "(made through the Python interface)")),
        "```",
        "",
    ]
    lines += [f"- {key}: {value}" for key, value in training.items() if key != "command"]
    return "\n".join(lines) + "\n"
