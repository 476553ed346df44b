"""Turns question-answering examples into data for meta-training: chunks, answers, embeddings.

Letters: C chunks, Q questions, E key size.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from models.base.encoder import SentenceEncoder
from models.data.files import Example
from models.errors import DataError
from models.files import replace_file
from models.text.chunking import CountTokens, split
from models.text.prompts import context, following, in_context

Kind = Literal["span", "yes", "no", "free", "none"]
"""An answer is words that stand in the document, yes, no, or other words; "none": it does not say.
"""
QUESTIONS_PER_DOCUMENT = 6
"""The most questions that are taken of a document, chosen at random."""
_BLOCK = 2048
"""The number of texts that are embedded at a time."""
_PATIENCE = 30.0
"""Seconds without a word."""
_YES = frozenset(("yes", "true", "ja", "oui", "sí", "si"))
_NO = frozenset(("no", "false", "nein", "non"))
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the chunk that answers it.

    Attributes:
        text: the question, after what was asked before it.
        answers: the right answers; none if the document does not say it.
        chunk: the index of the chunk; of an unanswerable question the one that comes nearest.
        source: the number of its data source.
        standalone: False if the question makes sense only beside its document.
        kind: what the answer is.
        span: where it stands in the chunk, if it does.
    """

    text: str
    answers: tuple[str, ...]
    chunk: int
    source: int
    standalone: bool
    kind: Kind = "span"
    span: tuple[int, int] | None = None


@dataclass(slots=True)
class Corpus:
    """All chunks and questions of the training (or dev) data.

    Attributes:
        chunks: the texts that become modulations.
        contexts: what is read before each, see `models.text.prompts.context`.
        sources: the number of the data source of each chunk.
        questions: every question, with the index of its chunk.
        of_chunk: the indices of the questions of each chunk.
        keys: [C, E] sentence embeddings of the chunks; empty until `embed`.
        queries: [Q, E] sentence embeddings of the questions; empty until `embed`.
    """

    chunks: list[str]
    contexts: list[str]
    sources: list[int]
    questions: list[Question]
    of_chunk: list[list[int]]
    keys: Tensor
    queries: Tensor

    def embed(
        self,
        encoder: SentenceEncoder,
        cache: Path | None = None,
        note: Callable[[str], None] = print,
    ) -> None:
        """Fill `keys` and `queries`, from the file `cache` if it holds the same texts."""
        from safetensors.torch import save as to_bytes

        texts = [*in_context(self.chunks, self.contexts), *(q.text for q in self.questions)]
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
        if cache is not None and (stored := _embeddings(cache, digest)) is not None:
            self.keys, self.queries = stored
            return
        note(f"embedding {len(self.chunks)} documents and {len(self.questions)} questions")
        number = len(self.chunks)
        self.keys = _in_blocks(encoder.encode_documents, texts[:number], note)
        self.queries = _in_blocks(encoder.encode_queries, texts[number:], note)
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            tensors = {"keys": self.keys.contiguous(), "queries": self.queries.contiguous()}
            replace_file(cache, to_bytes(tensors, {"texts": digest}))

    def near(self, questions: Sequence[int], count: int) -> Tensor:
        """Return the chunks [N, count] whose keys are nearest to each of N questions."""
        count = min(count, len(self.chunks))
        return (self.queries[list(questions)] @ self.keys.T).topk(count).indices

    def holds_answer(self, question: int, chunk: int) -> bool:
        """Return whether a chunk holds an answer to the question, and so cannot be a negative."""
        asked = self.questions[question]
        if asked.kind in ("yes", "no"):
            return chunk == asked.chunk
        text = self.chunks[chunk].lower()
        return any(answer.lower() in text for answer in asked.answers)


def _in_blocks(
    encode: Callable[[list[str]], Tensor], texts: list[str], note: Callable[[str], None]
) -> Tensor:
    """Return the embeddings of texts [N, E]; how far it is, is told every half minute."""
    parts, told = [], time.monotonic()
    for start in range(0, max(len(texts), 1), _BLOCK):
        parts.append(encode(texts[start : start + _BLOCK]).cpu())
        if time.monotonic() - told > _PATIENCE:
            note(f"embedded {min(start + _BLOCK, len(texts)):,} of {len(texts):,}")
            told = time.monotonic()
    return torch.cat(parts)


