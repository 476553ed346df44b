"""`mac store prune`, its undoing, and answers from what it leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from maccli.commands.store.prune import STRATEGIES
from maccli.reading.items import Piped
from maccli.service.ask import Options, ask
from maccli.service.ingest import ingest
from maccli.service.session import Session
from store.pruning import prune
from store.pruning.target import Target
from store.store import Store

from ...conftest import FakeMemory, Ran

Mac = Callable[..., Ran]
TEXTS = {
    "bridge.txt": "Varnholt is small. The bridge over the Elm was opened by Ida Brandt.",
    "bridges.txt": "Varnholt is large. The bridge over the Elm was opened by Una Moss.",
    "prize.txt": "The poetry prize went to Tomas Reyl. The jury met in June.",
    "prizes.txt": "The poetry prize went to Mira Hale. The jury met in July.",
}


@pytest.fixture
def stored(mac: Mac, work: Path, memory: FakeMemory) -> Path:
    for name, text in TEXTS.items():
        (work / name).write_text(text)
    assert mac("ingest", *TEXTS).code == 0
    return work


def test_a_prune_and_its_undoing(mac: Mac, stored: Path) -> None:
    before = mac("store", "ls", "--json").json
    planned = mac("store", "prune", "--to", "50%", "--dry-run")
    assert planned.code == 0 and planned.err == ""
    assert planned.out.startswith("Would keep 2 of 4 modulations (")
    assert ", about " in planned.out
    assert mac("store", "ls", "--json").json == before
    assert mac("store", "prune", "--undo").err.splitlines() == [
        "Error: There is no prune to undo.",
        "Hint: mac store vacuum makes prunes final.",
    ]
    ran = mac("store", "prune", "--to", "50%")
    assert ran.code == 0 and ran.out.startswith("Kept 2 of 4 modulations (")
    assert ran.err.startswith("mac store prune --undo takes it back")
    shown = mac("store", "show", "bridge.txt").out
    assert ", shared with 1 chunk\nVarnholt is small." in shown
    piece = mac("store", "show", "bridge.txt", "--json").json["pieces"][0]
    assert (piece["sharing"], piece["pruned"]) == (1, False)
    assert "after prunes 2 modulations\n" in mac("store", "stats").out
    would = mac("store", "prune", "--undo", "--dry-run")
    assert would.out.startswith("Would undo the prune of 2") and "(merge to 50%)" in would.out
    undone = mac("store", "prune", "--undo", "--json").json
    assert (undone["before"], undone["after"], undone["dry_run"]) == (4, 2, False)
    assert mac("store", "ls", "--json").json == before


def test_prunes_become_final_only_after_a_question(
    mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mac("store", "prune", "--to", "50%").code == 0
    assert mac("store", "vacuum", "--dry-run").code == 0
    refused = mac("store", "vacuum")
    assert (refused.code, refused.out) == (2, "")
    assert "prunes can still be undone, and there is no terminal to ask on" in refused.err
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    assert mac("store", "vacuum").code == 130
    assert mac("store", "prune", "--undo").code == 0
    assert mac("store", "vacuum").code == 0  # there is nothing to ask
    assert mac("store", "prune", "--to", "50%").code == 0
    assert mac("store", "vacuum", "--yes").code == 0
    assert mac("store", "prune", "--undo").code == 1


def test_dropped_chunks_are_told(mac: Mac, stored: Path) -> None:
    ran = mac("store", "prune", "--strategy", "random", "--to", "1", "--seed", "3", "--json")
    report = ran.json
    assert list(report) == [
        "at",
        "strategy",
        "target",
        "seed",
        "before",
        "after",
        "bytes_before",
        "bytes_after",
        "dry_run",
    ]
    assert (report["target"], report["seed"], report["after"]) == ("1", 3, 1)
    assert mac("store", "ls").out.count("1 (1 pruned)") == 3
    assert "pruned       3\n" in mac("store", "stats").out
    gone = next(d["source"] for d in mac("store", "ls", "--json").json if d["pruned"])
    shown = mac("store", "show", gone).out
    assert "line 1: pruned\n" in shown and "1 chunk (1 pruned)" in shown
    assert mac("ingest", *TEXTS).out.startswith("4 documents: 4 unchanged.")
    nothing = mac("store", "prune", "--strategy", "random", "--to", "5")
    assert nothing.out.startswith("Nothing to do: 1 modulation (")
    assert mac("store", "prune", "--undo").out.startswith("Undid the prune of 2")
    assert mac("store", "stats", "--json").json["pruned"] == 0


@pytest.mark.parametrize(
    "args",
    [
        ("--to", "half"),
        ("--to", "0%"),
        (),
        ("--to", "5", "--strategy", "best"),
        ("--to", "5", "--undo"),
        ("--undo", "--strategy", "merge"),
        ("--undo", "--seed", "0"),
    ],
)
def test_wrong_usage(mac: Mac, stored: Path, args: tuple[str, ...]) -> None:
    ran = mac("store", "prune", *args)
    assert (ran.code, ran.out) == (2, "")
    assert "Usage: mac store prune" in ran.err


def test_what_cannot_be(mac: Mac, stored: Path, tmp_path: Path) -> None:
    ran = mac("store", "prune", "--to", "9B")
    assert ran.code == 1 and len(ran.err.splitlines()) == 2
    assert ran.err.startswith("Error: The modulations cannot be made as small as 9 B")
    for command in (("prune", "--to", "5"), ("prune", "--undo")):
        assert mac("store", *command, "--store", str(tmp_path / "none")).code == 1


def test_without_a_store_there_is_nothing_to_prune(mac: Mac, memory: FakeMemory) -> None:
    for command in (("prune", "--to", "5"), ("prune", "--undo")):
        ran = mac("store", *command)
        assert ran.code == 1 and ran.err.startswith("Error: There is no store in")


def test_every_strategy_can_be_chosen() -> None:
    assert sorted(STRATEGIES) == sorted(prune.STRATEGIES)
    assert STRATEGIES[0] == "merge"


# answers


@pytest.fixture
def session(opened: Session) -> Session:
    ingest(opened, [Piped(text.encode(), name) for name, text in TEXTS.items()])
    return opened


def pruned(session: Session, strategy: str, left: int) -> Store:
    assert session.store is not None
    prune.prune(session.store, strategy, Target(number=left))  # type: ignore[arg-type]
    return session.store


@pytest.mark.parametrize("strategy", ["merge", "nn-average", "average"])
def test_an_answer_names_its_chunk_first_and_then_what_it_was_merged_with(
    session: Session, strategy: str
) -> None:
    question = "Who opened the bridge of small Varnholt?"
    before = ask(session, question, Options(k=1))
    assert [s.source for s in before.sources] == ["bridge.txt"]
    store = pruned(session, strategy, 2)
    answer = ask(session, question, Options(k=1))
    assert answer.sources[0].source == "bridge.txt" and answer.sources[0].weight == 1.0
    assert len(answer.sources) == 2 and answer.sources[1].weight == 0.0
    if strategy != "average":
        assert answer.sources[1].source == "bridges.txt"
        assert answer.sources[1].text in TEXTS["bridges.txt"]
    assert sum(source.weight for source in answer.sources) == pytest.approx(1)
    rag = ask(session, question, Options(k=1, mode="rag"))
    assert [s.source for s in rag.sources] == ["bridge.txt"]
    prune.undo(store)
    assert ask(session, question, Options(k=1)).sources == before.sources


def test_a_dropped_chunk_answers_nothing(session: Session) -> None:
    store = pruned(session, "random", 2)
    dropped = {d.source for d in store.documents() if d.pruned}
    for question in ("Who opened the bridge of Varnholt?", "Who won the poetry prize in June?"):
        assert not dropped & {s.source for s in ask(session, question).sources}


def test_answers_are_counted_and_decide_what_stays(session: Session) -> None:
    ask(session, "Who opened the bridge of small Varnholt?", Options(k=1))
    ask(session, "zebra quagga okapi", Options(k=1))  # not answered: not counted
    ask(session, "Who won the poetry prize, Mira Hale?", Options(k=1, mode="rag"))
    store = pruned(session, "usage", 2)
    assert {d.source for d in store.documents() if not d.pruned} == {"bridge.txt", "prizes.txt"}


def test_the_output_of_ask_is_the_same(mac: Mac, stored: Path) -> None:
    mac("store", "prune", "--to", "2", "-q")
    answer = mac("ask", "Who opened the bridge of small Varnholt?", "-k", "1", "--json").json
    assert list(answer["sources"][0]) == [
        *("source", "title", "heading", "place", "chunk", "start", "end"),
        *("weight", "text", "passage", "marked", "stale", "also"),
    ]
    assert [source["weight"] for source in answer["sources"]] == [1.0, 0.0]
    human = mac("ask", "Who opened the bridge of small Varnholt?", "-k", "1").out
    assert "bridge.txt" in human and "bridges.txt" not in human
    assert json.dumps(answer)
