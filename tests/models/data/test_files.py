from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.data.files import DataSource, Example, parse_source, read, read_lines
from models.errors import DataError

LINE = {
    "id": "a-1",
    "source": "town",
    "doc_id": "town#1",
    "doc": "Ida Brandt opened the bridge in Varnholt.",
    "question": "Who opened the bridge in Varnholt?",
    "answers": ["Ida Brandt", "Brandt", "Ida Brandt"],
    "title": "Bridge",
    "date": "2026-03-04",
    "standalone": True,
    "split": "train",
}
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Varnholt",
            "paragraphs": [
                {
                    "context": "The mill burned down in 2026.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "When did the mill burn down?",
                            "answers": [{"text": "2026", "answer_start": 24}] * 3,
                            "is_impossible": False,
                        },
                        {
                            "id": "q2",
                            "question": "Who built the mill?",
                            "answers": [],
                            "plausible_answers": [{"text": "2026", "answer_start": 24}],
                            "is_impossible": True,
                        },
                    ],
                }
            ],
        }
    ],
}

Write = Callable[..., Path]


@pytest.fixture
def lines(tmp_path: Path) -> Write:
    def write(*rows: Any, name: str = "town.jsonl") -> Path:
        text = "".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows)
        data = text.encode()
        path = tmp_path / name
        path.write_bytes(zstandard.compress(data) if name.endswith(".zst") else data)
        return path

    return write


@pytest.mark.parametrize("name", ["town.jsonl", "town.jsonl.zst"])
def test_a_line_becomes_an_example(lines: Write, name: str) -> None:
    assert read(lines(LINE, name=name)) == [
        Example(
            id="a-1",
            source="town",
            document_id="town#1",
            document="Ida Brandt opened the bridge in Varnholt.",
            question="Who opened the bridge in Varnholt?",
            answers=("Ida Brandt", "Brandt"),
            title="Bridge",
            date="2026-03-04",
            standalone=True,
            split="train",
        )
    ]


def test_the_least_a_line_needs(lines: Write) -> None:
    least = {key: LINE[key] for key in ("doc", "question", "answers")}
    first, second = read(lines(least, "\n", {**least, "standalone": False}))
    assert (first.id, second.id) == ("town-1", "town-3")
    assert first.document_id == second.document_id != ""
    assert (first.standalone, second.standalone) == (True, False)
    assert first.split is None


def test_a_half_of_a_surrogate_pair_is_replaced(lines: Write) -> None:
    row = {name: f"{text} \ud83d" for name, text in LINE.items() if isinstance(text, str)}
    (example,) = read(lines({**row, "answers": ["Ida \udc00", "\U0001f600"]}))
    assert example.document == f"{LINE['doc']} \ufffd"
    assert example.answers == ("Ida \ufffd", "\U0001f600")
    for text in (example.id, example.source, example.document_id, example.title, example.question):
        assert text is not None and text.endswith(" \ufffd")
    assert example.document.encode()


def test_a_split_leaves_out_the_others_but_not_the_unknown(lines: Write) -> None:
    path = lines(LINE, {**LINE, "id": "b", "split": "dev"}, {**LINE, "id": "c", "split": None})
    assert [e.id for e in read(path, "dev")] == ["b", "c"]
    assert [e.id for e in read(path)] == ["a-1", "b", "c"]
    assert [e.id for e in read(path, limit=1)] == ["a-1"]
    with pytest.raises(DataError, match="no questions of split 'test'"):
        read(lines(LINE), "test")


@pytest.mark.parametrize("name", ["squad.json", "squad.json.zst"])
def test_squad_of_both_versions(lines: Write, name: str) -> None:
    skipped: Counter[str] = Counter()
    [example] = read(lines(SQUAD, name=name), skipped=skipped)
    assert (example.id, example.source, example.document_id) == ("q1", "squad", "squad-0-0")
    assert example.answers == ("2026",)
    assert (example.title, example.split) == ("Varnholt", None)
    assert skipped == {"impossible": 1}


def test_streamingqa_columns(lines: Write) -> None:
    path = lines(
        "question,answers,text\n",
        'Who won?,"Tomas Reyl\\Reyl","The prize, this year, went\nto Tomas Reyl."\n',
        "Who lost?,,Nobody lost.\n",
        name="stream.csv",
    )
    skipped: Counter[str] = Counter()
    [example] = read(path, skipped=skipped)
    assert example.answers == ("Tomas Reyl", "Reyl")
    assert example.document == "The prize, this year, went\nto Tomas Reyl."
    assert skipped == {"impossible": 1}


