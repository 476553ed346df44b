"""Answering with or without a prefix: what the memories of all stacks share.

Letters: T tokens a document, S prefix tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from models.base.decode import Decoder
from models.base.device import choose_device, choose_dtype
from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM, Prefix
from models.export import peft as peft_export
from models.latent.objective import question_prompt
from models.memory.modulation import Selected
from models.memory.relevance import RelevanceWeights
from models.memory.stream import AnswerStream
from models.text import chunking
from models.weights.identity import check_identity
from models.weights.resolve import resolve

if TYPE_CHECKING:
    from models.latent.networks import LatentConfig
    from models.paper.config import PaperConfig

SHOTS = (
    "Answer the question from the text, with a few words of it.\n\n"
    "Text: The library of Oldbridge reopened in May; its repairs had cost 4 million euros.\n"
    "Question: How much did the repairs cost?\nAnswer: 4 million euros\n\n"
    "Text: Nadia Brandt took the silver medal behind Ines Kovar at the indoor finals in Lahti.\n"
    "Question: Who won the indoor finals?\nAnswer: Ines Kovar\n\n"
)
"""The few-shot prompt of `rag`: invented examples, so that no answer is in them."""

LIKELIHOOD_TOKENS = 64
"""Of a longer question the end says enough to tell documents apart."""


def frozen(
    config: LatentConfig | PaperConfig,
    device: str,
    progress: Callable[[str, int, int | None], None] | None,
) -> tuple[BaseLM, SentenceEncoder]:
    """What a checkpoint stands on, checked to be what it was trained on; pulled where missing.

    Raises:
        WeightsError: the base LM or the encoder cannot be found or reached.
        CheckpointError: the checkpoint belongs to another base LM or encoder.
        ModelError: the base LM is to be quantized as this machine cannot.
    """
    where = choose_device(device)
    base = resolve(config.base_lm, progress=progress)
    check_identity(config.base_lm, base, config.base_sha256)
    encoder = resolve(config.encoder, progress=progress)
    check_identity(config.encoder, encoder, config.encoder_sha256)
    return (
        BaseLM.load(
            base,
            device=where,
            dtype=choose_dtype(where),
            quantization=config.base_quantization,
        ),
        SentenceEncoder.load(encoder, device=where),
    )


class Answerer(ABC):
    """What the memories of all stacks share: a base LM that answers, with or without a prefix.

    Attributes:
        fingerprint: see `models.memory.checkpoint.fingerprint`.
        base_name: what the checkpoint calls its base LM.
        chunking: names how documents are cut; stored with each.
        relevance: how dense and lexical relevance mix.
    """

    def __init__(
        self,
        config: LatentConfig | PaperConfig,
        lm: BaseLM,
        encoder: SentenceEncoder,
        fingerprint: str,
    ) -> None:
        self.lm, self.encoder, self.fingerprint = lm, encoder, fingerprint
        self.base_name = config.base_lm
        self.chunking = f"{chunking.VERSION}:{config.chunk_tokens}"
        self.relevance = RelevanceWeights(
            config.lexical_weight, config.likelihood_weight, config.coverage_weight
        )
        self.decoder = Decoder(lm)

    @abstractmethod
    def worn(
        self, question: str, banks: Sequence[Sequence[Selected]]
    ) -> AbstractContextManager[Prefix | None]:
        """The base LM under the aggregated modulation of each bank's documents, one group a bank.

        Args:
            question: what the documents are aggregated for.
            banks: for each sequence that will be run, its documents.

        Returns:
            A context that gives the prefix to run the base LM behind, None for a modulation that
            changes its layers while the context lasts. It can be entered again.
        """

    def _opening(self) -> list[int]:
        """What stands in front of a question that is answered from modulations."""
        return []

    @abstractmethod
    def answer_batch(
        self,
        questions: Sequence[str],
        banks: Sequence[Sequence[Selected]],
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
    ) -> list[list[int]]:
        """Greedy answers to B questions, each from the modulations of its own bank.

        Args:
            questions: what aggregation goes by.
            banks: for each question at least one modulation.
            prompts: token ids that the base LM reads behind each aggregated modulation.
            max_new_tokens: the longest answer.

        Returns:
            The token ids of each answer, without the end of the sequence.
        """

    @abstractmethod
    def prefix_size(self, selected: Sequence[Selected]) -> int:
        """S, the keys and values in front of each layer for a bank of these modulations."""

    @abstractmethod
    def _watched(self, selected: Sequence[Selected]) -> Sequence[Selected]:
        """Those of the selected documents whose tokens stand at the prefix's end, in order."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, in the base LM's vocabulary."""
        return [len(row) for row in self.lm.tokenize(texts)]

    @torch.no_grad()
    def question_likelihood(self, question: str, documents: Sequence[Selected]) -> list[float]:
        """Log p(question | document) of each document alone, in nats: what a second look goes by.

        It costs a forward pass over the question a document, all in one batch.
        """
        prompt = self.lm.tokenize([question_prompt(question)])[0][-LIKELIHOOD_TOKENS:]
        prompt = self._opening() + prompt
        ids = self.lm.pad([prompt] * len(documents))
        banks = [[replace(document, log_weight=0.0)] for document in documents]
        with self.worn(question, banks) as prefix:
            logits = self.lm.logits(self.lm.forward(ids, prefix)[:, :-1]).float()
        surprise = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        likelihoods: list[float] = surprise.sum(-1).neg().tolist()
        return likelihoods

    def answer(
        self,
        question: str,
        selected: Sequence[Selected],
        *,
        max_new_tokens: int = 32,
        seed: int | None = None,
    ) -> AnswerStream:
        """Answer from the selected modulations; from none, exactly as the base LM does.

        Args:
            question: one or several lines.
            selected: the documents, in any order.
            max_new_tokens: the longest answer.
            seed: no effect: decoding is greedy; it is accepted so that every mode takes the same
                options.
        """
        del seed
        if not selected:
            return AnswerStream(self, self.chat_prompt(question), nullcontext(), [], max_new_tokens)
        prompt = self._opening() + self.lm.tokenize([question_prompt(question)])[0]
        return AnswerStream(
            self,
            prompt,
            self.worn(question, [selected]),
            self._watched(selected),
            max_new_tokens,
        )

    def export_adapter(self, question: str, selected: Sequence[Selected], folder: Path) -> None:
        """Write the modulation that `answer` wears; see `peft_export.export`."""
        ids = self._opening() + self.lm.tokenize([question_prompt(question)])[0]
        worn = self.worn(question, [selected])
        peft_export.export(self.lm, worn, folder, question, ids, self.base_name)

    def answer_rag(
        self,
        question: str,
        texts: Sequence[str],
        *,
        max_new_tokens: int = 32,
        seed: int | None = None,
    ) -> AnswerStream:
        """Answer from texts in the prompt, after a few examples: what `mac` is measured against."""
        del seed
        prompt = self.rag_prompt(question, texts)
        return AnswerStream(self, prompt, nullcontext(), [], max_new_tokens)

    def rag_prompt(self, question: str, texts: Sequence[str]) -> list[int]:
        """Token ids of the few-shot prompt with the texts in it.

        The most relevant text, `texts[0]`, stands last: nearest to the question it is read best.
        """
        prompt = f"{SHOTS}Text: {' '.join(reversed(texts))}\n{question_prompt(question)}"
        return [self.lm.bos_id, *self.lm.tokenize([prompt])[0]]

    def chat_prompt(self, question: str) -> list[int]:
        """Token ids of the bare question as the base LM expects it."""
        tokenizer: Any = self.lm.tokenizer
        if tokenizer.chat_template is None:
            return [self.lm.bos_id, *self.lm.tokenize([question_prompt(question)])[0]]
        message = {"role": "user", "content": question}
        ids: list[int] = tokenizer.apply_chat_template(
            [message], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        return ids
