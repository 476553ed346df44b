"""`mac store export | import | copy`, from the command line."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from ...conftest import Ran

Mac = Callable[..., Ran]
ROOT = Path(__file__).parents[4]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mac-home" / "store"


def test_export_and_import_give_the_same_answers(mac: Mac, stored: Path, tmp_path: Path) -> None:
    ran = mac("store", "export", "notes.mac")
    assert ran.code == 0
    assert ran.err.startswith("Exported 2 documents, 2 chunks, ")
    assert mac("store", "export", "notes.mac").err.splitlines()[-1] == (
        "Hint: Add --force to replace it."
    )
    assert mac("store", "export", "notes.mac", "--force", "-q").err == ""
    other = ["--store", str(tmp_path / "other")]
    assert mac("store", "import", "notes.mac", *other).out == "2 documents: 2 added.\n"
    assert mac("store", "import", "notes.mac", *other, "--json").json["unchanged"] == 2
    asked = ["ask", "Who opened the bridge?"]
    assert mac(*asked, *other).out == mac(*asked).out
    assert mac("store", "verify", *other).code == 0
    assert not list(stored.glob(".*"))


def test_an_existing_document_is_replaced_or_skipped(mac: Mac, stored: Path) -> None:
    mac("store", "export", "notes.mac")
    (stored / "bridge.txt").write_text("The bridge is gone.")
    mac("ingest", "bridge.txt")
    ran = mac("store", "import", "notes.mac", "--existing", "skip")
    assert ran.out == "2 documents: 1 unchanged, 1 skipped.\n"
    assert mac("store", "import", "notes.mac").out == "2 documents: 1 updated, 1 unchanged.\n"
    assert "Ida Brandt" in mac("store", "show", "bridge.txt").out


def test_through_a_pipe(
    mac: Mac,
    stored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mac("store", "export", "notes.mac")
    data = (stored / "notes.mac").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    ran = mac("store", "import", "-", "--store", str(tmp_path / "other"))
    assert ran.out == "2 documents: 2 added.\n"
    out = io.BytesIO()
    terminal = SimpleNamespace(isatty=lambda: True, buffer=out)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        assert mac("store", "export", "-").code == 2
        terminal.isatty = lambda: False
        assert mac("store", "export", "-").code == 0
    (stored / "piped.mac").write_bytes(out.getvalue())
    third = ["--store", str(tmp_path / "third")]
    assert mac("store", "import", "piped.mac", *third).out == "2 documents: 2 added.\n"


def test_a_file_that_is_no_export(mac: Mac, stored: Path, tmp_path: Path) -> None:
    (stored / "x.mac").write_text("hello")
    other = ["--store", str(tmp_path / "other")]
    ran = mac("store", "import", "x.mac", *other)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("Error: x.mac is not an export of a store")
    assert not (tmp_path / "other").exists()
    ran = mac("store", "import", "nowhere.mac", *other)
    assert (ran.code, ran.err) == (1, "Error: nowhere.mac: No such file or directory\n")
    mac("store", "export", "notes.mac")
    data = (stored / "notes.mac").read_bytes()
    (stored / "cut.mac").write_bytes(data[:-200])
    ran = mac("store", "import", "cut.mac", *other)
    assert (ran.code, ran.out) == (1, "") and "cut.mac" in ran.err
    assert len(ran.err.splitlines()) <= 2


def test_an_export_whose_reader_goes_away_ends_quietly(stored: Path) -> None:
    code = "from maccli.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "store", "export", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(6) == b"SQLite"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_an_export_that_fails_leaves_no_file(
    mac: Mac, stored: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored / "notes.mac").write_text("the old one")
    with closing(sqlite3.connect(folder / "index.db")) as connection, connection:
        connection.execute("UPDATE modulations SET data = zeroblob(60) WHERE chunk_id = 1")
    ran = mac("store", "export", "notes.mac", "--force")
    assert ran.code == 1 and "bridge.txt, chunk 0" in ran.err
    assert (stored / "notes.mac").read_text() == "the old one"
    assert sorted(p.name for p in stored.iterdir()) == ["bridge.txt", "notes.mac", "prize.md"]


def test_a_copy(mac: Mac, stored: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "backup")
    assert mac("store", "copy", target).err == f"Copied 2 documents to {target}.\n"
    assert mac("store", "ls", "--store", target).out == mac("store", "ls").out
    again = mac("store", "copy", target)
    assert again.code == 1 and len(again.err.splitlines()) <= 2


def test_a_pruned_store_goes_the_whole_way(mac: Mac, stored: Path, tmp_path: Path) -> None:
    assert mac("ingest", "bridge.txt", "--tag", "river").code == 0
    assert mac("store", "prune", "--to", "1", "-q").code == 0
    assert mac("store", "verify").code == 0
    found = mac("ask", "Who opened the bridge?", "--tag", "river", "-k", "1", "--json").json
    assert found["sources"][0]["source"].endswith("bridge.txt")
    assert mac("store", "export", str(tmp_path / "x.mac")).code == 0
    elsewhere = ("--store", str(tmp_path / "elsewhere"))
    assert mac("store", "import", str(tmp_path / "x.mac"), *elsewhere).code == 0
    question = ("ask", "Who opened the bridge?", "--tag", "river", "-k", "1", "--json")
    there, here = mac(*question, *elsewhere).json, mac(*question).json
    assert (there["answer"], there["sources"]) == (here["answer"], here["sources"])
    (stored / "bridge.txt").write_text("Varnholt is large. The bridge was closed by Ida Brandt.")
    assert mac("ingest", "bridge.txt").out.startswith("1 document: 1 updated")
    assert mac("store", "vacuum", "--yes").code == 0
    assert (
        mac("store", "prune", "--undo").err.splitlines()[0] == "Error: There is no prune to undo."
    )
    assert mac("store", "verify").code == 0
