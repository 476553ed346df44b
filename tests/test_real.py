"""The main job with the real model: the example files, questions about them, right answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[1]
NEWS = sorted((ROOT / "examples" / "news").iterdir())
ANSWERED = {
    "Who discovered the comet Okonjo-Vale?": ("Amara Okonjo", "comet.html"),
    "How long is the Heron Bridge in Varnholt?": ("312 metres", "bridge.txt"),
    "Which book won Tomas Reyl the Ashgrove Prize?": ("The Salt Ledger", "prize.md"),
    "Who coaches Greywick Rovers?": ("Marek Wiśniewski", "football.txt"),
}


def _mac(*arguments: str, store: Path, questions: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "maccli", *arguments, "--store", str(store)],
        input=questions,
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1"},
        timeout=600,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "store"
    done = _mac("ingest", "--json", *map(str, NEWS), store=folder)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["added"] == len(NEWS) == 7
    assert report["chunks"] >= 7
    return folder


def test_questions_get_right_answers_and_sources(store: Path) -> None:
    done = _mac("ask", "-", "--nl", store=store, questions="\n".join(ANSWERED))
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        expected, source = ANSWERED[answer["question"]]
        assert expected.lower() in answer["answer"].lower()
        first = answer["sources"][0]
        assert first["source"].endswith(source)
        assert expected.split()[-1].lower() in first["text"].lower()
        assert answer["prefix_tokens"] > 100


def test_a_question_about_nothing_in_the_store_is_not_answered(store: Path) -> None:
    done = _mac("ask", "How do I configure a PostgreSQL replication slot?", store=store)
    assert done.returncode == 3, done.stdout
    assert "Nothing relevant found in 7 documents." in done.stdout


def test_the_same_question_gets_the_same_answer(store: Path) -> None:
    question = "How long is the Heron Bridge in Varnholt?"
    first, second = (_mac("ask", "-q", question, store=store).stdout for _ in range(2))
    assert first == second


def test_ingesting_again_changes_nothing(store: Path) -> None:
    done = _mac("ingest", "--json", *map(str, NEWS), store=store)
    report = json.loads(done.stdout)
    assert (report["added"], report["updated"], report["unchanged"]) == (0, 0, 7)
