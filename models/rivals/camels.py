"""CaMeLS (Hu et al., arXiv 2305.15076): learned weights of a document's tokens.

A small network reads the hidden states of the frozen base LM and weighs the tokens; the LM is then
fine-tuned on the stream with these weights. The network is meta-trained: after a few weighted
gradient steps on documents, questions about them should be answered better (equation 4 there), and
other text should be read as before (the locality term). Training differentiates through these
steps, which move only the LM's last layers; that bounds memory.

Letters: T tokens, G groups of D documents.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from models.base.lm import BaseLM
from models.errors import CheckpointError, first_line
from models.files import replace_file
from models.memory.stack import Stack
from models.rivals.adapter import Adapter, merged
from models.rivals.finetune import MAX_TOKENS, weighted_loss
from models.training.batches import Batch
from models.training.corpus import Corpus
from models.training.loss import Loss, answer_loss
from models.training.settings import TrainConfig

FILE = "camels.safetensors"
LEARNING_RATE = 1e-3
_SOFTPLUS_1 = math.log(math.e - 1)
"""The number whose softplus is 1."""


@dataclass(frozen=True, slots=True)
class CamelsConfig:
    """A weighting network and how it is meta-trained; saved in the metadata of its file.

    Attributes:
        base_lm: the LM whose hidden states it reads.
        base_sha256: the SHA-256 of that LM's weights.
        hidden_size: the size of its hidden states.
        width: the width of the network's only hidden layer.
        inner_rate: the learning rate of the inner gradient steps.
        inner_layers: how many of the LM's last layers these steps move.
        locality: the weight of the locality term.
        chunk_tokens: the longest piece of a document in meta-training.
        training: the settings and figures of the run.
    """

    base_lm: str
    base_sha256: str | None
    hidden_size: int
    width: int = 128
    inner_rate: float = 1e-2
    inner_layers: int = 4
    locality: float = 0.1
    chunk_tokens: int = 192
    training: dict[str, Any] = field(default_factory=dict)


class Camels(Stack[CamelsConfig]):
    """The weighting network; untrained, it gives every token a weight of 1."""

    def __init__(self, config: CamelsConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.inner = nn.Linear(config.hidden_size, config.width)
        self.outer = nn.Linear(config.width, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.constant_(self.outer.bias, _SOFTPLUS_1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return weights above 0, [T], of tokens with hidden states [T, hidden size]."""
        weights: Tensor = F.softplus(
            self.outer(F.gelu(self.inner(hidden.to(self.inner.weight.dtype))))
        )[:, 0]
        return weights

    def weigh(self, lm: BaseLM, tokens: list[int]) -> Tensor:
        """Return the weights [T] of token ids, which the frozen base LM reads."""
        with torch.no_grad():
            hidden = lm.forward(lm.pad([[lm.bos_id, *tokens]]))[0, 1:]
        return self(hidden)  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        """Write the file that `load` reads; it is replaced as a whole."""
        from safetensors.torch import save as to_bytes

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        config = {"config": json.dumps(asdict(self.config))}
        replace_file(folder / FILE, to_bytes(tensors, config))


def load(path: Path) -> Camels:
    """Load a weighting network, on the CPU, from its file or the folder of that file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = path / FILE if path.is_dir() else path
    try:
        with safe_open(path, "pt") as stored:
            config = CamelsConfig(**json.loads((stored.metadata() or {})["config"]))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        network = Camels(config)
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} holds no weighting network: {first_line(error)}",
            "train one with `mac train-rival camels`",
        ) from error
    return network.requires_grad_(False)


class Weigher:
    """A trained network that weighs documents for `models.rivals.finetune.Tuner`.

    Args:
        network: the network.
        lm: the frozen base LM whose hidden states the network reads.

    Raises:
        CheckpointError: the network reads hidden states of another size.
    """

    def __init__(self, network: Camels, lm: BaseLM) -> None:
        if network.config.hidden_size != lm.shape.hidden_size:
            raise CheckpointError(
                f"the weighting network is for a base LM of hidden size "
                f"{network.config.hidden_size}, this one has {lm.shape.hidden_size}"
            )
        self._network, self._lm = network.to(lm.device), lm

    @torch.no_grad()
    def __call__(self, document: str) -> Tensor:
        """Return the weights, float32 [T], of a document's tokens."""
        ids = self._lm.tokenize([document])[0]
        pieces = [ids[i : i + MAX_TOKENS] for i in range(0, len(ids), MAX_TOKENS)]
        return torch.cat([self._network.weigh(self._lm, piece) for piece in pieces])


