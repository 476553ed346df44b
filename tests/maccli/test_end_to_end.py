"""Train, ingest, ask, evaluate with real networks, tiny and random: all parts meet each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ran

Mac = Callable[..., Ran]

FACTS = [
    ("The town of Varnholt opened a new bridge in March.", "Who opened a bridge?", "Varnholt"),
    ("The jury gave the prize to the poet Tomas Reyl.", "Who got the prize?", "Tomas Reyl"),
    ("Heavy rain closed the northern road for 3 days.", "What closed the road?", "Heavy rain"),
    ("Ida Brandt cut the ribbon at noon.", "Who cut the ribbon?", "Ida Brandt"),
]


@pytest.fixture
def data(work: Path) -> Path:
    rows = [
        {
            "doc": document,
            "question": question,
            "answers": [answer],
        }
        for document, question, answer in FACTS
    ]
    path = work / "facts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_train_ingest_ask(
    mac: Mac, data: Path, work: Path, tiny_llama: Path, tiny_encoder: Path
) -> None:
    trained = mac(
        *("train", "--data", str(data), "--out", "made", "--device", "cpu", "--rank", "16"),
        *("--base", str(tiny_llama), "--encoder", str(tiny_encoder)),
        *("--steps", "2", "--batch", "4", "--documents", "2", "--chunk-tokens", "32"),
    )
    assert trained.code == 0, trained.err
    assert "Loading" not in trained.err
    assert len((work / "made" / "log.jsonl").read_text().splitlines()) == 2
    for n, (document, _, _) in enumerate(FACTS):
        (work / f"{n}.txt").write_text(f"{document} It was a day like any other.")
    ingested = mac("ingest", "*.txt", "-m", "made", "--json")
    assert ingested.code == 0, ingested.err
    assert ingested.json["added"] == 4
    assert ingested.err == ""
    asked = mac("ask", FACTS[0][1], "-m", "made", "--json", "-k", "2", "--retriever", "bm25")
    assert asked.code == 0, asked.err
    best = asked.json["sources"][0]
    assert best["source"] == str(work / "0.txt")
    text = (work / "0.txt").read_text()
    assert best["text"] == text[best["start"] : best["end"]]
    assert asked.json["prefix_tokens"] > 20
    for mode in ("rag", "closed-book"):
        assert mac("ask", FACTS[0][1], "-m", "made", "--mode", mode).code == 0
    measured = mac(
        *("eval", "--data", str(data), "-m", "made", "--device", "cpu", "--json", "-k", "2"),
        *("--method", "mac-bm25", "--method", "rag-dense", "--method", "mac-oracle"),
    )
    assert measured.code == 0, measured.err
    assert [row["questions"] for row in measured.json["rows"]] == [4, 4, 4]
    selected = [row["costs"]["found"] for row in measured.json["rows"]]
    assert selected[0] == selected[2] == 100
