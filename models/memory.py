"""A checkpoint at work: documents to modulations, questions to answers.

Joins the base LM, the sentence encoder and the trained stack. It knows nothing of files other than
the checkpoint's, and nothing of the store.

Letters: T tokens a document, R latent size, E key size, S prefix tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from models import checkpoint, chunking
from models.decode import Decoder
from models.device import choose_device, choose_dtype
from models.encoder import SentenceEncoder
from models.features import compute, document_ids
from models.identity import check_identity
from models.latent import LatentConfig, LatentStack, pack
from models.lm import BaseLM, Prefix
from models.modulation import Modulation, Selected, quantise
from models.objective import question_prompt
from models.relevance import RelevanceWeights
from models.weights import resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


class AnswerStream:
    """An answer's text, piece by piece; what else is known of it once it has been read to its end.

    Attributes:
        prefix_tokens: keys and values in front of each layer, constant ones included.
        attention: for each selected document float32 [T], the attention its tokens got from those
            that chose the answer, summed over layers and heads.
        tokens: how many tokens the answer has.
        confidence: geometric mean of the answer tokens' probabilities, in (0, 1]; 0 for no token.
        timings: seconds: `first` up to the first token, `generate` in all.
    """

    def __init__(
        self,
        memory: Memory,
        prompt: list[int],
        prefix: Prefix | None,
        selected: Sequence[Selected],
        max_new: int,
    ) -> None:
        self.prefix_tokens = prefix.bias.shape[1] if prefix is not None else 0
        self.attention: list[NDArray[np.float32]] = []
        self.tokens = 0
        self.confidence = 0.0
        self.timings: dict[str, float] = {}
        self._pieces = self._run(memory, prompt, prefix, selected, max_new)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def _run(
        self,
        memory: Memory,
        prompt: list[int],
        prefix: Prefix | None,
        selected: Sequence[Selected],
        max_new: int,
    ) -> Iterator[str]:
        lm = memory.lm
        watch = torch.zeros_like(prefix.bias) if prefix is not None else None
        begun = time.perf_counter()
        ids: list[int] = []
        shown = ""
        total = 0.0
        for token, log_probability in memory.decoder.stream(prompt, prefix, max_new, watch):
            ids.append(token)
            total += log_probability
            self.timings.setdefault("first", time.perf_counter() - begun)
            # A character may be spread over several tokens: show only what can no longer change.
            text = str(lm.tokenizer.decode(ids)).lstrip()
            settled = text.rstrip("\N{REPLACEMENT CHARACTER}")
            if settled.startswith(shown) and settled != shown:
                yield settled[len(shown) :]
                shown = settled
        if ids and text != shown:
            yield text[len(shown) :]
        self.tokens = len(ids)
        self.confidence = float(np.exp(total / len(ids))) if ids else 0.0
        self.timings["generate"] = time.perf_counter() - begun
        if watch is not None:
            lengths = [len(s.latents) for s in selected]
            documents = watch[0, watch.shape[1] - sum(lengths) :].float().cpu()
            self.attention = [
                s.spread(part.numpy())
                for s, part in zip(selected, documents.split(lengths), strict=True)
            ]


class Memory:
    """A loaded checkpoint with its base LM and sentence encoder.

    Attributes:
        config: the checkpoint's config.
        fingerprint: see `models.checkpoint.fingerprint`.
        chunking: names how documents are cut; stored with each.
        relevance: how dense and lexical relevance mix.
    """

    def __init__(
        self, stack: LatentStack, lm: BaseLM, encoder: SentenceEncoder, fingerprint: str
    ) -> None:
        stack.check(lm.shape)
        self.stack = stack.to(lm.device).eval().requires_grad_(False)
        self.lm, self.encoder, self.fingerprint = lm, encoder, fingerprint
        self.config: LatentConfig = stack.config
        self.chunking = f"{chunking.VERSION}:{self.config.chunk_tokens}"
        self.relevance = RelevanceWeights(self.config.lexical_weight, self.config.likelihood_weight)
        self.decoder = Decoder(lm)

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
        where = choose_device(device)
        stack = checkpoint.load(path)
        config = stack.config
        base = resolve(config.base_lm, progress=progress)
        check_identity(config.base_lm, base, config.base_sha256)
        encoder = resolve(config.encoder, progress=progress)
        check_identity(config.encoder, encoder, config.encoder_sha256)
        return cls(
            stack,
            BaseLM.load(base, device=where, dtype=choose_dtype(where)),
            SentenceEncoder.load(encoder, device=where),
            checkpoint.fingerprint(path),
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, in the base LM's vocabulary."""
        return [len(row) for row in self.lm.tokenize(texts)]

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

    @torch.no_grad()
    def question_likelihood(self, question: str, documents: Sequence[Selected]) -> list[float]:
        """Log p(question | document) of each document alone, in nats: what a second look goes by.

        It costs a forward pass over the question a document, all in one batch.
        """
        prompt = self.lm.tokenize([question_prompt(question)])[0][-LIKELIHOOD_TOKENS:]
        ids = self.lm.pad([prompt] * len(documents))
        prefix = self.prefix([[replace(document, log_weight=0.0)] for document in documents])
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
            return AnswerStream(self, self.chat_prompt(question), None, [], max_new_tokens)
        prompt = self.lm.tokenize([question_prompt(question)])[0]
        return AnswerStream(
            self,
            prompt,
            self.prefix([selected]),
            selected,
            max_new_tokens,
        )

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
        return AnswerStream(self, self.rag_prompt(question, texts), None, [], max_new_tokens)

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
