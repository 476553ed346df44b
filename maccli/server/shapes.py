"""What the routes take and give, as the OpenAPI document shows it.

Responses are built as plain objects and not passed through these classes; the tests hold them
against each other.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from maccli.server.responses import whole
from maccli.service.evidence import MAX_QUESTION_CHARACTERS
from store.labels import check_date, clean_tag
from store.log import LogEntry

MAX_ID = (1 << 63) - 1
MAX_TEXTS = 128
MAX_ANSWER = 512
"""Tokens."""


def _whole(value: Any) -> Any:
    return whole(value) if isinstance(value, str) else value


def _day(value: str) -> str:
    check_date(value)
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


Text = Annotated[str, BeforeValidator(_whole)]
Words = Annotated[Text, AfterValidator(_not_blank)]
Question = Annotated[Words, Field(max_length=MAX_QUESTION_CHARACTERS)]
Tag = Annotated[Text, AfterValidator(clean_tag)]
Tags = Annotated[list[Tag], Field(max_length=100)]
History = Annotated[
    list[tuple[Question, Annotated[Text, Field(max_length=MAX_QUESTION_CHARACTERS)]]],
    Field(
        max_length=100,
        description="Questions asked before, each with its answer; follow-ups need them.",
    ),
]
Day = Annotated[Text, AfterValidator(_day), Field(json_schema_extra={"format": "date"})]


class Selection(BaseModel):
    """From which passages to answer: the options of `mac search`."""

    k: int | None = Field(None, ge=1, le=100, description="How many passages; unset: as trained.")
    retriever: Literal["hybrid", "dense", "bm25"] | None = None
    tags: Tags = Field([], description="Only documents with one of these tags.")
    since: Day | None = Field(None, description="Only documents from this day on, YYYY-MM-DD.")
    until: Day | None = Field(None, description="Only documents up to this day.")
    fast: bool = Field(False, description="Leave out the judge.")


class Answering(Selection):
    """How to answer: the options of `mac ask`."""

    mode: Literal["mac", "rag", "closed-book"] = "mac"
    free: bool = Field(False, description="Answer in the language model's own words.")


class SearchRequest(Selection):
    """A question to search for."""

    model_config = ConfigDict(extra="forbid")

    question: Question
    history: History = []


class AskRequest(Answering):
    """A question to answer."""

    model_config = ConfigDict(extra="forbid")

    question: Question
    history: History = []
    max_new_tokens: int | None = Field(None, ge=1, le=MAX_ANSWER)


class TextDocument(BaseModel):
    """A document that is sent as text."""

    model_config = ConfigDict(extra="forbid")

    text: Words
    name: Words | None = Field(
        None, description="Its name in the store; of one with the same name it is a new version."
    )
    tags: Tags = []
    date: Day | None = Field(None, description="YYYY-MM-DD.")


class Piece(BaseModel):
    """A part of a message."""

    type: str
    text: Text | None = None


class Message(BaseModel):
    """A message of a conversation."""

    role: str
    content: Text | list[Piece] | None = None


class StreamOptions(BaseModel):
    """What a stream is to hold besides the answer."""

    include_usage: bool = False


class ChatRequest(Answering):
    """A chat completion as OpenAI's clients ask for it; what is not named here is ignored."""

    model: Text
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    show_sources: bool = Field(True, description='Whether the text ends with a "Sources" list.')


class EmbeddingRequest(BaseModel):
    """Texts to embed, as OpenAI's clients send them."""

    model: Text
    input: Words | Annotated[list[Words], Field(min_length=1, max_length=MAX_TEXTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class Shape(BaseModel):
    """A response; nothing is in it that does not stand here."""

    model_config = ConfigDict(extra="forbid")


class ErrorBody(Shape):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class Error(Shape):
    """An error."""

    error: ErrorBody


class Place(Shape):
    """Where a copy of a passage stands."""

    source: str
    heading: str
    place: str


class Source(Shape):
    """A sentence that an answer came from."""

    source: str
    title: str | None
    heading: str
    place: str
    chunk: int
    start: int
    end: int
    weight: float
    text: str
    passage: str
    marked: tuple[int, int] | None
    stale: str | None
    also: list[Place]


class Answer(Shape):
    """An answer, as `mac ask --json` writes it."""

    question: str
    follows: bool
    answer: str
    outcome: Literal["answer", "not sure", "nothing relevant"]
    probability: float | None
    threshold: float | None
    free: bool
    abstained: bool
    request: Literal["list", "comparison", "summary"] | None
    sources: list[Source]
    prefix_tokens: int
    timings: dict[str, float]
    model: str


class Passage(Shape):
    """A passage, as `mac search --json` writes it."""

    source: str
    title: str | None
    heading: str
    place: str
    chunk: int
    start: int
    end: int
    text: str
    score: float
    weight: float
    match_start: int
    match_end: int
    stale: str | None
    also: list[Place]


class PassageList(Shape):
    """The passages that a question would be answered from."""

    object: Literal["list"]
    data: list[Passage]


class Document(Shape):
    """A stored document."""

    object: Literal["document"]
    id: int
    name: str
    title: str | None
    chunks: int
    expected: int = Field(description="Chunks of the whole document; more than are stored yet.")
    tokens: int
    bytes: int
    characters: int
    media_type: str
    added_at: str
    updated_at: str
    date: str | None
    tags: list[str]
    stale: str | None


class Chunk(Shape):
    """A piece of a document."""

    position: int
    start: int
    end: int
    tokens: int
    heading: str
    place: str
    text: str


class WholeDocument(Document):
    """A stored document with its text, in pieces."""

    pieces: list[Chunk]


class Upload(Document):
    """A document that was sent, and what became of it."""

    status: Literal["added", "updated", "unchanged"]
    remark: str | None


class DocumentList(Shape):
    """Documents in the order of their names."""

    object: Literal["list"]
    data: list[Document]
    has_more: bool


class Deleted(Shape):
    """A document that was removed."""

    object: Literal["document"]
    id: int
    deleted: Literal[True]


class Log(Shape):
    """Questions that were asked, the newest first."""

    object: Literal["list"]
    data: list[LogEntry]
    has_more: bool


class LogCleared(Shape):
    """How many questions were removed from the log."""

    object: Literal["log"]
    deleted: int


class Health(Shape):
    """The server answers."""

    status: Literal["ok"]
