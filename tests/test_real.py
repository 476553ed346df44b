"""The main job with the real model: the example files, questions about them, right answers."""

import json
import os
import re
import shlex
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


def test_a_question_may_lean_on_the_one_before(store: Path) -> None:
    asked = "How long is the Heron Bridge?\nWho designed it?\nWho coaches Greywick Rovers?\n"
    done = _mac("chat", "--nl", store=store, questions=asked)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["follows"] for answer in answers] == [False, True, False]
    assert [answer["answer"] for answer in answers[1:]] == ["Oskar Lindqvaal", "Marek Wiśniewski"]


def test_the_same_question_gets_the_same_answer(store: Path) -> None:
    question = "How long is the Heron Bridge in Varnholt?"
    first, second = (_mac("ask", "-q", question, store=store).stdout for _ in range(2))
    assert first == second


def test_ingesting_again_changes_nothing(store: Path) -> None:
    done = _mac("ingest", "--json", *map(str, NEWS), store=store)
    report = json.loads(done.stdout)
    assert (report["added"], report["updated"], report["unchanged"]) == (0, 0, 7)


def _readme(language: str, first_word: str) -> str:
    """Return the README's block in a language that begins with a word."""
    blocks = re.findall(
        rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL
    )
    return next(block for block in blocks if block.startswith(first_word))


def _run(code: list[str], folder: Path) -> str:
    """Run a command in a folder that has the examples, as a clone has them."""
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(ROOT / "examples")
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ,
        "PYTHONUTF8": "1",
        "PYTHONPATH": paths,
        "MAC_STORE": str(folder / "store"),
    }
    done = subprocess.run(
        code, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=900
    )
    assert done.returncode == 0, f"{shlex.join(code)}: {done.stderr}"
    return done.stdout


def test_the_python_example_of_readme_prints_the_answer(tmp_path: Path) -> None:
    code = _readme("python", "from maccli")
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    assert _run([sys.executable, "-c", code], tmp_path).strip() == "Marek Wiśniewski"


def test_the_commands_of_readme_work_as_they_are(tmp_path: Path) -> None:
    lines = [line for line in _readme("sh", "mac ingest").splitlines() if line]
    assert len(lines) >= 8
    shown = {}
    for line in lines:
        assert line.startswith("mac "), line
        command = f'mac() {{ {shlex.quote(sys.executable)} -m maccli "$@"; }}; {line}'
        shown[line.partition("#")[0].strip()] = _run(["bash", "-c", command], tmp_path)
    assert "Marek Wiśniewski" in shown['mac ask "Who coaches Greywick Rovers?"']
    assert "A Goat in the Post Office" in shown['mac search "prize for a children\'s book"']
