from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maccli.errors import NOTHING_FOUND, USAGE, MacError
from maccli.reading.items import Piped
from maccli.service.ask import Options, ask
from maccli.service.evidence import retrieve
from maccli.service.ingest import ingest
from maccli.service.moving import export_adapter
from maccli.service.search import search
from maccli.service.session import Session
from models.memory.relevance import RelevanceWeights, Retriever
from store import near
from store.labels import Labels, Within
from store.records import StoredModulation

from ..conftest import FakeMemory

DOCUMENTS = {
    "bridge.txt": "Varnholt is small. The bridge over the Elm was opened by Ida Brandt. It rained.",
    "prize.txt": "The poetry prize went to Tomas Reyl. The jury met in June.",
    "roads.txt": "Heavy rain closed the northern road. Nobody was hurt there.",
}


@pytest.fixture
def stored(opened: Session) -> Session:
    ingest(opened, [Piped(text.encode(), name) for name, text in DOCUMENTS.items()])
    return opened


def test_an_answer_names_the_sentence_it_came_from(stored: Session) -> None:
    pieces: list[str] = []
    answer = ask(stored, "Who opened the bridge?", on_text=pieces.append)
    assert answer.answer == "An answer from 3." == "".join(pieces).strip()
    best = answer.sources[0]
    assert best.source == "bridge.txt"
    assert best.text == "The bridge over the Elm was opened by Ida Brandt."
    assert DOCUMENTS["bridge.txt"][best.start : best.end] == best.text
    assert sum(source.weight for source in answer.sources) == pytest.approx(1)
    assert answer.sources == sorted(answer.sources, key=lambda source: -source.weight)
    assert answer.prefix_tokens > 20
    assert set(answer.timings) == {"load", "encode", "aggregate", "generate"}


def test_the_number_of_chunks_is_the_models_or_the_users(stored: Session) -> None:
    assert len(ask(stored, "Who opened the bridge?").sources) == 3
    assert len(ask(stored, "Who opened the bridge?", Options(k=1)).sources) == 1


@pytest.mark.parametrize("retriever", ["dense", "bm25", "hybrid"])
def test_every_retriever_finds_it(stored: Session, retriever: str) -> None:
    answer = ask(stored, "poetry prize?", Options(k=1, retriever=retriever))  # type: ignore[arg-type]
    assert answer.sources[0].source == "prize.txt"


def test_a_second_look_decides_between_equals(stored: Session, memory: FakeMemory) -> None:
    # The shorter document has the nearer key; only the longer one holds all that was asked.
    ingest(stored, [Piped(b"Prize money.", "a"), Piped(b"The prize money in May was stolen.", "b")])
    question = "prize money stolen"
    memory.relevance = RelevanceWeights(lexical=0.0)
    nearest = ask(stored, question, Options(k=1)).sources[0].source
    assert ("look", 4) not in memory.calls
    memory.relevance = RelevanceWeights(lexical=0.0, likelihood=1.0)
    assert ask(stored, question, Options(k=1)).sources[0].source == "b"
    assert ("look", 4) in memory.calls
    dense = ask(stored, question, Options(k=1, retriever="dense"))
    assert dense.sources[0].source == nearest


@pytest.mark.parametrize("retriever", ["dense", "bm25", "hybrid"])
def test_tags_and_dates_restrict_the_bank(stored: Session, retriever: Retriever) -> None:
    assert stored.store is not None
    stored.store.relabel("prize.txt", Labels(tags=("arts",), date="2025-06-01"))
    stored.store.relabel("roads.txt", Labels(tags=("weather", "arts"), date="2026-06-01"))

    def found(question: str, **within: Any) -> set[str]:
        options = Options(retriever=retriever, within=Within(**within))
        answer = ask(stored, question, options)
        assert answer.documents == 3
        assert answer.searched >= len(answer.sources)
        return {source.source for source in answer.sources}

    everyone = "Who opened the bridge, won the poetry prize and closed the northern road?"
    assert found(everyone) == set(DOCUMENTS)
    assert found(everyone, tags=("arts",)) == {"prize.txt", "roads.txt"}
    assert found(everyone, tags=("weather",)) == {"roads.txt"}
    assert found(everyone, until="2025-12-31") == {"prize.txt"}
    assert found(everyone, since="2026-01-01") == {"bridge.txt", "roads.txt"}
    assert found(everyone, tags=("arts",), since="2026-01-01") == {"roads.txt"}
    assert found("poetry prize?", tags=("weather",)) in ({"roads.txt"}, set())


