"""`mac store verify | vacuum | index`, from the command line."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ...conftest import FakeMemory, Ran

Mac = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mac-home" / "store"


def sql(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "index.db", isolation_level=None)
    try:
        connection.execute(statement)
    finally:
        connection.close()


DAMAGE = "UPDATE modulations SET data = zeroblob(60) WHERE chunk_id = 1"


def test_verify_tells_that_all_is_well(mac: Mac, stored: Path) -> None:
    ran = mac("store", "verify")
    assert (ran.code, ran.out, ran.err) == (0, "", "All is well: 2 documents, 2 chunks.\n")
    report = mac("store", "verify", "--json").json
    assert (report["problems"], report["documents"], report["chunks"]) == ([], 2, 2)
    assert mac("store", "verify", "-q").err == ""


def test_verify_and_repair(mac: Mac, stored: Path, folder: Path) -> None:
    sql(folder, "UPDATE documents SET tokens = 1")
    sql(folder, "INSERT INTO chunks_fts (chunks_fts) VALUES ('delete-all')")
    ran = mac("store", "verify")
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0].startswith("bridge.txt: ") and len(lines) > 2
    assert all(line.endswith(" mac store verify --repair rebuilds it.") for line in lines)
    assert ran.err == f"{len(lines)} problems: 2 documents, 2 chunks.\n"
    reported = mac("store", "verify", "--json")
    assert (reported.code, len(reported.json["problems"])) == (1, len(lines))
    assert list(reported.json["problems"][0]) == ["kind", "message", "remedy", "source", "chunk"]
    assert mac("store", "verify", "--repair").code == 0
    assert mac("store", "verify").code == 0


def test_a_damaged_document_is_named_and_ingested_again(
    mac: Mac, stored: Path, folder: Path
) -> None:
    sql(folder, DAMAGE)
    ran = mac("store", "verify")
    assert (ran.code, len(ran.out.splitlines())) == (1, 1)
    assert "bridge.txt, chunk 0: its modulation is damaged" in ran.out
    assert "then ingest the document again" in ran.out
    ran = mac("store", "verify", "--repair")
    assert ran.code == 1
    assert ran.out.startswith("bridge.txt is damaged; the next ingest of it replaces it.\n")
    assert mac("ingest", "bridge.txt", "prize.md").out.startswith("2 documents: 1 updated, 1 unch")
    assert mac("store", "verify").code == 0


def test_damaged_documents_are_removed_only_after_asking(
    mac: Mac, stored: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(folder, DAMAGE)
    assert mac("store", "verify", "--drop-damaged").code == 2
    refused = mac("store", "verify", "--repair", "--drop-damaged")
    assert refused.code == 2 and "--yes" in refused.err
    assert len(mac("store", "ls", "--json").json) == 2
    report = mac("store", "verify", "--repair", "--drop-damaged", "--yes", "--json").json
    assert (report["removed"], report["problems"]) == ([str(stored / "bridge.txt")], [])
    assert [d["title"] for d in mac("store", "ls", "--json").json] == ["Prizes"]
    assert mac("ingest", "bridge.txt").out.startswith("1 document: 1 added")


@pytest.mark.parametrize("command", ["verify", "vacuum", "export", "copy", "rebuild"])
def test_without_a_store_there_is_one_clear_line(
    mac: Mac, memory: FakeMemory, command: str, tmp_path: Path
) -> None:
    target = [str(tmp_path / "target")] if command in ("export", "copy") else []
    ran = mac("store", command, *target)
    assert ran.code == 1
    assert ran.err.startswith("Error: There is no store") and len(ran.err.splitlines()) == 2
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("flags", [(), ("--repair",)])
def test_what_a_repair_cannot_open_is_not_to_be_repaired(
    mac: Mac, stored: Path, folder: Path, flags: tuple[str, ...]
) -> None:
    (folder / "index.db").write_bytes(b"nothing of the kind " * 1000)
    ran = mac("store", "verify", *flags)
    assert ran.code == 1 and "is damaged" in ran.err
    assert ran.err.endswith(
        "\nHint: Restore the folder from a backup, or ingest the documents into another store.\n"
    )


def test_an_empty_path_is_no_store(mac: Mac, stored: Path) -> None:
    for command in (("store", "ls"), ("ingest", "bridge.txt"), ("ask", "Who?")):
        ran = mac(*command, "--store", "")
        assert ran.code == 2 and "the path of a folder must not be empty" in ran.err


def test_vacuum(mac: Mac, stored: Path) -> None:
    assert mac("store", "rm", "prize.md", "--yes").code == 0
    ran = mac("store", "vacuum", "--dry-run")
    assert ran.out.startswith("Would free about ")
    assert mac("store", "vacuum").out.startswith("Freed ")
    report = mac("store", "vacuum", "--json").json
    assert list(report) == ["freed", "total_bytes", "dry_run"]
    assert report["total_bytes"] == mac("store", "stats", "--json").json["total_bytes"]
    assert mac("store", "verify").code == 0


def test_an_index_is_made_and_used(mac: Mac, stored: Path, folder: Path) -> None:
    pytest.importorskip("usearch")
    asked = mac("ask", "Who opened the bridge?", "--json").json
    assert mac("store", "index").err.startswith("Indexed 2 keys: ")
    assert mac("store", "index", "--json").json["later"] == 0
    assert mac("ask", "Who opened the bridge?", "--json").json["sources"] == asked["sources"]
    assert mac("store", "verify").code == 0


def test_without_the_library_an_index_is_refused_with_what_to_install(
    mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    ran = mac("store", "index")
    assert ran.code == 1 and "usearch is not installed" in ran.err
    assert "pip install 'maccli[approximate]'" in ran.err
