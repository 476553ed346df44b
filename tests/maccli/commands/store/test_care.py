"""`mac store verify | vacuum | export | import | copy | rebuild`, from the command line."""

from __future__ import annotations

import io
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from maccli.reading.files import find
from maccli.service import ingest as service
from maccli.service import rebuild
from maccli.service.ingest import ingest
from maccli.service.session import Place, Session
from store.bank import Store

from ...conftest import FakeMemory, Ran, make_checkpoint

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
    next(folder.glob("keys-*")).unlink()
    sql(folder, "UPDATE documents SET tokens = 1")
    ran = mac("store", "verify")
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0].startswith("bridge.txt: its sums are not those of its chunks. mac store verify")
    assert lines[-1].startswith("The key file is damaged: ") and "bin is missing. mac" in lines[-1]
    assert all(line.endswith(" --repair rebuilds it.") for line in lines)
    assert ran.err == "3 problems: 2 documents, 2 chunks.\n"
    found = mac("store", "verify", "--json")
    assert (found.code, len(found.json["problems"])) == (1, 3)
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


def test_vacuum(mac: Mac, stored: Path, folder: Path) -> None:
    (folder / "index.db.backup-v4").write_bytes(bytes(50_000))
    ran = mac("store", "vacuum", "--dry-run")
    assert ran.out.startswith("Would free about 50.0 kB of ")
    assert (folder / "index.db.backup-v4").exists()
    assert mac("store", "vacuum").out.startswith("Freed ")
    assert not (folder / "index.db.backup-v4").exists()
    report = mac("store", "vacuum", "--json").json
    assert report["total_bytes"] == mac("store", "stats", "--json").json["total_bytes"]
    assert mac("store", "verify").code == 0


def test_export_and_import_give_the_same_answers(mac: Mac, stored: Path, tmp_path: Path) -> None:
    ran = mac("store", "export", "notes.mac")
    assert ran.code == 0
    assert ran.err.startswith("Exported 2 documents, 2 chunks, 4.")
    assert mac("store", "export", "notes.mac").err.splitlines()[-1] == (
        "Hint: Add --force to replace it."
    )
    assert mac("store", "export", "notes.mac", "--force", "-q").err == ""
    other = ["--store", str(tmp_path / "other")]
    assert mac("store", "import", "notes.mac", *other).out == "2 documents: 2 added.\n"
    assert mac("store", "import", "notes.mac", *other, "--json").json["unchanged"] == 2
    asked = ["ask", "Who opened the bridge?", "--no-stream"]
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
    monkeypatch.setattr("maccli.service.moving.sys.stdout", terminal)
    assert mac("store", "export", "-").code == 2
    terminal.isatty = lambda: False
    assert mac("store", "export", "-").code == 0
    assert out.getvalue() == data


def test_a_file_that_is_no_export(mac: Mac, stored: Path, tmp_path: Path) -> None:
    (stored / "x.mac").write_text("hello")
    other = ["--store", str(tmp_path / "other")]
    ran = mac("store", "import", "x.mac", *other)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[0] == "Error: x.mac is not an export of a store"
    assert not (tmp_path / "other").exists()
    ran = mac("store", "import", "nowhere.mac", *other)
    assert (ran.code, ran.err) == (1, "Error: nowhere.mac: No such file or directory\n")
    mac("store", "export", "notes.mac")
    data = (stored / "notes.mac").read_bytes()
    (stored / "cut.mac").write_bytes(data[:-200])
    ran = mac("store", "import", "cut.mac", *other)
    assert ran.code == 1 and "is damaged before byte" in ran.err
    assert mac("store", "verify", *other).code == 0


def test_an_export_that_fails_leaves_no_file(
    mac: Mac, stored: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored / "notes.mac").write_text("the old one")
    sql(folder, DAMAGE)
    ran = mac("store", "export", "notes.mac", "--force")
    assert ran.code == 1 and "bridge.txt, chunk 0" in ran.err
    assert (stored / "notes.mac").read_text() == "the old one"
    assert sorted(p.name for p in stored.iterdir()) == ["bridge.txt", "notes.mac", "prize.md"]


def test_a_copy(mac: Mac, stored: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "backup")
    assert mac("store", "copy", target).err == f"Copied 2 documents to {target}.\n"
    assert mac("store", "ls", "--store", target).out == mac("store", "ls").out
    again = mac("store", "copy", target)
    assert again.code == 1 and "is there already" in again.err


def other_checkpoint(tmp_path: Path, memory: FakeMemory) -> Path:
    memory.config.latent_size = 4
    memory.chunking = "sentence-1:30"
    return make_checkpoint(tmp_path / "other-checkpoint", seed=1)


