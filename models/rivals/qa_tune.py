"""Trains an adapter that makes the base LM answer questions, for two rivals of `mac`.

With the task ``closed-book`` it answers from the question alone: the paper's rivals that are then
fine-tuned on documents start from such a base (arXiv 2403.04317, section 4). With ``text`` it reads
the text of the document and of others of the same source: that is rag with a LoRA of as many
trained parameters as `mac` has, trained on the same questions.

Letters: N questions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from models.base.lm import BaseLM
from models.latent.config import LatentConfig
from models.latent.networks import LatentStack
from models.rivals.adapter import Adapter, AdapterConfig, Task
from models.text.prompts import question_prompt, text_prompt
from models.training.batches import Batch
from models.training.corpus import Corpus
from models.training.loss import Loss, answer_loss
from models.training.settings import TrainConfig, decaying

LEARNING_RATE = 5e-4
MAX_TOKENS = 1024
"""The most tokens of a prompt with its answer; the least relevant text is cut off."""
ROWS = 4
"""The number of questions whose activations are held at once."""


def prompt_tokens(lm: BaseLM, question: str, texts: Sequence[str] | None = None) -> list[int]:
    """Return the prompt of a tuned LM as token ids, as in its training.

    Args:
        lm: the LM.
        question: the question.
        texts: the retrieved texts, the most relevant first; None for an LM of the other task.
    """
    text = question_prompt(question) if texts is None else text_prompt(question, texts)
    return [lm.bos_id, *lm.tokenize([text])[0]]


def latent_parameters(config: LatentConfig) -> int:
    """Return the number of trained parameters of a `latent` checkpoint."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in LatentStack(config).parameters())


@dataclass(slots=True)
class QATuning:
    """The `models.training.method.TrainingMethod` that trains an adapter with the QA loss.

    Args:
        config: the settings of the run; `learning_rate` is the adapter's.
        model: rank, scale and task of the adapter.
        lm: the frozen base LM; the attribute is the same LM with the adapter.
    """

    config: TrainConfig
    model: AdapterConfig
    lm: BaseLM
    stack: Adapter = field(init=False)

    def __post_init__(self) -> None:
        if self.model.task not in ("closed-book", "text"):
            raise ValueError(f"unknown task {self.model.task!r}")
        self.stack = Adapter(self.model, self.lm, seed=self.config.seed)
        self.lm = self.stack.lm

    def initialise(self, corpus: Corpus, note: Callable[[str], None]) -> None:
        """Note the size of the adapter, which changes nothing yet."""
        del corpus
        trained = sum(weight.numel() for weight in self.stack.parameters())
        note(f"an adapter of rank {self.model.rank}: {trained:,} trained parameters")

    def optimiser(self) -> torch.optim.Optimizer:
        """See `TrainingMethod.optimiser`."""
        group = {"params": list(self.stack.parameters()), "peak": self.config.learning_rate}
        return torch.optim.AdamW([group], weight_decay=0.0, betas=(0.9, 0.98))

    def rate(self, step: int) -> float:
        """See `models.training.settings.decaying`."""
        return decaying(self.config, step)

    def loss(self, corpus: Corpus, batch: Batch, rng: random.Random | None) -> Loss:
        """See `TrainingMethod.loss`."""
        del rng
        pairs = examples(corpus, batch, self.model.task or "closed-book")
        pairs.sort(key=lambda pair: len(pair[0]))
        parts = [pairs[i : i + ROWS] for i in range(0, len(pairs), ROWS)]
        # Attention over long prompts is large: it is held for one part only, and computed twice.
        sums = [checkpoint(self._surprise, part, use_reentrant=False) for part in parts]
        answers = self.lm.tokenize([" " + a.strip() for _, a in pairs], MAX_TOKENS // 2)
        answer = torch.stack(sums).sum() / sum(len(row) + 1 for row in answers)
        return Loss(answer, torch.zeros((), device=answer.device))

    def _surprise(self, pairs: list[tuple[str, str]]) -> Tensor:
        """Return the cross-entropy of the answers after their prompts, as a sum over tokens."""
        return answer_loss(
            self.lm,
            None,
            pairs,
            prompt=str,
            max_tokens=MAX_TOKENS,
            start=(self.lm.bos_id,),
            reduction="sum",
        )


def examples(corpus: Corpus, batch: Batch, task: Task) -> list[tuple[str, str]]:
    """Return the prompt and the answer of each of the batch's N questions.

    With text in the prompt, a question sees the visible documents of its group in the order of
    their relevance, as in evaluation.
    """
    out = []
    each = len(batch.questions) // len(batch.chunks)
    for n, number in enumerate(batch.questions):
        question = corpus.questions[number]
        if task == "closed-book":
            out.append((question_prompt(question.text), question.answers[0]))
            continue
        group = batch.chunks[n // each]
        seen = [chunk for chunk, shown in zip(group, batch.visible[n], strict=True) if shown]
        scores = corpus.keys[seen] @ corpus.queries[number]
        ranked = [corpus.chunks[seen[i]] for i in scores.argsort(descending=True).tolist()]
        out.append((text_prompt(question.text, ranked), question.answers[0]))
    return out