def test_a_restriction_that_leaves_nothing_gives_no_answer(
    stored: Session, memory: FakeMemory
) -> None:
    memory.config.abstain_below = None
    for mode in ("mac", "rag"):
        how = Options(mode=mode, within=Within(tags=("unknown",)))  # type: ignore[arg-type]
        answer = ask(stored, "Who opened the bridge?", how)
        assert (answer.abstained, answer.answer, answer.sources) == (True, "", [])
        assert (answer.documents, answer.searched) == (3, 0)


def test_nothing_relevant_gives_no_answer_but_the_nearest_sources(
    stored: Session, memory: FakeMemory
) -> None:
    answer = ask(stored, "zebra quagga okapi")
    assert (answer.abstained, answer.answer, answer.documents) == (True, "", 3)
    assert len(answer.sources) == 3
    assert ("answer", 3) not in memory.calls
    memory.config.abstain_below = None
    assert not ask(stored, "zebra quagga okapi").abstained


def test_an_answer_that_is_probably_wrong_is_not_given(stored: Session, memory: FakeMemory) -> None:
    rule = {"bias": 0.0, "surprise": -1.0, "support": 0.0, "lead": 0.0, "echo": 0.0, "above": 0.3}
    memory.config.confidence = rule
    told: list[str] = []
    answer = ask(stored, "Who opened the bridge?", on_text=told.append)
    assert (answer.outcome, answer.answer, told) == ("answer", "An answer from 3.", [answer.answer])
    assert answer.probability == pytest.approx(1 / (1 + math.exp(0.75)))
    assert answer.threshold == 0.3

    memory.config.confidence = rule | {"above": 0.4}
    unsure = ask(stored, "Who opened the bridge?", on_text=told.append)
    assert (unsure.outcome, unsure.abstained, unsure.answer) == ("not sure", True, "")
    assert unsure.probability == answer.probability and len(told) == 1
    assert unsure.sources[0].source == "bridge.txt"
    assert ask(stored, "Who opened the bridge?", Options(mode="rag")).probability is None


def test_what_names_in_the_question_are_found_decides_whether_to_answer(
    stored: Session, memory: FakeMemory
) -> None:
    known, unknown = "Who opened the bridge?", "Who opened the Quillhaven lighthouse in Zarbia?"
    memory.config.abstain_below = -1e9
    assert not ask(stored, unknown).abstained
    memory.relevance = replace(memory.relevance, coverage=100.0)
    memory.config.abstain_below = 50.0
    assert not ask(stored, known).abstained
    assert ask(stored, unknown).abstained


def test_an_empty_store_invents_nothing_and_loads_nothing(
    opened: Session, memory: FakeMemory, work: Path
) -> None:
    questions: list[Callable[[], object]] = [
        lambda: ask(opened, "Who?"),
        lambda: ask(opened, "Who?", Options(mode="rag")),
        lambda: search(opened, "Who?"),
        lambda: export_adapter(opened, "Who?", None, work / "adapter"),
    ]
    for attempt in questions:
        with pytest.raises(MacError, match=r"There is no store in .*store\.") as caught:
            attempt()
        assert caught.value.exit_code == NOTHING_FOUND
        assert caught.value.hint == "Ingest something first: mac ingest FILES"
    assert memory.calls == []
    assert not opened.choice.store.exists()


def test_the_base_model_answers_without_a_store(opened: Session) -> None:
    answer = ask(opened, "Who?", Options(mode="closed-book"))
    assert (answer.answer, answer.documents, answer.sources) == ("An answer from 0.", 0, [])
    assert not opened.choice.store.exists()


def test_an_emptied_store_is_empty(stored: Session) -> None:
    assert stored.store is not None
    for name in DOCUMENTS:
        stored.store.remove(name)
    with pytest.raises(MacError, match="is empty"):
        ask(stored, "Who opened the bridge?")


def test_the_memory_is_loaded_once(stored: Session, memory: FakeMemory) -> None:
    ask(stored, "Who opened the bridge?")
    ask(stored, "Who won the prize?")
    assert memory.calls.count(("load", 1)) == 1


