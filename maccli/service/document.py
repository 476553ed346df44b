"""A document on its way into a store: what is cut, what the store has of it, what is written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from models.text import chunking, prompts
from store.labels import NO_CHANGE, Labels
from store.marks import Mark, encode, mark_at, marks_between
from store.records import KeptChunk, NewChunk

if TYPE_CHECKING:
    from maccli.reading.loaders import Loaded
    from models.memory.modulation import Modulation
    from models.memory.protocol import LoadedModel
    from models.text.chunking import Chunk
    from store.records import ChunkRow, Document
    from store.store import Store

_NO_PART = re.compile(r"(?:, )?\b(?:line|row|page) \d+\Z")


@dataclass(frozen=True, slots=True, eq=False)
class DocumentText:
    """A document on its way into a store.

    Attributes:
        source: what identifies it, such as its path.
        text: what is cut and amortized.
        content_hash: of the document, kept to tell later whether it changed.
        title: for people to read; every chunk is amortized under it.
        marks: where the parts of the text stand.
        media_type, encoding: of what the text was read from.
        labels: what to change about its tags and date.
    """

    source: str
    text: str
    content_hash: str
    title: str | None = None
    marks: Sequence[Mark] = ()
    media_type: str = "text/plain"
    encoding: str = "utf-8"
    labels: Labels = NO_CHANGE

    @classmethod
    def of(cls, source: str, loaded: Loaded, labels: Labels = NO_CHANGE) -> DocumentText:
        """Return the document that was read from a file."""
        digest = content_hash(loaded.text, loaded.title, loaded.marks)
        about = (loaded.title, loaded.marks, loaded.media_type, loaded.encoding)
        return cls(source, loaded.text, digest, *about, labels)


@dataclass(frozen=True, slots=True)
class Written:
    """What is stored of a document after some or all of its chunks were amortized.

    Attributes:
        document: the document.
        status: whether it was added to the store or updated.
        chunks: how many were amortized for it.
        tokens, bytes: of these chunks, and of their modulations on disk.
        reused: how many were taken over from the stored version.
        total: how many chunks its text has.
    """

    document: DocumentText
    status: Literal["added", "updated"]
    chunks: int
    tokens: int
    bytes: int
    reused: int
    total: int

    @property
    def complete(self) -> bool:
        """Whether all of its text is stored."""
        return self.chunks + self.reused == self.total


def content_hash(text: str, title: str | None = None, marks: Sequence[Mark] = ()) -> str:
    """Return what tells whether a document has changed: a SHA-256, in hexadecimal."""
    whole = "\0".join((text, title or "", encode(marks))).rstrip("\0")
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


def is_current(rules: str) -> bool:
    """Return whether a document's `chunking` names the rules that are in force."""
    return rules.split(":")[0] == chunking.VERSION


def holds(stored: Document | None, content_hash: str) -> bool:
    """Return whether a document is stored whole, with this content, cut by the rules in force."""
    # The store has the checkpoint's fingerprint, which covers the size of chunks: only the rules of
    # cutting remain to be compared. So an unchanged document needs no model.
    return (
        stored is not None
        and not stored.partial
        and stored.content_hash == content_hash
        and is_current(stored.chunking)
    )