def test_rebuild_for_another_checkpoint(
    mac: Mac, stored: Path, memory: FakeMemory, tmp_path: Path, folder: Path
) -> None:
    before = mac("store", "ls", "--json").json
    same = mac("store", "rebuild")
    assert same.out.startswith("Nothing to do: the store is of ")
    model = ["-m", str(other_checkpoint(tmp_path, memory))]
    for refused in (mac("ask", "Who?", *model), mac("ingest", "bridge.txt", *model)):
        assert refused.code == 1
        assert "mac store rebuild" in refused.err.splitlines()[1]
    assert mac("store", "rebuild", "--dry-run", *model).out.startswith(
        "Would amortize 2 documents of 2 again with "
    )
    memory.calls.clear()
    ran = mac("store", "rebuild", *model)
    assert ran.code == 0
    assert ran.out.startswith("2 documents, 2 amortized now with ")
    assert memory.calls == [("load", 1), ("amortize", 2)]
    assert not (folder / "rebuild").exists()
    after = mac("store", "ls", "--json").json
    assert [d["chunking"] for d in after] == ["sentence-1:30"] * 2
    kept = ("id", "source", "title", "content_hash", "added_at", "chunks")
    assert [[d[name] for name in kept] for d in after] == [
        [d[name] for name in kept] for d in before
    ]
    assert mac("store", "verify").code == 0
    assert "Ida Brandt" in mac("ask", "Who opened the bridge?", *model).out
    assert mac("ingest", "bridge.txt", *model).out.startswith("1 document: 1 unchanged.")
    assert mac("ask", "Who opened the bridge?").code == 1
    assert "Nothing to do" in mac("store", "rebuild", *model).out


def test_a_rebuild_that_was_interrupted_goes_on(
    mac: Mac,
    stored: Path,
    memory: FakeMemory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rebuild, "GROUP_TOKENS", 1)
    model = ["-m", str(other_checkpoint(tmp_path, memory))]
    asked: list[int] = []

    def interrupt(texts: object) -> None:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt

    memory.before_amortize = interrupt
    ran = mac("store", "rebuild", *model)
    assert ran.code == 130 and "Run the same command again" in ran.err
    assert mac("ask", "Who opened the bridge?").code == 0  # still the old store
    assert "1 document of 2" in mac("store", "rebuild", "--dry-run", *model).out
    assert mac("store", "rebuild", *model).out.startswith("2 documents, 1 amortized now")
    assert mac("store", "verify").code == 0


def test_a_rebuild_begun_for_a_third_checkpoint_is_begun_again(
    mac: Mac, stored: Path, memory: FakeMemory, tmp_path: Path, folder: Path
) -> None:
    Store.open(
        folder / "rebuild", fingerprint="third", key_size=9, latent_size=9, create=True
    ).close()
    model = ["-m", str(other_checkpoint(tmp_path, memory))]
    assert mac("store", "rebuild", *model).out.startswith("2 documents, 2 amortized now")


def test_rebuilt_texts_are_cut_as_ingested_ones(
    opened: Session, work: Path, memory: FakeMemory, tmp_path: Path
) -> None:
    text = "\n\n".join(
        f"# Part {n}\n\n" + " ".join(f"Sentence {n} {m} ends here." for m in range(7))
        for n in range(5)
    )
    (work / "long.md").write_text(text)
    ingest(opened, find(["long.md"], recursive=False))
    memory.config.chunk_tokens = 50
    other = other_checkpoint(tmp_path, memory)
    with Session(Place(opened.place.store, other, "other")) as session:
        assert rebuild.rebuild(session) == 1
        assert session.store is not None
        rebuilt = [
            (c.start, c.end, c.text)
            for d in session.store.documents()
            for c in session.store.chunks(d.id)
        ]
    fresh = Place(tmp_path / "fresh", other, "other")
    with Session(fresh) as session:
        service.ingest(session, find(["long.md"], recursive=False))
        assert session.store is not None
        direct = [
            (c.start, c.end, c.text)
            for d in session.store.documents()
            for c in session.store.chunks(d.id)
        ]
    assert rebuilt == direct and len(direct) > 3


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
    assert mac("store", "vacuum").code == 0
    assert mac("store", "undo").err.splitlines()[0] == "Error: There is no prune to undo."
    assert mac("store", "verify").code == 0


def test_an_index_is_made_used_and_dropped(mac: Mac, stored: Path, folder: Path) -> None:
    pytest.importorskip("usearch")
    asked = mac("ask", "Who opened the bridge?", "--approximate", "--json")
    assert "no index for --approximate (mac store index): searching exactly" in asked.err
    assert mac("store", "index", "--threads", "1").err.startswith("Indexed 2 keys: ")
    assert mac("store", "index", "--json").json["later"] == 0
    assert "index " in mac("store", "stats").out
    again = mac("ask", "Who opened the bridge?", "--approximate", "--json")
    assert again.err == "" and again.json["sources"] == asked.json["sources"]
    restricted = mac("ask", "Who opened the bridge?", "--approximate", "--since", "2020-01-01")
    assert "does not go with --tag, --since and --until" in restricted.err
    with open(folder / "near-000001.bin", "r+b") as file:
        file.write(b"damage")
    ran = mac("store", "verify")
    assert ran.code == 1 and ran.out.endswith("mac store index makes it anew.\n")
    assert mac("store", "verify", "--repair").code == 0
    assert mac("store", "index", "-q").code == 0
    assert mac("store", "index", "--drop").err == "Deleted the index.\n"
    assert mac("store", "index", "--drop", "--json").json == {"dropped": False}
    assert "index " not in mac("store", "stats").out


def test_without_the_library_an_index_is_refused_with_what_to_install(
    mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    ran = mac("store", "index")
    assert ran.code == 1 and "usearch is not installed" in ran.err
    assert "pip install 'maccli[approximate]'" in ran.err
