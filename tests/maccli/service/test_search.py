from __future__ import annotations

import pytest

from maccli.errors import MacError
from maccli.reading.items import Piped
from maccli.service.ingest import ingest
from maccli.service.search import search
from maccli.service.session import Session
from models.memory.relevance import RelevanceWeights
from store.labels import Labels, Within

from ..conftest import FakeMemory

BRIDGE = "Varnholt is small. The bridge over the Elm was opened by Ida Brandt. It rained."
PRIZE = "# Prizes\n\nThe poetry prize went to Tomas Reyl. The jury met in June."


@pytest.fixture
def stored(opened: Session) -> Session:
    ingest(opened, [Piped(BRIDGE.encode(), "bridge.txt"), Piped(PRIZE.encode(), "prize.md")])
    return opened


def test_passages_are_whole_with_the_matching_sentence(stored: Session) -> None:
    best, other = search(stored, "Who opened the bridge?")
    assert (best.source, best.title, best.chunk, best.text) == ("bridge.txt", None, 0, BRIDGE)
    assert BRIDGE[best.start : best.end] == best.text
    match = best.text[best.match_start : best.match_end]
    assert match == "The bridge over the Elm was opened by Ida Brandt."
    assert best.score > other.score and best.weight > other.weight
    assert best.weight + other.weight == pytest.approx(1)
    assert other.title == "Prizes"


def test_no_language_model_is_used(stored: Session, memory: FakeMemory) -> None:
    memory.relevance = RelevanceWeights(lexical=1.0, likelihood=1.0)
    memory.calls.clear()
    assert len(search(stored, "Who opened the bridge?", k=1)) == 1
    assert memory.calls == []


@pytest.mark.parametrize("retriever", ["dense", "bm25", "hybrid"])
def test_every_retriever(stored: Session, retriever: str) -> None:
    passages = search(stored, "poetry prize?", k=1, retriever=retriever)  # type: ignore[arg-type]
    assert passages[0].source == "prize.md"


def test_only_within_tags(stored: Session) -> None:
    assert stored.store is not None
    stored.store.relabel("prize.md", Labels(tags=("arts",)))
    passages = search(stored, "Who opened the bridge?", within=Within(tags=("arts",)))
    assert [passage.source for passage in passages] == ["prize.md"]
    assert search(stored, "Who?", within=Within(tags=("none",))) == []


def test_as_json(stored: Session) -> None:
    record = search(stored, "Who opened the bridge?", k=1)[0].as_dict()
    assert list(record) == [
        *("source", "title", "heading", "place", "chunk", "start", "end", "text"),
        *("score", "weight", "match_start", "match_end", "stale", "also"),
    ]
    assert record["weight"] == 1.0


def test_an_empty_question(stored: Session) -> None:
    with pytest.raises(MacError, match="The question is empty"):
        search(stored, " ")


def test_equal_passages_take_one_place(stored: Session) -> None:
    copies = [Piped(BRIDGE.encode(), f"copy{n}.txt") for n in range(9)]
    ingest(stored, copies)
    passages = search(stored, "Who opened the bridge?", k=2)
    assert [passage.text for passage in passages] == [BRIDGE, PRIZE]
    places = {passages[0].source, *(place.source for place in passages[0].also)}
    assert places == {"bridge.txt", *(item.name for item in copies)}
    assert passages[1].also == ()
    assert sum(passage.weight for passage in passages) == pytest.approx(1)


def test_a_passage_says_where_its_sentence_stands(opened: Session) -> None:
    text = "# Harbour\n\n## Fees\n\nBoats pay.\n\n## Staff\n\nThe captain is Ines Okafor.\n"
    ingest(opened, [Piped(text.encode(), "harbour.md")])
    passage = search(opened, "Who is the captain?", k=1)[0]
    assert (passage.heading, passage.place) == ("Harbour > Staff", "line 9")
