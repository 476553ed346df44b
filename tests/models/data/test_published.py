"""Small files in the formats of the published data sets; no sentence in them is theirs."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.data import files as data
from models.data.files import read
from models.data.published import SQUAD_SEQ, where_to_get
from models.errors import DataError

KEY = "20200304000000000000\0\x01ab12\0\x01"
OFFICIAL = {
    "qa_id": "eval-7",
    "question": "Who opened the bridge in Varnholt?",
    "answers": ["Ida Brandt", "Brandt", "Mayor Brandt"],
    "answers_additional": ["the mayor"],
    "question_ts": 1583366400,
    "evidence_ts": 1583280000,
    "evidence_id": KEY,
    "recent_or_past": "recent",
    "written_or_generated": "written",
    "toxicity_insult": 0.1,
}
ARTICLE = {"sorting_key": KEY, "publication_ts": 1583280000, "text": "Ida Brandt opened it."}


def lines(path: Path, *rows: Any) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def table(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_official_streamingqa_finds_its_articles(tmp_path: Path) -> None:
    articles = dict(data.documents(lines(tmp_path / "wmt.jsonl", ARTICLE)))
    (name,) = articles
    assert name == "20200304000000000000-ab12"
    other = {**OFFICIAL, "qa_id": "eval-8", "evidence_id": "20070101\0\x01cd\0\x01"}
    path = lines(tmp_path / "streaminqa_eval.jsonl.gz", OFFICIAL, other)
    skipped: Counter[str] = Counter()
    (example,) = read(path, texts=articles, skipped=skipped)
    assert skipped == {"no article": 1}
    assert example.answers == ("Ida Brandt", "Brandt", "Mayor Brandt")
    assert (example.id, example.document_id, example.document) == (
        "eval-7",
        name,
        "Ida Brandt opened it.",
    )
    assert (example.date, example.split, example.source) == ("2020-03-04", "test", "streamingqa")
    with pytest.raises(DataError, match=r"gz:1: an official StreamingQA line has no article") as e:
        read(path)
    assert "google-deepmind/streamingqa" in str(e.value.hint)
    (example,) = read(lines(tmp_path / "0.jsonl", {**OFFICIAL, "evidence_ts": 0}), texts=articles)
    assert example.date == "1970-01-01"


@pytest.mark.parametrize("time", ["x", 1583280000000000, float("nan"), float("inf")])
def test_a_date_that_is_no_time_in_seconds_is_named(tmp_path: Path, time: Any) -> None:
    articles = dict(data.documents(lines(tmp_path / "wmt.jsonl", ARTICLE)))
    path = lines(tmp_path / "bad.jsonl", {**OFFICIAL, "evidence_ts": time})
    with pytest.raises(DataError, match=r":1: 'evidence_ts' must be a number of seconds"):
        read(path, texts=articles)


def test_archivalqa_paired_with_articles_and_alone(tmp_path: Path) -> None:
    row = {
        "id": "val_1",
        "question": "Who opened the bridge?",
        "answer": "Ida Brandt",
        "org_answer": "Ida Brandt",
        "answer_start": "0",
        "para_id": "7_1",
        "doc_id": "7",
    }
    paired = {
        **row,
        "title": "Bridge",
        "date": "2004-03-04",
        "text": "['First.', 'Ida Brandt opened it.']",
        "para_num": "1",
        "ans_paragraph": "Ida Brandt opened it.",
        "ans_text": "First.\nIda Brandt opened it.",
        "year": "2004",
    }
    (example,) = read(table(tmp_path / "test.csv", paired))
    assert (example.document, example.answers) == ("Ida Brandt opened it.", ("Ida Brandt",))
    assert (example.title, example.date) == ("Bridge", "2004-03-04")
    with pytest.raises(DataError, match=r"alone\.csv:1: ArchivalQA's own file has no texts") as e:
        read(table(tmp_path / "alone.csv", row))
    assert "LDC2008T19" in str(e.value.hint)


def test_squad_seq_as_the_authors_code_saves_it(tmp_path: Path) -> None:
    row = {
        "id": "5f",
        "title": "Varnholt",
        "context": "Ida Brandt opened the bridge.",
        "question": "Who opened the bridge?",
        "answers": "{'text': ['Ida Brandt', 'Brandt'], 'answer_start': [0, 4]}",
    }
    (example,) = read(table(tmp_path / "squad_test.csv", row))
    assert (example.answers, example.title) == (("Ida Brandt", "Brandt"), "Varnholt")
    for bad in ("Ida Brandt", "{'text': 'Ida'}", "{}", "__import__('os')"):
        with pytest.raises(DataError, match=r"bad\.csv:3: 'answers' is no"):
            read(table(tmp_path / "bad.csv", row, {**row, "answers": bad}))


def test_squad_seq_splits_are_rows_of_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, bounds in zip(SQUAD_SEQ, ((0, 2), (2, 3), (3, 5), (5, 6)), strict=True):
        monkeypatch.setitem(SQUAD_SEQ, name, bounds)
    answers = [{"text": "2026", "answer_start": 0}]
    paragraphs = [
        {
            "context": f"2026 was year {p}.",
            "qas": [{"id": f"{p}{q}", "question": "When?", "answers": answers} for q in range(3)],
        }
        for p in range(2)
    ]
    path = tmp_path / "train-v1.1.json"
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    assert [e.id for e in read(path, "squad-seq-train")] == ["10", "11"]
    assert [[e.id for e in read(path, name)] for name in SQUAD_SEQ] == [
        ["00", "01"],
        ["02"],
        ["10", "11"],
        ["12"],
    ]
    assert len(read(path)) == 6
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs[:1]}]}))
    with pytest.raises(DataError, match="of 6 questions, and this one has 3") as error:
        read(path, "squad-seq-qa")
    assert "SQuAD-explorer" in str(error.value.hint)


def test_a_missing_file_says_where_it_is_published(tmp_path: Path) -> None:
    for name, place in (
        ("streaminqa_eval.jsonl.gz", "google-deepmind/streamingqa"),
        ("ArchivalQA_test.csv", "WangJiexin/ArchivalQA"),
        ("squad-train.json", "train-v1.1.json"),
    ):
        with pytest.raises(DataError, match="No such file") as error:
            read(tmp_path / name)
        assert place in str(error.value.hint)
    assert where_to_get(Path("mine.csv")) is None


def test_damaged_gzip(tmp_path: Path) -> None:
    row = {"doc": "Ida opened it.", "question": "Who opened it?", "answers": ["Ida"]}
    path = lines(tmp_path / "x.jsonl.gz", *[row] * 50)
    assert len(read(path)) == 50
    whole = path.read_bytes()
    for broken in (whole[:-9], b"garbage" + whole, whole[:20]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="damaged gzip"):
            read(path)
