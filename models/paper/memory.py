"""A checkpoint of the paper's stack at work, behind the interface of `models.latent.memory.Memory`.

A modulation is stored as its T latents of size d, rounded as those of the `latent` stack are, with
the document's sentence embedding as its key. A question selects documents by the key (the paper has
no such step: k as large as the bank leaves it out), and the aggregator reads them, hierarchically
where they are more than M.

Letters: K selected documents, T tokens of a modulation, d latent size, E key size, M documents a
group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.base.batching import batch_tokens, length_batches
from models.base.encoder import SentenceEncoder
from models.base.generate import generate_batch
from models.base.lm import BaseLM, Prefix
from models.errors import CheckpointError
from models.memory import checkpoint
from models.memory.answering import Answerer, frozen
from models.memory.modulation import Modulation, Selected, quantise
from models.paper import setup
from models.paper.config import PaperConfig
from models.paper.reading import Reader, collate
from models.paper.stack import PaperStack

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARPNESS = 20.0
"""What cosines are multiplied by to be nats, as in an untrained `latent` stack."""


class PaperMemory(Answerer):
    """A loaded checkpoint of the paper's stack with its base LM and encoders.

    Attributes:
        config: the checkpoint's config.
        group: M, how many documents are aggregated at once, more hierarchically; None: all of
            them, part by part, with the result of all at once.
    """

    def __init__(
        self,
        stack: PaperStack,
        lm: BaseLM,
        encoder: SentenceEncoder,
        reader: Reader,
        fingerprint: str,
    ) -> None:
        stack.check(lm.shape)
        stack.head.check(lm)
        self.stack = stack.to(lm.device).eval().requires_grad_(False)
        self.config: PaperConfig = stack.config
        self.group: int | None = self.config.group
        self.reader = reader
        super().__init__(self.config, lm, encoder, fingerprint)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str = "auto",
        progress: Callable[[str, int, int | None], None] | None = None,
    ) -> PaperMemory:
        """Load a checkpoint and what it stands on; see `models.latent.memory.Memory.load`."""
        stack = checkpoint.load(path)
        if not isinstance(stack, PaperStack):
            raise CheckpointError(f"{path} is a checkpoint of the `latent` stack")
        lm, encoder = frozen(stack.config, device, progress)
        reader = setup.reader(stack.config, lm, encoder, progress)
        return cls(stack, lm, encoder, reader, checkpoint.fingerprint(path))

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """None: a latent stands for no token in particular, so it points at no place in a text."""
        return []

    @torch.no_grad()
    def amortize(self, texts: Sequence[str]) -> list[Modulation]:
        """The modulation of each text, T latents (section 3.1)."""
        rows = self.reader.read(texts)
        keys = self.encoder.encode(texts).cpu().numpy().astype(np.float16)
        latents = [np.empty(0, np.float32)] * len(rows)
        for batch in length_batches([len(row) for row in rows], batch_tokens(self.lm.device)):
            amortized = self.stack.amortizer(collate([rows[i] for i in batch])).cpu().numpy()
            for i, z in zip(batch, amortized, strict=True):
                latents[i] = z
        return [Modulation(*quantise(z), key) for z, key in zip(latents, keys, strict=True)]

    @torch.no_grad()
    def encode_question(self, question: str) -> NDArray[np.float32]:
        """The query, float32 [E]: a document's relevance is its key times this."""
        query: NDArray[np.float32] = self.encoder.encode([question])[0].cpu().numpy()
        return query * np.float32(SHARPNESS)

    def aggregate(self, question: str, selected: Sequence[Selected]) -> torch.Tensor:
        """The question's modulation [1, T, d] of the selected documents' (sections 3.2, 3.3)."""
        return self.aggregate_whole([question], lambda: [selected])

    @torch.no_grad()
    def aggregate_whole(
        self, questions: Sequence[str], read: Callable[[], Iterable[Sequence[Selected]]]
    ) -> torch.Tensor:
        """The modulation of each question, [N, T, d], of one bank that all of them read.

        Args:
            questions: N of them.
            read: starts reading the bank in parts of bounded size; called once, or once a layer
                where all documents are aggregated at once.
        """
        device = self.lm.device

        def blocks() -> Iterator[torch.Tensor]:
            for part in read():
                yield torch.from_numpy(np.stack([_latents(s) for s in part])).to(device)

        asked = self.stack.question(collate(self.reader.read(questions)))
        if self.group is None:
            return self.stack.aggregator.chunked(asked, blocks)
        return self.stack.aggregator.hierarchical(asked, blocks(), self.group)

    def answer_batch(
        self,
        questions: Sequence[str],
        banks: Sequence[Sequence[Selected]],
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
    ) -> list[list[int]]:
        """See `Answerer.answer_batch`."""
        latents = [self.aggregate(q, bank) for q, bank in zip(questions, banks, strict=True)]
        return self.answer_aggregated(torch.cat(latents), prompts, max_new_tokens)

    @torch.no_grad()
    def answer_aggregated(
        self, latents: torch.Tensor, prompts: Sequence[Sequence[int]], max_new_tokens: int
    ) -> list[list[int]]:
        """Greedy answers' token ids to B prompts, each under its aggregated latents [B, T, d]."""
        opening = self._opening()
        with self.stack.head.worn(self.lm, latents) as prefix:
            read = [[*opening, *prompt] for prompt in prompts]
            return generate_batch(self.lm, read, prefix, max_new_tokens)

    def prefix_size(self, selected: Sequence[Selected]) -> int:
        """See `Answerer.prefix_size`; as many for any number of documents."""
        return self.config.prefix_tokens if self.config.modulation == "prefix" else 0

    @torch.no_grad()
    def worn(
        self, question: str, banks: Sequence[Sequence[Selected]]
    ) -> AbstractContextManager[Prefix | None]:
        """See `Answerer.worn`."""
        latents = torch.cat([self.aggregate(question, bank) for bank in banks])
        return self.stack.head.worn(self.lm, latents)

    def _opening(self) -> list[int]:
        return self.stack.head.opening(self.lm)

    def _watched(self, selected: Sequence[Selected]) -> Sequence[Selected]:
        """No documents: the prefix has no tokens that are one document's."""
        return ()


def _latents(selected: Selected) -> NDArray[np.float32]:
    """The T latents, float32 [T, d]; one that stands for several, in each one's place."""
    scales = selected.scales.astype(np.float32)[:, None]
    latents: NDArray[np.float32] = selected.latents.astype(np.float32) * scales
    return latents if selected.which is None else latents[selected.which]
