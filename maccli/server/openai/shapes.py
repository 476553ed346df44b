"""What the routes of OpenAI's API give, as the OpenAPI document shows it."""

from __future__ import annotations

from typing import Literal

from maccli.server.shapes import Shape


class Model(Shape):
    """A store, as a model that answers from it, or returns passages (`:search`)."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["mac"]


class ModelList(Shape):
    """All stores."""

    object: Literal["list"]
    data: list[Model]


class Usage(Shape):
    """Tokens: those of the question and of the memory put before it, and those of the answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class SourceName(Shape):
    """The document of a source."""

    id: str
    name: str


class SourceMetadata(Shape):
    """Where a source stands."""

    source: str
    name: str
    title: str | None
    heading: str
    place: str
    start: int
    end: int
    sentence: str


class Source(Shape):
    """A passage, in the shape that Open WebUI shows; the lists have one entry each."""

    source: SourceName
    document: list[str]
    metadata: list[SourceMetadata]
    distances: list[float]


class Verdict(Shape):
    """How sure an answer is; see `Answer`."""

    follows: bool
    outcome: Literal["answer", "not sure", "nothing relevant"]
    probability: float | None
    threshold: float | None
    free: bool
    request: Literal["list", "comparison", "summary"] | None
    timings: dict[str, float]


class ReplyMessage(Shape):
    """The answer."""

    role: Literal["assistant"]
    content: str


class Choice(Shape):
    """The only answer."""

    index: Literal[0]
    message: ReplyMessage
    finish_reason: Literal["stop"]


class Completion(Shape):
    """An answer. `citations` and `sources` have the same order; `mac` is null for passages."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    citations: list[str]
    sources: list[Source]
    mac: Verdict | None


class Delta(Shape):
    """The next piece of an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Shape):
    """The next piece of the only answer."""

    index: Literal[0]
    delta: Delta
    finish_reason: Literal["stop"] | None


class Chunk(Shape):
    """An event of a stream. The last one that has a choice also has the sources."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    citations: list[str] | None = None
    sources: list[Source] | None = None
    mac: Verdict | None = None


class EmbeddingUsage(Shape):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class Embedding(Shape):
    """A vector; in base64 its float32 numbers, little-endian."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(Shape):
    """A vector for each text."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
