"""What the routes for other machines take and give; `store.remote` sends and reads it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from maccli.server.shapes import MAX_ID, Day, Shape, Tags, Text
from store.index.search import MAX_TERMS
from store.labels import Within
from store.records import ChunkRow
from store.remote.store import MOST_IDS, MOST_KEYS, MOST_MODULATIONS

MAX_CHUNK = 1 << 16
"""Characters of a chunk's text."""


def _plain(word: str) -> str:
    if "\0" in word:
        raise ValueError("must not hold a NUL")
    return word


Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Ids = Annotated[list[Id], Field(max_length=MOST_IDS)]
Word = Annotated[Text, AfterValidator(_plain), Field(min_length=1, max_length=128)]
Words = Annotated[
    list[Annotated[list[Word], Field(min_length=1, max_length=16)]],
    Field(max_length=MAX_TERMS, description="Each with all of its spellings, in lower case."),
]


class DocumentFilter(BaseModel):
    """Which documents count."""

    model_config = ConfigDict(extra="forbid")

    tags: Tags = []
    since: Day | None = None
    until: Day | None = None

    @property
    def within(self) -> Within:
        """The same for a store."""
        return Within(tuple(self.tags), self.since, self.until)


class WordMatches(BaseModel):
    """Chunks that share words with a question."""

    model_config = ConfigDict(extra="forbid")

    words: Words
    limit: int = Field(ge=0, le=MOST_KEYS)


class WordCoverage(BaseModel):
    """Chunks of which it is asked which words they have."""

    model_config = ConfigDict(extra="forbid")

    words: Words
    ids: Ids


class NearestKeys(BaseModel):
    """Chunks whose keys have the largest product with a query."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(max_length=1 << 17, description="Base64 of little-endian float32.")
    number: int = Field(ge=0, le=MOST_KEYS)
    extra_ids: Ids = Field([], description="Chunks whose keys are wanted in any case.")


class SelectRequest(DocumentFilter):
    """What is asked of a store to choose among its chunks and those of others."""

    known: Words | None = Field(None, description="Which of these words does any chunk have?")
    similar: Word | None = Field(None, description="Which words are nearly spelled like this?")
    matches: WordMatches | None = None
    coverage: WordCoverage | None = None
    keys: NearestKeys | None = None


class Matches(Shape):
    """What BM25 needs; see `store.index.text_index.Matches`."""

    chunks: int
    words: int
    having: list[int]
    lengths: dict[str, int]
    times: dict[str, list[int]]


class Coverage(Shape):
    """Which words chunks have; see `store.index.text_index.Coverage`."""

    chunks: int
    having: list[int]
    found: list[list[int]]


class Keys(Shape):
    """Keys of chunks."""

    ids: list[int]
    keys: str = Field(description="Base64 of little-endian float16, a row for each chunk.")


class Selected(Shape):
    """An answer to each thing that was asked, null for the others."""

    known: list[bool] | None
    similar: list[tuple[int, int, str]] | None
    matches: Matches | None
    coverage: Coverage | None
    keys: Keys | None


class ChunksRequest(DocumentFilter):
    """Chunks by one of four ways to name them."""

    ids: Ids | None = Field(None, description="These.")
    document: Id | None = Field(None, description="Those of this document.")
    sharing: Ids | None = Field(None, description="Others that share a modulation with these.")
    text: Annotated[Text, AfterValidator(_plain), Field(max_length=MAX_CHUNK)] | None = Field(
        None, description="Those with exactly this text, of the documents that count."
    )
    limit: int = Field(100, ge=0, le=MOST_IDS, description="For the last two.")

    @model_validator(mode="after")
    def one_way(self) -> ChunksRequest:
        """Refuse none and several."""
        ways = (self.ids, self.document, self.sharing, self.text)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("name chunks by ids, document, sharing or text")
        return self


class ChunkList(Shape):
    """Chunks with their texts."""

    object: Literal["list"]
    data: list[ChunkRow]


class ModulationsRequest(BaseModel):
    """Chunks whose modulations are wanted."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Id] = Field(max_length=MOST_MODULATIONS)


class Modulation(Shape):
    """A chunk's modulation: its latents are latents x scales, row by row."""

    id: int
    latents: str = Field(description="Base64 of int8, as many in a row as the latent size.")
    scales: str = Field(description="Base64 of little-endian float16, one a row.")
    rows: list[int] | None = Field(description="The row of each token, where tokens were merged.")


class ModulationList(Shape):
    """Modulations in the order of the ids."""

    object: Literal["list"]
    data: list[Modulation]


class StoreAbout(Shape):
    """A store, and how many of its documents count."""

    object: Literal["store"]
    name: str
    model: str
    fingerprint: str
    key_size: int
    latent_size: int
    documents: int
