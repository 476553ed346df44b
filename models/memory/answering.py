"""Answering with or without a modulation: what the loaded models of all stacks share.

Letters: B questions, T tokens of a document, S prefix tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from models.base.batching import batch_tokens
from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM, Prefix
from models.base.tokens import TextTokenizer
from models.memory.base_models import BaseModels
from models.memory.modulation import Selected
from models.memory.protocol import LoadedModel
from models.memory.relevance import RelevanceWeights
from models.memory.stack import MemoryStack
from models.memory.stream import GeneratedAnswer
from models.text import chunking
from models.text.prompts import few_shot_prompt, in_context, question_prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIKELIHOOD_TOKENS = 64
"""Only so many of a long question's last tokens are scored; they are enough to tell documents
apart."""


class Answerer(LoadedModel, ABC):
    """A checkpoint at work, whichever stack it is of; what is public in it is a `LoadedModel`'s.

    Args:
        networks: the trained networks.
        base: the frozen models under them.
        fingerprint: see `models.memory.checkpoint.fingerprint`.
    """

    def __init__(self, networks: MemoryStack[Any], base: BaseModels, fingerprint: str) -> None:
        networks.to(base.device).eval().requires_grad_(False)
        self._networks, self._base, self.fingerprint = networks, base, fingerprint
        config = networks.config
        if base.chosen is not None:
            config = replace(config, key_size=base.key_encoder.size)
        self.config = config
        self.chunking = f"{chunking.VERSION}:{config.chunk_tokens}"
        self.relevance = RelevanceWeights(
            config.lexical_weight,
            config.likelihood_weight,
            config.coverage_weight,
            config.judge_weight,
            config.judge_prior,
        )

    @cached_property
    def lm(self) -> BaseLM:
        """The base LM, loaded at its first use; see `BaseModels.lm` for what may be raised.

        Raises:
            CheckpointError: the checkpoint was not made for a base LM of these sizes.
        """
        return self._checked(self._base.lm)

    def _checked(self, lm: BaseLM) -> BaseLM:
        self._networks.check(lm)
        return lm

    @property
    def generating_lm(self) -> BaseLM:
        """The base LM that reads questions and answers them; another stack may have a faster one.

        Raises:
            WeightsError, CheckpointError, ModelError: as for `lm`.
        """
        return self.lm

    def load(self) -> None:
        """See `LoadedModel.load`."""
        _ = self.generating_lm, self._base.key_encoder

    @cached_property
    def text(self) -> TextTokenizer:
        """Reads texts with the base LM's tokenizer, which needs no weights."""
        return TextTokenizer(self._base.tokenizer)

    @property
    def encoder(self) -> SentenceEncoder:
        """See `LoadedModel.encoder`, and `BaseModels.encoder` for what may be raised."""
        return self._base.encoder

    @abstractmethod
    def applied(
        self, question: str, groups: Sequence[Sequence[Selected]]
    ) -> AbstractContextManager[Prefix | None]:
        """Return a context in which the base LM runs under the documents' modulations.

        Args:
            question: what the documents are aggregated for.
            groups: the documents of each sequence that will be run.

        Returns:
            A context that gives the prefix, one group a sequence; None for a modulation that
            changes the LM's layers while the context lasts. It can be entered again.
        """

    @abstractmethod
    def answer_batch(
        self,
        questions: Sequence[str],
        groups: Sequence[Sequence[Selected]],
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
    ) -> list[list[int]]:
        """Return greedy answers to B questions, each from documents of its own.

        Args:
            questions: what the documents are aggregated for.
            groups: for each question at least one modulation.
            prompts: token ids that the base LM reads after each aggregated modulation.
            max_new_tokens: the most tokens of an answer.

        Returns:
            The token ids of each answer, without the end of the sequence.
        """

    @abstractmethod
    def prefix_size(self, selected: Sequence[Selected]) -> int:
        """Return S, the keys and values in front of each layer for these documents."""

    def opening(self) -> list[int]:
        """Return the token ids in front of a question that is answered from modulations."""
        return []

    def _attended(self, selected: Sequence[Selected]) -> Sequence[Selected]:
        """Return the documents whose tokens stand at the prefix's end, in order."""
        return selected

    def prompt(self, question: str) -> list[int]:
        """Return the token ids that the base LM reads under a question's modulation."""
        return self.opening() + self.text.ids([question_prompt(question)])[0]

    @property
    def batch_tokens(self) -> int:
        """See `LoadedModel.batch_tokens`."""
        return batch_tokens(self._base.device)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, in the base LM's vocabulary."""
        return [len(row) for row in self.text.ids(texts)]

    def keys(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> NDArray[np.float16]:
        """Return the keys [B, E] by which texts in their contexts are found."""
        whole = in_context(texts, contexts)
        return self._base.key_encoder.encode_documents(whole).cpu().numpy().astype(np.float16)

    @torch.no_grad()
    def question_likelihood(self, question: str, documents: Sequence[Selected]) -> list[float]:
        """Return log p(question | document) of each document alone, in nats.

        All documents go through the base LM in one batch, which reads the question once for each.
        """
        lm = self.generating_lm
        ids = lm.tokenize([question_prompt(question)])[0][-LIKELIHOOD_TOKENS:]
        rows = lm.pad([self.opening() + ids] * len(documents))
        groups = [[replace(document, log_weight=0.0)] for document in documents]
        with self.applied(question, groups) as prefix:
            logits = lm.logits(lm.forward(rows, prefix)[:, :-1]).float()
        surprise = F.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
        likelihoods: list[float] = surprise.sum(-1).neg().tolist()
        return likelihoods

    @torch.no_grad()
    def answer_likelihoods(
        self, question: str, answers: Sequence[str], selected: Sequence[Selected]
    ) -> list[float]:
        """Return log p of each of some answers from the selected modulations, in nats.

        The end of an answer counts, so that half of one is not as likely as the whole.
        """
        if not answers:
            return []
        lm = self.generating_lm
        prompt = lm.pad([self.prompt(question)])
        ends = [[*row, lm.eos_id] for row in lm.tokenize([f" {a}" for a in answers])]
        rows = lm.pad([row[:-1] for row in ends])
        lengths = torch.tensor([[len(row) - 1] for row in ends], device=rows.device)
        real = torch.arange(rows.shape[1], device=rows.device) < lengths
        with self.applied(question, [selected]) as prefix:
            cache = lm.new_cache(prefix, 1, prompt.shape[1])
            last = lm.forward(prompt, cache=cache)[0, -1:]
            hidden = lm.forward(rows, cache=cache.fork(*rows.shape), real=real)
        # Padding is left out: the vocabulary is large.
        parts = [
            torch.cat((last, row[: len(end) - 1])) for row, end in zip(hidden, ends, strict=True)
        ]
        targets = torch.tensor([token for end in ends for token in end], device=hidden.device)
        surprise = F.cross_entropy(lm.logits(torch.cat(parts)).float(), targets, reduction="none")
        return [-float(part.sum()) for part in surprise.split([len(end) for end in ends])]

    def answer(
        self, question: str, selected: Sequence[Selected], *, max_new_tokens: int = 32
    ) -> GeneratedAnswer:
        """Answer from the selected modulations; from none, exactly as the base LM does.

        Args:
            question: one or several lines.
            selected: the documents, in any order.
            max_new_tokens: the most tokens of the answer.
        """
        if not selected:
            return _generate(self.generating_lm, self.chat_prompt(question), max_new_tokens)
        return GeneratedAnswer(
            self.generating_lm,
            self.prompt(question),
            max_new_tokens,
            self.applied(question, [selected]),
            self._attended(selected),
        )

    def answer_rag(
        self, question: str, texts: Sequence[str], *, max_new_tokens: int = 32
    ) -> GeneratedAnswer:
        """Answer from texts in the prompt, after a few examples: what `mac` is measured against."""
        # Long prompts are read faster with all bits of the weights.
        return _generate(self.lm, self.rag_prompt(question, texts), max_new_tokens)

    def rag_prompt(self, question: str, texts: Sequence[str]) -> list[int]:
        """Return the token ids of the few-shot prompt with the texts, the most relevant first."""
        return [self.lm.bos_id, *self.lm.tokenize([few_shot_prompt(question, texts)])[0]]

    def chat_prompt(self, question: str) -> list[int]:
        """Return the token ids of the bare question as the base LM expects it."""
        ids = self.text.chat(question)
        if ids is None:
            lm = self.generating_lm
            return [lm.bos_id, *lm.tokenize([question_prompt(question)])[0]]
        return ids


def _generate(lm: BaseLM, prompt: list[int], max_new_tokens: int) -> GeneratedAnswer:
    return GeneratedAnswer(lm, prompt, max_new_tokens, nullcontext(), ())