def test_documents_that_come_later_are_seen(stored: Session) -> None:
    ask(stored, "Who opened the bridge?")
    with Session(stored.choice) as other:
        ingest(other, [Piped(b"The zebra show was opened by Una Moss.", "zebra.txt")])
    assert ask(stored, "zebra show").sources[0].source == "zebra.txt"


def test_other_modes(stored: Session) -> None:
    rag = ask(stored, "Who opened the bridge?", Options(mode="rag", k=2))
    assert rag.answer == "Read 2 texts."
    assert rag.sources[0].text == "The bridge over the Elm was opened by Ida Brandt."
    closed = ask(stored, "Who opened the bridge?", Options(mode="closed-book"))
    assert (closed.answer, closed.sources) == ("An answer from 0.", [])


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (" \n ", "The question is empty."),
        ("why " * 2000, "The question has 2,000 tokens; 1,024 is the most."),
        ("why so " * 10_000, "The question has 69,999 characters; 16,384 is the most."),
    ],
)
def test_questions_that_cannot_be_asked(stored: Session, question: str, message: str) -> None:
    with pytest.raises(MacError) as caught:
        ask(stored, question)
    assert (caught.value.message, caught.value.exit_code) == (message, USAGE)


def test_long_questions_of_several_lines_can_be_asked(stored: Session) -> None:
    question = "I have been wondering.\n\n" + "Please think. " * 300 + "\nWho opened the bridge?"
    assert ask(stored, question).sources[0].source == "bridge.txt"


def test_a_cache_of_near_keys_is_used_by_itself(
    stored: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    many = [Piped(f"Note {n} on the weather of day {n}.".encode(), f"n{n}") for n in range(90)]
    ingest(stored, many)
    assert stored.store is not None
    question = "Who opened the bridge?"
    exact = ask(stored, question, Options(k=1))
    near.build(stored.store)

    def all_keys(*_: Any, **__: Any) -> None:
        raise AssertionError("all keys were read")

    monkeypatch.setattr(stored.store, "keys", all_keys)
    assert ask(stored, question, Options(k=1)).sources == exact.sources


def test_every_modulation_is_read_once(
    stored: Session, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.relevance = RelevanceWeights(lexical=0.0, likelihood=1.0)
    assert stored.store is not None
    read: list[int] = []
    real = stored.store.modulations

    def modulations(ids: Sequence[int]) -> list[StoredModulation]:
        read.extend(ids)
        return real(ids)

    monkeypatch.setattr(stored.store, "modulations", modulations)
    answer = ask(stored, "Who opened the bridge?", Options(k=3))
    assert [call for call, _ in memory.calls if call == "look"]
    assert len(answer.sources) == 3
    assert sorted(read) == sorted(set(read)) == [1, 2, 3]
    read.clear()
    ask(stored, "Who opened the bridge?", Options(k=3, retriever="dense", mode="rag"))
    assert read == []


def test_evidence_carries_what_is_answered_from(stored: Session) -> None:
    evidence = retrieve(stored, "Who opened the bridge?", k=2)
    assert evidence.matches[0].row.source == "bridge.txt"
    assert [match.candidate.id for match in evidence.matches] == [
        match.row.id for match in evidence.matches
    ]
    weights = [match.candidate.log_weight for match in evidence.matches]
    assert [selected.log_weight for selected in evidence.modulations()] == weights
    assert (evidence.documents, evidence.searched) == (3, 3)


def test_short_questions_are_not_counted(
    stored: Session, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "count_tokens", lambda texts: pytest.fail("counted"))
    ask(stored, "Who opened the bridge?")


def test_an_adapter_is_written_from_the_same_evidence(
    stored: Session, memory: FakeMemory, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int, Path]] = []

    def export(_: object, question: str, selected: Sequence[Any], folder: Path) -> None:
        written.append((question, len(selected), folder))

    monkeypatch.setattr("models.export.export_adapter", export)
    export_adapter(stored, "Who opened the bridge?", 2, work / "adapter")
    assert written == [("Who opened the bridge?", 2, work / "adapter")]
    (work / "adapter").mkdir()
    (work / "adapter" / "file").touch()
    with pytest.raises(MacError, match="There is something in"):
        export_adapter(stored, "Who opened the bridge?", 2, work / "adapter")
    with pytest.raises(MacError, match="no modulation to export"):
        export_adapter(stored, "zebra quagga okapi", 2, work / "other")
    assert len(written) == 1
