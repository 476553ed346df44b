"""`mac store ls | show | stats | rm | path`, from the command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ...conftest import FakeMemory, Ran

Mac = Callable[..., Ran]


def test_store_ls(mac: Mac, stored: Path) -> None:
    lines = mac("store", "ls").out.splitlines()
    assert lines[0].split() == ["chunks", "tokens", "memory", "updated", "document"]
    assert [line.split()[-1] for line in lines[1:]] == ["bridge.txt", "prize.md"]
    assert [d["title"] for d in mac("store", "ls", "--json").json] == [None, "Prizes"]
    assert len(mac("store", "ls", "--nl").out.splitlines()) == 2
    assert len(mac("store", "ls", "*.md", "--json").json) == 1
    assert len(mac("store", "ls", "-n", "1", "--json").json) == 1
    assert mac("store", "ls", "zebra", "--json").json == []


def test_an_empty_store_is_an_empty_list(mac: Mac, tmp_path: Path) -> None:
    folder = tmp_path / "mac-home" / "store"
    assert mac("store", "ls").err == f"There is no store in {folder}.\n"
    assert mac("store", "ls", "--json").out == "[]\n"
    assert mac("store", "ls", "--nl").out == ""
    missing = mac("store", "ls", "*.md", "--store", str(tmp_path / "typo"))
    assert (missing.code, missing.err) == (0, f"There is no store in {tmp_path / 'typo'}.\n")


def test_a_store_that_was_emptied(mac: Mac, stored: Path, tmp_path: Path) -> None:
    assert mac("store", "rm", "*", "--yes", "-q").code == 0
    empty = f"The store {tmp_path / 'mac-home' / 'store'} is empty."
    assert mac("store", "ls").err == f"{empty}\n"
    for command in (("ask", "Who?"), ("search", "Who?"), ("model", "export", "Who?", "adapter")):
        ran = mac(*command)
        assert (ran.code, ran.out) == (3, "")
        assert ran.err == f"Error: {empty}\nHint: Ingest something first: mac ingest FILES\n"


def test_without_a_store_every_command_says_the_same(
    mac: Mac, memory: FakeMemory, tmp_path: Path
) -> None:
    missing = f"There is no store in {tmp_path / 'none'}."
    said = f"Error: {missing}\nHint: Ingest something first: mac ingest FILES\n"
    for command in (("show", "x"), ("rm", "x"), ("stats",), ("verify",), ("rebuild",)):
        ran = mac("store", *command, "--store", str(tmp_path / "none"))
        assert (ran.code, ran.out, ran.err) == (1, "", said)
    for words in (("ask", "Who?"), ("search", "Who?"), ("model", "export", "Who?", "adapter")):
        ran = mac(*words, "--store", str(tmp_path / "none"))
        assert (ran.code, ran.out, ran.err) == (3, "", said)
    assert memory.calls == []


def test_store_show_and_stats(mac: Mac, stored: Path) -> None:
    shown = mac("store", "show", "bridge.txt").out
    assert "line 1: 10 tokens" in shown and "Varnholt is small." in shown
    assert mac("store", "show", str(stored / "bridge.txt")).out == shown
    unknown = mac("store", "show", "zebra.txt")
    assert (unknown.code, unknown.out) == (1, "")
    stats = mac("store", "stats", "--json").json
    assert (stats["documents"], stats["chunks"]) == (2, 2)
    shown = mac("store", "stats").out
    assert "documents    2\n" in shown
    for name in ("text", "modulations", "keys"):
        assert re.search(rf"^{name} +[\d.]+ k?B, [\d.]+ k?B a chunk$", shown, re.M)


def test_store_rm(mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mac("store", "rm", "*.md", "--dry-run").out == "Would remove prize.md\n"
    refused = mac("store", "rm", "*.md")
    assert refused.code == 2 and "--yes" in refused.err
    assert len(mac("store", "ls", "--json").json) == 2
    ran = mac("store", "rm", "*.md", "zebra.txt", "--yes")
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "Error: zebra.txt: no such document in the store",
        "Removed 1 document.",
    ]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *a, **k: True)
    assert mac("store", "rm", "bridge.txt").code == 0
    assert mac("store", "ls", "--json").json == []


def test_an_end_of_a_path_is_enough_if_it_is_the_only_one(mac: Mac, stored: Path) -> None:
    for name in ("x/deep.txt", "y/deep.txt"):
        (stored / name).parent.mkdir()
        (stored / name).write_text(f"Deep {name}.")
    mac("ingest", "x", "y")
    assert mac("store", "show", "x/deep.txt").code == 0
    for command in (("show",), ("rm", "--yes")):
        ran = mac("store", *command, "deep.txt")
        assert ran.code == 1 and "could be several documents" in ran.err


def test_store_path_follows_the_settings(
    mac: Mac, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mac("store", "path").out == f"{tmp_path}/mac-home/store\n"
    monkeypatch.setenv("MAC_STORE", str(tmp_path / "b"))
    assert mac("store", "path").out == f"{tmp_path}/b\n"
    assert mac("store", "path", "--store", str(tmp_path / "c")).out == f"{tmp_path}/c\n"