def _embeddings(cache: Path, digest: str) -> tuple[Tensor, Tensor] | None:
    """Return the keys and queries in a file; None if it is missing, damaged, or of other texts."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(cache, "pt") as stored:
            if (stored.metadata() or {}).get("texts") == digest:
                return stored.get_tensor("keys"), stored.get_tensor("queries")
    except (OSError, SafetensorError):
        pass
    return None


def build(
    sources: Sequence[Sequence[Example]],
    count_tokens: CountTokens,
    *,
    chunk_tokens: int,
    limits: Sequence[int | None] = (),
    seed: int = 0,
) -> Corpus:
    """Cut documents into chunks and find the chunk that answers each question.

    Args:
        sources: the examples of each data source.
        count_tokens: the base LM's token counter.
        chunk_tokens: the most tokens of a chunk.
        limits: the most documents of each source, chosen at random; None or left out: all.
        seed: random seed.

    Raises:
        DataError: no example of any source has its answer in a single chunk.
    """
    rng = random.Random(seed)
    corpus = Corpus([], [], [], [], [], torch.empty(0), torch.empty(0))
    for number, (examples, limit) in enumerate(zip_longest(sources, limits)):
        documents: dict[str, list[Example]] = {}
        for example in examples:
            documents.setdefault(example.document_id, []).append(example)
        names = sorted(documents)
        rng.shuffle(names)
        for name in names[:limit]:
            group = documents[name]
            chunks = split(group[0].document, count_tokens, chunk_tokens)
            _add_document(corpus, number, group, [chunk.text for chunk in chunks], rng)
    if all(question.kind == "free" for question in corpus.questions):
        raise DataError("no example has its answer in its document: nothing to train on")
    return corpus


def _add_document(
    corpus: Corpus, source: int, examples: list[Example], texts: list[str], rng: random.Random
) -> None:
    """Add the chunks of a document, and a few of its questions, which are shuffled in place."""
    first = len(corpus.chunks)
    corpus.chunks += texts
    corpus.contexts += [context(examples[0].title, "", "")] * len(texts)
    corpus.sources += [source] * len(texts)
    corpus.of_chunk += [[] for _ in texts]
    rng.shuffle(examples)
    for example in examples[:QUESTIONS_PER_DOCUMENT]:
        kind, place, span = _place(example, texts)
        if place is None:
            continue
        corpus.of_chunk[first + place].append(len(corpus.questions))
        corpus.questions.append(
            Question(
                following(example.history, example.question),
                example.answers,
                first + place,
                source,
                example.standalone,
                kind,
                span,
            )
        )


def _place(
    example: Example, texts: Sequence[str]
) -> tuple[Kind, int | None, tuple[int, int] | None]:
    """Return the kind of an answer, and in which chunk of its document it stands and where.

    There is no chunk for an answer that is cut by the end of one.
    """
    asked = set(_WORD.findall(example.question.lower()))
    shared = [len(asked.intersection(_WORD.findall(text.lower()))) for text in texts]
    nearest = max(range(len(texts)), key=shared.__getitem__)
    if not example.answers:
        return "none", nearest, None
    first = example.answers[0].lower().strip(" .")
    if first in _YES | _NO:
        return "yes" if first in _YES else "no", nearest, None
    spans = {i: span for i, text in enumerate(texts) if (span := _find(text, example.answers))}
    if spans:
        place = max(spans, key=lambda i: (shared[i], -i))
        return "span", place, spans[place]
    said = any(answer.lower() in example.document.lower() for answer in example.answers)
    return "free", None if said else nearest, None


def _find(text: str, answers: Sequence[str]) -> tuple[int, int] | None:
    """Return where one of the answers stands in a text; as whole words if it does."""
    for form in (r"(?<!\w)%s(?!\w)", "%s"):
        for answer in answers:
            if found := re.search(form % re.escape(answer), text, re.IGNORECASE):
                return found.span()
    return None