def test_archivalqa_columns_and_long_articles(lines: Write) -> None:
    long = "word " * 40_000 + "1926."
    path = lines(
        "doc_id,para_num,question,answer,ans_paragraph,ans_text\n",
        f'7,1,When?,1926,"{long}",whole\n',
        name="archive.csv",
    )
    [example] = read(path)
    assert example.document == long
    assert example.answers == ("1926",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([LINE, "{not json\n"], r"town\.jsonl:2: not JSON"),
        ([LINE, "[1]\n"], r"town\.jsonl:2: not a JSON object"),
        ([{**LINE, "doc": " "}], r"town\.jsonl:1: 'doc' is missing or empty"),
        ([{**LINE, "question": None}], r"town\.jsonl:1: 'question' is missing"),
        ([{**LINE, "answers": "Ida"}], r"town\.jsonl:1: 'answers' is missing or not a list"),
        ([{**LINE, "answers": [1]}], r"town\.jsonl:1: an answer is not text"),
        ([{**LINE, "title": ["x"]}], r"town\.jsonl:1: 'title' must be text"),
        ([{**LINE, "answers": []}], r"no questions"),
        ([""], r"no questions"),
    ],
)
def test_a_bad_line_is_named(lines: Write, rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(lines(*rows))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", "{", r"x\.json:1: not one JSON document"),
        ("x.json", "[" * 100_000, r"x\.json: nested too deeply"),
        ("x.json", json.dumps(LINE), r"no list 'data'"),
        (
            "x.json",
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"answers": []}]}]}]}',
            r"data\[0\]\.paragraphs\[0\]\.qas\[0\]: 'question'",
        ),
        ("x.csv", "a,b\n1,2\n", r"x\.csv:1: columns \['a', 'b'\] are not known"),
        ("x.csv", "question,answers,text\nWho?,x\n", r"x\.csv:2: 'text' is missing"),
        ("x.csv", 'question,answers,text\nWho?,x,"open', r"x\.csv:2: not CSV"),
        ("x.txt", "hello", r"x\.txt: not a known kind"),
        ("noname", "hello", r"noname: not a known kind"),
    ],
)
def test_a_bad_file_is_named(lines: Write, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(lines(text, name=name))


def test_unreadable_files(tmp_path: Path, lines: Write) -> None:
    with pytest.raises(DataError, match="No such file"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"doc": "caf\xe9"}\n')
    with pytest.raises(DataError, match="not UTF-8"):
        read(tmp_path / "latin.jsonl")
    whole = lines(*[LINE] * 50, name="cut.jsonl.zst")
    whole.write_bytes(b"garbage" + whole.read_bytes())
    with pytest.raises(DataError, match="damaged Zstandard"):
        read(whole)


def test_a_cut_compressed_file_is_not_taken_for_a_whole_one(lines: Write) -> None:
    rows = [{**LINE, "id": str(i), "doc": f"{i} " * 200} for i in range(200)]
    path = lines(*rows, name="cut.jsonl.zst")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError):
        read(path)


def test_an_endless_line_stops_early(lines: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.data.formats._MAX_LINE", 1000)
    with pytest.raises(DataError, match=r":2: longer than 1000 characters"):
        read(lines(LINE, {**LINE, "doc": "x" * 2000}))


def test_reading_is_lazy(lines: Write) -> None:
    path = lines(LINE, "broken\n")
    assert next(iter(read_lines(path))).id == "a-1"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("a.jsonl", DataSource(Path("a.jsonl"), 1.0)),
        ("a.jsonl:2.5", DataSource(Path("a.jsonl"), 2.5)),
        ("dir:x/a.jsonl", DataSource(Path("dir:x/a.jsonl"), 1.0)),
        ("dir:x/a.jsonl:3", DataSource(Path("dir:x/a.jsonl"), 3.0)),
        (":2", DataSource(Path(":2"), 1.0)),
    ],
)
def test_sources_with_weights(text: str, source: DataSource) -> None:
    assert parse_source(text) == source


def test_an_existing_file_keeps_its_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a:2").write_text("")
    assert parse_source("a:2") == DataSource(Path("a:2"))


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf"])
def test_a_weight_must_be_positive(weight: str) -> None:
    with pytest.raises(DataError, match="above 0"):
        parse_source(f"a.jsonl:{weight}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    data=st.binary(max_size=200), name=st.sampled_from(["f.jsonl", "f.json", "f.csv", "f.json.zst"])
)
def test_any_bytes_give_a_data_error_or_examples(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError):
        read(path)
