"""A checkpoint at work: documents to modulations, questions to answers.

Joins the base LM, the sentence encoder and the trained stack. It knows nothing of files other than
the checkpoint's, and nothing of the store.

Letters: T tokens a document, R latent size, E key size, S prefix tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from models.base.encoder import SentenceEncoder
from models.base.generate import generate_batch
from models.base.lm import BaseLM, Prefix
from models.errors import CheckpointError
from models.latent.features import compute, document_ids
from models.latent.networks import LatentConfig, LatentStack, pack
from models.memory import checkpoint
from models.memory.answering import Answerer, frozen
from models.memory.modulation import Modulation, Selected, quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Memory(Answerer):
    """A loaded checkpoint of the `latent` stack with its base LM and sentence encoder.

    Attributes:
        config: the checkpoint's config.
    """

    def __init__(
        self, stack: LatentStack, lm: BaseLM, encoder: SentenceEncoder, fingerprint: str
    ) -> None:
        stack.check(lm.shape)
        self.stack = stack.to(lm.device).eval().requires_grad_(False)
        self.config: LatentConfig = stack.config
        super().__init__(self.config, lm, encoder, fingerprint)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str = "auto",
        progress: Callable[[str, int, int | None], None] | None = None,
    ) -> Memory:
        """Load a checkpoint and what it stands on, pulling weights that are missing.

        Args:
            path: the checkpoint's folder.
            device: "auto", "cpu", "cuda" or "mps".
            progress: told about downloads.

        Raises:
            WeightsError: the base LM or the encoder cannot be found or reached.
            CheckpointError: the checkpoint is damaged or belongs to another base LM.
        """
        stack = checkpoint.load(path)
        if not isinstance(stack, LatentStack):
            raise CheckpointError(f"{path} is a checkpoint of the `paper` stack")
        return cls(stack, *frozen(stack.config, device, progress), checkpoint.fingerprint(path))

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where in a chunk's text each of its T tokens stands: (start, end) character offsets."""
        tokenizer: Any = self.lm.tokenizer
        spans: list[tuple[int, int]] = tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True
        )["offset_mapping"]
        return spans[: self.config.chunk_tokens]

    @torch.no_grad()
    def amortize(self, texts: Sequence[str]) -> list[Modulation]:
        """The modulation of each text (g_theta of the paper's section 3.1).

        Any number of texts may come at once; they are batched by length inside, and a text's
        modulation does not depend on its company beyond rounding.
        """
        features = compute(self.lm, document_ids(self.lm, texts, self.config.chunk_tokens))
        keys = self.encoder.encode(texts).cpu().numpy().astype(np.float16)
        out = []
        for x, key in zip(features, keys, strict=True):
            latents, scales = quantise(self.stack.amortizer(x.float()).cpu().numpy())
            out.append(Modulation(latents, scales, key))
        return out

    @torch.no_grad()
    def encode_question(self, question: str) -> NDArray[np.float32]:
        """The query, float32 [E]: a document's dense relevance is its key times this."""
        embedding = self.encoder.encode([question])
        query: NDArray[np.float32] = self.stack.relevance.query(embedding)[0].cpu().numpy()
        return query

    @torch.no_grad()
    def prefix(self, banks: Sequence[Sequence[Selected]]) -> Prefix:
        """The aggregated modulation of each question's selected documents, one group a question."""
        device = self.lm.device
        latents = [
            [
                torch.from_numpy(s.latents).to(device).float()
                * torch.from_numpy(s.scales).to(device).float()[:, None]
                for s in bank
            ]
            for bank in banks
        ]
        size = max(map(len, banks))
        bias = torch.full((len(banks), size), float("-inf"), device=device)
        for i, bank in enumerate(banks):
            bias[i, : len(bank)] = torch.tensor([s.log_weight for s in bank])
        if all(s.which is None for bank in banks for s in bank):
            return self.stack.prefix(self.lm, *pack(latents), bias)
        ends = [[torch.from_numpy(s.before_end()).to(device) for s in bank] for bank in banks]
        counts = [torch.from_numpy(np.concatenate([s.counts() for s in bank])) for bank in banks]
        log_count = pad_sequence(counts, batch_first=True, padding_value=1).to(device).log()
        return self.stack.prefix(self.lm, *pack(latents, ends), bias, log_count)

    def answer_batch(
        self,
        questions: Sequence[str],
        banks: Sequence[Sequence[Selected]],
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
    ) -> list[list[int]]:
        """See `Answerer.answer_batch`; the base LM's own attention to each prompt aggregates."""
        return generate_batch(self.lm, prompts, self.prefix(banks), max_new_tokens)

    def prefix_size(self, selected: Sequence[Selected]) -> int:
        """See `Answerer.prefix_size`; they grow with the documents."""
        return self.config.constant_tokens + sum(len(s.latents) for s in selected)

    def worn(
        self, question: str, banks: Sequence[Sequence[Selected]]
    ) -> AbstractContextManager[Prefix | None]:
        """See `Answerer.worn`."""
        return nullcontext(self.prefix(banks))

    def _watched(self, selected: Sequence[Selected]) -> Sequence[Selected]:
        return selected