@dataclass(slots=True, eq=False)
class Job:
    """A document that is being amortized; chunks go by their positions.

    Attributes:
        document: the document.
        chunks: what it was cut into.
        contexts: what stands before each chunk when it is amortized.
        before: the tokens of each context, with the begin of sequence.
        reused: chunks of the stored version, of the same text in the same context.
        ready: modulations that are not written yet.
        status: None as long as nothing is written.
        written: chunks that were amortized and written.
        tokens: of these.
    """

    document: DocumentText
    chunks: list[Chunk]
    contexts: list[str]
    before: list[int]
    reused: dict[int, ChunkRow]
    ready: dict[int, Modulation] = field(default_factory=dict)
    status: Literal["added", "updated"] | None = None
    written: set[int] = field(default_factory=set)
    tokens: int = 0

    @classmethod
    def cut(cls, model: LoadedModel, store: Store, document: DocumentText) -> Job:
        """Cut a document into chunks, and look which of them are stored already."""
        chunks = chunking.split(
            document.text,
            model.count_tokens,
            model.config.chunk_tokens,
            breaks=part_starts(document.marks),
        )
        headings = (mark_at(document.marks, document.text, chunk.start).heading for chunk in chunks)
        contexts = [
            prompts.context(document.title, heading, chunk.lead)
            for heading, chunk in zip(headings, chunks, strict=True)
        ]
        before = [tokens + 1 for tokens in model.count_tokens(contexts)]
        job = cls(document, chunks, contexts, before, {})
        job.compare(store)
        return job

    def compare(self, store: Store) -> None:
        """Look which chunks the stored version has, as if nothing had been written yet."""
        stored = store.document(self.document.source)
        rows: dict[tuple[str, str], list[ChunkRow]] = {}
        if stored is not None and not stored.damaged:
            for row in reversed(store.chunks(stored.id)):
                rows.setdefault((row.context, row.text), []).append(row)
        pairs = zip(self.contexts, (chunk.text for chunk in self.chunks), strict=True)
        self.reused = {i: rows[pair].pop() for i, pair in enumerate(pairs) if rows.get(pair)}
        self.ready = {i: m for i, m in self.ready.items() if i not in self.reused}
        self.status, self.written, self.tokens = None, set(), 0

    def lacks(self, i: int) -> bool:
        """Return whether a chunk has yet to be amortized."""
        return not (i in self.reused or i in self.ready or i in self.written)

    @property
    def missing(self) -> list[int]:
        """The chunks that have yet to be amortized, in the order of the text."""
        return [i for i in range(len(self.chunks)) if self.lacks(i)]

    @property
    def complete(self) -> bool:
        """Whether every chunk is stored or ready."""
        return not self.missing

    def write(self, store: Store, rules: str) -> Written:
        """Write what is ready: the first time with the chunks that are reused.

        Raises:
            ChunksGoneError: another process has written the document meanwhile.
            StoreError: the store cannot be written.
        """
        document, fresh = self.document, [self._new(i) for i in sorted(self.ready)]
        stored: Document | None
        if self.status is None:
            self.status = store.put(
                document.source,
                content_hash=document.content_hash,
                chunking=rules,
                chunks=sorted([*self._kept(), *fresh], key=lambda chunk: chunk.position),
                expected=len(self.chunks),
                title=document.title,
                media_type=document.media_type,
                encoding=document.encoding,
                characters=len(document.text),
                labels=document.labels,
            )
            stored = store.document(document.source)
        else:
            hashed = document.content_hash
            stored = store.extend(document.source, content_hash=hashed, chunks=fresh)
        self.written.update(self.ready)
        self.tokens += sum(len(chunk.scales) for chunk in fresh)
        self.ready.clear()
        reused_bytes = sum(row.bytes for row in self.reused.values())
        return Written(
            document,
            self.status,
            len(self.written),
            self.tokens,
            stored.bytes - reused_bytes if stored else 0,
            len(self.reused),
            len(self.chunks),
        )

    def _kept(self) -> Iterator[KeptChunk]:
        for position, row in self.reused.items():
            chunk = self.chunks[position]
            yield KeptChunk(
                row.id,
                position,
                chunk.start,
                chunk.end,
                chunk.text,
                self.contexts[position],
                self._marks(position),
            )

    def _new(self, position: int) -> NewChunk:
        chunk, modulation = self.chunks[position], self.ready[position]
        return NewChunk(
            position,
            chunk.start,
            chunk.end,
            chunk.text,
            modulation.latents,
            modulation.scales,
            modulation.key,
            context=self.contexts[position],
            marks=self._marks(position),
        )

    def _marks(self, position: int) -> tuple[Mark, ...]:
        chunk, document = self.chunks[position], self.document
        return marks_between(document.marks, document.text, chunk.start, chunk.end)


def part_starts(marks: Sequence[Mark]) -> list[int]:
    """Return where parts begin that a chunk should not reach into: headings, slides, sheets.

    The pages of a PDF are none, for its sentences go on over them; neither are lines and rows.
    """
    starts: list[int] = []
    before = Mark(0)
    for mark in marks:
        part = _NO_PART.sub("", mark.place)
        if (mark.heading, part) != (before.heading, before.place):
            starts.append(mark.start)
        before = Mark(mark.start, mark.heading, part)
    return starts
