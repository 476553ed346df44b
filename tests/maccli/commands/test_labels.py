"""Tags and dates on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import FakeMemory, Ran

Mac = Callable[..., Ran]


@pytest.fixture
def stored(mac: Mac, work: Path, memory: FakeMemory) -> FakeMemory:
    (work / "bridge.txt").write_text("The bridge was opened by Ida Brandt.")
    (work / "prize.txt").write_text("The poetry prize went to Tomas Reyl.")
    assert mac("ingest", "bridge.txt", "--tag", "Town News", "--tag", "2026").code == 0
    assert mac("ingest", "prize.txt", "--date", "2025-06-01").code == 0
    memory.calls.clear()
    return memory


def test_they_are_shown(mac: Mac, stored: FakeMemory) -> None:
    lines = [line.split() for line in mac("store", "ls").out.splitlines()]
    assert lines[0] == ["chunks", "tokens", "memory", "updated", "date", "tags", "document"]
    assert lines[1][-4:] == ["2026,", "town", "news", "bridge.txt"]
    assert lines[2][-2:] == ["2025-06-01", "prize.txt"]
    assert [(d["tags"], d["date"]) for d in mac("store", "ls", "--json").json] == [
        (["2026", "town news"], None),
        ([], "2025-06-01"),
    ]
    assert "tags       2026, town news\n" in mac("store", "show", "bridge.txt").out
    shown = mac("store", "show", "prize.txt").out
    assert "date       2025-06-01\n" in shown and "tags" not in shown
    assert mac("store", "show", "bridge.txt", "--json").json["tags"] == ["2026", "town news"]


def test_they_are_changed_without_the_model(mac: Mac, stored: FakeMemory) -> None:
    ran = mac(
        "ingest", "bridge.txt", "--tag", "new", "--untag", "TOWN  news", "--date", "2026-01-02"
    )
    assert ran.out.startswith("1 document: 1 updated. Took ")
    assert mac("ingest", "prize.txt", "--date", "").code == 0
    assert [(d["tags"], d["date"]) for d in mac("store", "ls", "--json").json] == [
        (["2026", "new"], "2026-01-02"),
        ([], None),
    ]
    assert mac("ingest", "bridge.txt", "--tag", "new").out.startswith("1 document: 1 unchanged.")
    assert stored.calls == []


def test_listing_and_asking_within_them(mac: Mac, stored: FakeMemory) -> None:
    def listed(*args: str) -> list[str]:
        return [Path(d["source"]).name for d in mac("store", "ls", *args, "--json").json]

    assert listed("--tag", "town news") == ["bridge.txt"]
    assert listed("--until", "2025-06-01") == ["prize.txt"]
    assert listed("--since", "2025-06-02", "--tag", "2026", "--tag", "other") == ["bridge.txt"]
    assert mac("store", "ls", "--tag", "other").err == "No document matches.\n"
    question = "Who opened the bridge?"
    for retriever in ("dense", "bm25", "hybrid"):
        how = ("--retriever", retriever, "--json")
        answer = mac("ask", question, "--tag", "2026", *how).json
        assert [Path(s["source"]).name for s in answer["sources"]] == ["bridge.txt"]
    kept_out = mac("ask", question, "--since", "2025-01-01", "--until", "2025-12-31")
    assert kept_out.code == 3
    assert kept_out.out.startswith("Nothing relevant found in 1 document.\n")


def test_when_no_document_has_them(mac: Mac, stored: FakeMemory) -> None:
    ran = mac("ask", "Who opened the bridge?", "--tag", "nwes")
    assert (ran.code, ran.err) == (3, "")
    assert ran.out == "No document has these tags and dates.\n"
    assert mac("ask", "Who?", "--tag", "nwes", "--json").json["abstained"] is True


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("ingest", "x", "--tag", "a,b"), "a tag cannot hold a comma, 'a,b' does"),
        (("ingest", "x", "--tag", " "), "a tag must not be empty"),
        (("ingest", "x", "--date", "1.2.2026"), "a date is written YYYY-MM-DD, not '1.2.2026'"),
        (("ask", "x", "--since", "2026-02-30"), "2026-02-30 is not a date"),
        (("ask", "x", "--tag", "x" * 101), "a tag has at most 100 characters, not 101"),
        (("store", "ls", "--until", "soon"), "a date is written YYYY-MM-DD, not 'soon'"),
    ],
)
def test_what_is_no_tag_or_date(mac: Mac, args: tuple[str, ...], message: str) -> None:
    ran = mac(*args)
    assert (ran.code, ran.out) == (2, "")
    assert message in " ".join(ran.err.split())


@pytest.mark.parametrize("tag", ["' OR 1=1 --", '"; DROP TABLE documents; --', "%", "*", "NEAR("])
def test_a_tag_is_never_taken_for_syntax(mac: Mac, stored: FakeMemory, tag: str) -> None:
    assert mac("ask", "Who opened the bridge?", "--tag", tag).code == 3
    assert mac("ingest", "prize.txt", "--tag", tag).code == 0
    found = mac("ask", "Who opened the bridge?", "--tag", tag, "--json").json["sources"]
    assert [Path(s["source"]).name for s in found] == ["prize.txt"]
