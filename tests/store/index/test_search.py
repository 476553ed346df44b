import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from store.index.search import MAX_TERMS, spellings, terms, words
from tests.store.samples import chunk

TEXTS = [
    "James Ibori, a former governor, was convicted in London in 2012.",
    "The café in Zürich served résumés of naïve poets.",
    "C3PO and R2D2 met the year 1977; version 3.11 runs.",
    "Столица России: Москва. 東京 は 日本 の 首都 です。",
    "It is what it is, they said.",
]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    from tests.store import samples

    with samples.create(tmp_path_factory.mktemp("search") / "bank") as store:
        chunks = [chunk(1, text, position=n) for n, text in enumerate(TEXTS)]
        store.put("doc", content_hash="", chunking="", chunks=chunks)
        yield store


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("Who convicted Ibori?", 1),
        ("IBORI'S CONVICTION", 1),
        ("the governors' convictions", 1),
        ("cafe", 2),
        ("cafe\u0301 in Zu\u0308rich", 2),
        ("resume", 2),
        ("what about r2d2", 3),
        ("3.11", 3),
        ("москва", 4),
        ("日本", 4),
        ("What is it?", 5),
    ],
)
def test_finds(searched, query, best):
    found = searched.search(query)
    assert found[0][0] == best
    assert found[0][1] > 0


def test_larger_is_better_and_sorted(searched):
    found = searched.search("Ibori convicted in London, café, version")
    scores = [score for _, score in found]
    assert len(found) == 3 and scores == sorted(scores, reverse=True)
    assert found[0][0] == 1
    assert (
        searched.search("Ibori café version", limit=2) == searched.search("Ibori café version")[:2]
    )
    assert searched.search("Ibori", limit=0) == searched.search("Ibori", limit=-1) == []


def test_ties_come_in_the_order_of_ids(store):
    chunks = [chunk(n, "same words", position=n) for n in range(9)]
    store.put("d", content_hash="", chunking="", chunks=chunks)
    assert [chunk_id for chunk_id, _ in store.search("words")] == list(range(1, 10))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(max_size=300))
@example(query='"')
@example(query="'; DROP TABLE chunks; --")
@example(query="NEAR(a b, 3) AND (NOT text:x* OR ^y + z)")
@example(query="text : ibori")
@example(query="{text} : ibori - london")
@example(query="\x00ibori\x00")
@example(query="\ud800 ibori")
@example(query="* ^ + - ( ) { } : , .")
@example(query="OR AND NOT NEAR")
def test_no_text_is_syntax(searched, query):
    for chunk_id, score in searched.search(query):
        assert 1 <= chunk_id <= len(TEXTS)
        assert isinstance(score, float)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(
        st.sampled_from(["ibori", "OR", "AND", '"', "(", ")", "*", "NOT", "^", "-", ":"])
    )
)
def test_operators_do_not_hide_words(searched, words):
    found = [chunk_id for chunk_id, _ in searched.search(" ".join(words))]
    assert (1 in found) == ("ibori" in words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Who won the 2024 World Cup?", ["won", "2024", "world", "cup"]),
        ("Don't they know it's Ibori’s?", ["know", "ibori"]),
        ("cat Cat CAT dog", ["cat", "dog"]),
        ("Straße STRASSE", ["straße"]),
        ("snake_case under_scores", ["snake", "case", "scores"]),
        ("vitamin C and D", ["vitamin", "c", "d"]),
        ("who is it", ["who", "is", "it"]),
        ("?!…", []),
        ("", []),
        ("x" * 5000 + " short", ["short"]),
    ],
)
def test_terms(text, expected):
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Die Straße ist lang.", "Straße"),
        ("Die Straße ist lang.", "STRASSE"),
        ("Die Strasse ist lang.", "straße"),
        ("DIE STRAẞE", "Strasse"),
        ("Wasserstraßen", "WASSERSTRASSEN"),
        ("im Gaſthof", "Gasthof"),
        ("im Gasthof", "Gaſthof"),
        ("İstanbul", "istanbul"),
        ("istanbul", "İSTANBUL"),
        ("ο δρόμος", "ΔΡΌΜΟΣ"),
        ("Ο ΔΡΌΜΟΣ", "δρόμος"),
        ("the finance office", "ﬁnance"),
        ("the ﬁnance office", "ﬁnance"),
    ],
)
def test_words_are_compared_letter_by_letter(store, text, query):
    store.put("doc", content_hash="", chunking="", chunks=[chunk(1, text)])
    assert [found for found, _ in store.search(query)] == [1]
    assert store.coverage(query, [1]) == [1.0]


def test_a_word_counts_once_however_it_is_written(store):
    texts = ["the class", "the klass"]
    store.put(
        "doc",
        content_hash="",
        chunking="",
        chunks=[chunk(n, text, position=n) for n, text in enumerate(texts)],
    )
    [(_, first)], [(_, second)] = store.search("class"), store.search("klass")
    assert first == second
    assert spellings("wasserstrasse") == [
        "wasserstrasse",
        "wasserstraße",
        "waßerstrasse",
        "waßerstraße",
    ]
    assert len(spellings("ss" * 30)) == 4
    assert spellings("word") == ["word"]


def test_many_words_are_bounded():
    words = [f"word{'x' * (n % 7)}{n}" for n in range(10_000)]
    kept = terms(" ".join(words))
    assert len(kept) == MAX_TERMS
    assert kept == sorted(kept, key=words.index)
    assert min(map(len, kept)) == max(map(len, words))


def test_a_book_for_a_question_is_cut(searched):
    assert searched.search("ibori " + "lorem ipsum dolor " * 500_000)[0][0] == 1
    assert searched.search("ibori" * 2_000_000) == []


def test_no_words_nothing_to_look_for(searched):
    assert words([searched.text_index], "...") == []
    assert words([searched.text_index], "a b") == [["b"]]


HOSTILE = ['"', "'; DROP TABLE documents; --", "%_\\", "[a-z]", "a*", "NEAR(a b)", "\x00", "\ud800"]


@settings(max_examples=50, deadline=None)
@given(match=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20)))
def test_no_name_is_syntax(searched, match):
    literal = not set(match) & set("*?\x00")
    found = [document.source for document in searched.documents(match=match)]
    assert found in ([], ["doc"])
    if literal and match:
        assert bool(found) == (match.lower() in "doc")
    assert searched.document(match) is None or match == "doc"


def test_coverage_is_the_share_of_the_words_rare_ones_first(searched):
    assert searched.coverage("governors convicted in London", [1, 2]) == [1.0, 0.0]
    # "version" stands in a document, "Ibori" in another: alike, half each.
    assert searched.coverage("the Ibori version", [1, 3, 2]) == [0.5, 0.5, 0.0]
    # What no document has counts for more than what one has.
    (covered,) = searched.coverage("Ibori Quillhaven", [1])
    assert 0 < covered < 0.5
    assert searched.coverage("?!", [1]) == [0.0]
    assert searched.coverage('Ibori" OR rowid NOT "', [1])[0] > 0
    assert searched.coverage("Ibori", []) == []


def test_coverage_counts_words_among_the_newest_chunks_only(store, monkeypatch):
    from store.index import text_index

    texts = ["bridge north", "bridge south", "bridge west", "tower east"]
    chunks = [chunk(n, text, position=n) for n, text in enumerate(texts)]
    store.put("doc", content_hash="", chunking="", chunks=chunks)
    assert store.coverage("tower bridge", [4])[0] > 0.75
    monkeypatch.setattr(text_index, "SAMPLE", 2)
    assert store.coverage("tower bridge", [4]) == [0.5]
