"""The loop that cuts, amortizes and stores: groups, parts, and what an interruption leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from maccli.service import amortizing
from maccli.service.amortizing import amortize_documents
from maccli.service.document import DocumentText
from store.labels import Labels
from store.store import Store

from ..conftest import E, FakeMemory, R


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    sizes = {"key_size": E, "latent_size": R}
    with Store.open(tmp_path / "store", fingerprint="f", create=True, **sizes) as store:  # type: ignore[arg-type]
        yield store


def paragraph(number: int) -> str:
    return " ".join([f"Sentence{number}", *["word"] * 13, "end."])


def document(source: str, *numbers: int, **fields: Any) -> DocumentText:
    text = "\n\n".join(map(paragraph, numbers))
    return DocumentText(source, text, **{"content_hash": f"of {source} {numbers}", **fields})


def amortized(memory: FakeMemory) -> list[int]:
    return [number for call, number in memory.calls if call == "amortize"]


def test_short_documents_together_and_a_long_one_in_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amortizing, "GROUP_TOKENS", 60)
    memory = FakeMemory()
    documents = [document("a", 1), document("b", 2), document("long", *range(3, 10))]
    steps = [
        (w.document.source, w.status, w.chunks, w.total, w.complete)
        for w in amortize_documents(memory, store, documents)
    ]
    assert amortized(memory) == [4, 4, 1]
    assert steps == [
        ("a", "added", 1, 1, True),
        ("b", "added", 1, 1, True),
        ("long", "added", 2, 7, False),
        ("long", "added", 6, 7, False),
        ("long", "added", 7, 7, True),
    ]


def test_what_was_yielded_is_stored_and_the_rest_not_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amortizing, "GROUP_TOKENS", 1)
    read: list[str] = []

    def documents() -> Iterator[DocumentText]:
        for name in "abc":
            read.append(name)
            yield document(name, ord(name))

    steps = amortize_documents(FakeMemory(), store, documents())
    written = next(steps)
    assert read == ["a"]
    assert [d.source for d in store.documents()] == ["a"]
    assert written.bytes == store.stats().modulation_bytes
    assert written.tokens == 15


def test_everything_that_is_known_of_a_document_is_stored(store: Store) -> None:
    labels = Labels(tags=("red",), date="2026-01-01")
    text = document("a", 1, title="A title", media_type="text/x-rst", labels=labels)
    list(amortize_documents(FakeMemory(), store, [text]))
    stored = store.document("a")
    assert stored is not None
    assert (stored.title, stored.media_type, stored.encoding) == ("A title", "text/x-rst", "utf-8")
    assert (stored.tags, stored.date) == (("red",), "2026-01-01")
    assert (stored.characters, stored.chunking) == (len(text.text), "sentence-2:20")


def test_a_document_without_a_hash_is_written_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amortizing, "GROUP_TOKENS", 20)
    damaged = document("a", 1, 2, 3, content_hash="")
    steps = [w.chunks for w in amortize_documents(FakeMemory(), store, [damaged])]
    assert steps == [3]


def test_a_group_is_amortized_in_the_model_s_batches_and_written_every_few_seconds(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, now = FakeMemory(), [0.0]
    memory.batch_tokens = 64  # four chunks of 15 tokens and a begin of sequence
    monkeypatch.setattr(amortizing.time, "perf_counter", lambda: now[0])

    def work(texts: Sequence[str]) -> None:
        now[0] += 1

    memory.before_amortize = work
    long = document("long", *range(24))
    commits = [
        (w.document.source, w.chunks, now[0])
        for w in amortize_documents(memory, store, [document("a", 30), long])
    ]
    assert amortized(memory) == [4] * 6 + [1]
    assert commits == [
        ("a", 1, 3),
        ("long", 11, 3),
        ("long", 23, 6),
        ("long", 24, 7),
    ]
    stored = store.document("long")
    assert stored is not None
    assert [row.text for row in store.chunks(stored.id)] == long.text.split("\n\n")


def test_a_crash_within_a_group_leaves_what_was_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = FakeMemory()
    memory.batch_tokens = 64
    monkeypatch.setattr(amortizing, "SECONDS", 0.0)
    left = [3]

    def work(texts: Sequence[str]) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    memory.before_amortize = work
    text = document("long", *range(24))
    with pytest.raises(KeyboardInterrupt):
        list(amortize_documents(memory, store, [text]))
    stored = store.document("long")
    assert stored is not None and stored.partial
    assert (stored.chunks, stored.expected) == (8, 24)
    memory.before_amortize, memory.calls = lambda texts: None, []
    (*_, last) = amortize_documents(memory, store, [text])
    assert (last.reused, last.chunks, last.complete) == (8, 16, True)
    assert sum(amortized(memory)) == 16


def test_what_waits_is_written_while_reading_is_slow(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(amortizing.time, "perf_counter", lambda: now[0])

    def documents() -> Iterator[DocumentText]:
        for number in range(6):
            now[0] += 3
            yield document(str(number), number)

    memory = FakeMemory()
    list(amortize_documents(memory, store, documents()))
    assert amortized(memory) == [2, 2, 2]


@pytest.mark.parametrize("meanwhile", ["another", "gone", "part"])
def test_another_process_writes_the_document_meanwhile(
    store: Store, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amortizing, "GROUP_TOKENS", 30)
    memory = FakeMemory()
    text = document("a", *range(6))

    def interfere(texts: Sequence[str]) -> None:
        if any("Sentence4 " in text for text in texts):
            memory.before_amortize = lambda texts: None
            with Store.open(store.path) as other:
                if meanwhile == "gone":
                    other.remove("a")
                elif meanwhile == "another":
                    list(amortize_documents(FakeMemory(), other, [document("a", 7, 1)]))
                else:
                    list(amortize_documents(FakeMemory(), other, [text]))

    memory.before_amortize = interfere
    steps = list(amortize_documents(memory, store, [text]))
    assert steps[-1].complete
    stored = store.document("a")
    assert stored is not None and not stored.partial
    rows = store.chunks(stored.id)
    assert [row.text for row in rows] == text.text.split("\n\n")
    if meanwhile == "gone":
        assert amortized(memory) == [2, 2, 2, 2, 2]  # those of the last batch are not lost
