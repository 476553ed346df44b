"""`mac chat`, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ...conftest import FakeMemory, Ran, pipe

Mac = Callable[..., Ran]

BRIDGE = "The bridge in Varnholt was opened by Ida Brandt. It cost ninety crowns."
MILL = "The mill in Dorvik was sold by Otto Reyl. It cost twelve pounds."


@pytest.fixture
def two(mac: Mac, memory: FakeMemory, work: Path) -> None:
    """A store with two documents that both say what something cost."""
    for name, text in (("bridge.txt", BRIDGE), ("mill.txt", MILL)):
        (work / name).write_text(text)
    assert mac("ingest", "bridge.txt", "mill.txt").code == 0


def asked(mac: Mac, monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[tuple[bool, str]]:
    """Ask, and return of each answer whether it was a follow-up, and the best source."""
    pipe(monkeypatch, "".join(f"{line}\n" for line in lines))
    ran = mac("chat", "--nl", "-k", "1")
    assert ran.code == 0
    answers = [json.loads(line) for line in ran.out.splitlines()]
    return [(answer["follows"], Path(answer["sources"][0]["source"]).name) for answer in answers]


def test_a_question_leans_on_the_one_before(
    mac: Mac, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (
        *("Who opened the bridge in Varnholt?", "And how much did it cost?"),
        *("Who sold the mill in Dorvik?", "And how much did it cost?"),
    )
    assert asked(mac, monkeypatch, *lines) == [
        *((False, "bridge.txt"), (True, "bridge.txt")),
        *((False, "mill.txt"), (True, "mill.txt")),
    ]


def test_new_forgets_and_quit_ends(mac: Mac, two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("Who sold the mill in Dorvik?", "/new", "And how much did it cost?", "/quit", "Who?")
    assert [follows for follows, _ in asked(mac, monkeypatch, *lines)] == [False, False]


def test_what_cannot_be_obeyed_is_explained(
    mac: Mac, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, "/help\nWho sold the mill in Dorvik?\n")
    ran = mac("chat")
    assert ran.err == "/new forgets what was asked, /quit or Ctrl-D ends.\n"
    assert ran.out.startswith("> Who sold the mill in Dorvik?\nAn answer from 2.\n")


def test_it_reads_as_ask_does(mac: Mac, two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, "Who sold the mill in Dorvik?\n")
    ran = mac("chat", "-k", "1")
    assert ran.out.startswith("> Who sold the mill in Dorvik?\nAn answer from 1.\n\nSource:\n")