@dataclass(slots=True)
class CamelsMethod:
    """The `models.training.method.TrainingMethod` that meta-trains a weighting network.

    Args:
        config: the settings of the run; `learning_rate` is the network's.
        model: sizes and settings of the network.
        lm: the frozen base LM whose hidden states the network reads.
        start: a QA-tuned adapter: then the tuned LM is the one that learns from documents.
    """

    config: TrainConfig
    model: CamelsConfig
    lm: BaseLM
    start: Adapter | None = None
    stack: Camels = field(init=False)
    _learner: _Learner = field(init=False)

    def __post_init__(self) -> None:
        self.stack = Camels(self.model, self.config.seed).to(self.lm.device)
        tuned = merged(self.lm, self.start, torch.float32)
        self._learner = _Learner(tuned, self.model.inner_layers)

    def initialise(self, corpus: Corpus, note: Callable[[str], None]) -> None:
        """Note what the inner steps move; the network starts as it is."""
        del corpus
        moved = sum(weight.numel() for weight in self._learner.weights().values())
        note(f"the inner steps move {moved:,} weights of the last {self.model.inner_layers} layers")

    def optimiser(self) -> torch.optim.Optimizer:
        """Return Adam, as in the paper."""
        group = {"params": list(self.stack.parameters()), "peak": self.config.learning_rate}
        return torch.optim.Adam([group])

    def rate(self, step: int) -> float:
        """Return 1: the learning rate is constant."""
        del step
        return 1.0

    def loss(self, corpus: Corpus, batch: Batch, rng: random.Random | None) -> Loss:
        """Return the mean over groups; `relevance` is the locality term.

        The documents of a group are learned one after the other, a step each, as in adaptation;
        then its questions are asked without any text in the prompt.
        """
        rng = rng or random.Random(0)
        terms = [self._group(corpus, batch, g, rng) for g in range(len(batch.chunks))]
        answer, locality = (torch.stack(each).mean() for each in zip(*terms, strict=True))
        return Loss(answer, self.model.locality * locality)

    def _group(
        self, corpus: Corpus, batch: Batch, number: int, rng: random.Random
    ) -> tuple[Tensor, Tensor]:
        group = batch.chunks[number]
        learner, model, lm = self._learner, self.model, self._learner.lm
        weights = learner.weights()
        for row in lm.tokenize([corpus.chunks[chunk] for chunk in group], model.chunk_tokens):
            counts = self.stack.weigh(self.lm, row)
            weights = learner.step(weights, row, counts, model.inner_rate)
        each = len(batch.questions) // len(batch.chunks)
        questions = [corpus.questions[q] for q in batch.questions[number * each :][:each]]
        pairs = [(q.text, q.answers[0]) for q in questions]
        answer = learner.run(weights, lambda: answer_loss(lm, None, pairs, start=(lm.bos_id,)))
        # The locality term reads a document that was not just learned.
        other = rng.randrange(len(corpus.chunks))
        while other in group and len(corpus.chunks) > len(group):
            other = rng.randrange(len(corpus.chunks))
        ids = lm.pad([[lm.bos_id, *lm.tokenize([corpus.chunks[other]], model.chunk_tokens)[0]]])
        with torch.no_grad():
            before = lm.logits(lm.forward(ids))[0].log_softmax(-1)
        after = learner.run(weights, lambda: lm.logits(lm.forward(ids)))[0].log_softmax(-1)
        return answer, F.kl_div(after, before, log_target=True, reduction="batchmean")


class _Learner:
    """An LM whose last layers make gradient steps that can be differentiated through.

    A step returns new weights and leaves those of the LM as they are.
    """

    def __init__(self, lm: BaseLM, layers: int) -> None:
        self.lm = lm
        self._runner = _Runner(lm.model)
        moved = {id(weight) for layer in lm.layers[-layers:] for weight in layer.parameters()}
        self._moved = {n: w for n, w in self._runner.named_parameters() if id(w) in moved}

    def weights(self) -> dict[str, Tensor]:
        """Return the LM's weights that the steps move, by name."""
        return {name: weight.detach().requires_grad_(True) for name, weight in self._moved.items()}

    def run(self, weights: dict[str, Tensor], call: Callable[[], Tensor]) -> Tensor:
        """Return what `call` returns while the LM has these weights."""
        out: Tensor = functional_call(self._runner, weights, (call,))
        return out

    def step(
        self, weights: dict[str, Tensor], tokens: list[int], counts: Tensor, rate: float
    ) -> dict[str, Tensor]:
        """Return the weights after a gradient step on tokens [T] weighted by `counts` [T]."""
        learning = torch.is_grad_enabled()
        with torch.enable_grad():
            loss = self.run(weights, lambda: weighted_loss(self.lm, tokens, counts))
            gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=learning)
        moved = {
            name: weight - rate * gradient
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
        if not learning:
            moved = {name: weight.detach().requires_grad_(True) for name, weight in moved.items()}
        return moved


class _Runner(nn.Module):
    """Runs a call, so that `functional_call` can put other weights into the model meanwhile."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, call: Callable[[], Tensor]) -> Tensor:
        return call()
