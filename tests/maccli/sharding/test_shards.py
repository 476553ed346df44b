"""`mac ingest --out` and what `mac store import` makes of it, in one process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maccli.output import Output
from maccli.sharding import places, plan, run
from maccli.sharding import work as shard_work
from maccli.sharding.places import Folder, Listed
from maccli.sharding.plan import Rules

Mac = Callable[..., Any]
SMALL = ("--shard-size", "0.0001")
RULES = Rules("f" * 16, "model", None, "sentence-2")


@pytest.fixture(autouse=True)
def model(memory: Any) -> Any:
    return memory


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("shards/*.mac"))


def documents(mac: Mac, store: Path) -> dict[str, list[str]]:
    listed = mac("store", "ls", "--json", "--store", str(store)).json
    found = {}
    for document in listed:
        shown = mac("store", "show", document["source"], "--json", "--store", str(store)).json
        found[document["source"]] = [piece["text"] for piece in shown["pieces"]]
    return found


def test_shards_hold_what_a_store_would(mac: Mac, docs: Path, work: Path) -> None:
    ran = mac("ingest", "docs", "--out", "bank", "--tag", "old", *SMALL, "--json")
    assert ran.code == 0 and ran.json["documents"] == 3 and ran.json["shards"] == 3
    assert len(shards(work / "bank")) == 3
    assert mac("store", "import", "bank", "--store", "one").out == "3 documents: 3 added.\n"
    assert mac("ingest", "docs", "--tag", "old", "--store", "two").code == 0
    one, two = (documents(mac, work / name) for name in ("one", "two"))
    assert one == two and len(one) == 3
    assert mac("store", "import", "bank", "--store", "one").out == "3 documents: 3 unchanged.\n"
    listed = mac("store", "ls", "--tag", "old", "--json", "--store", "one").json
    assert len(listed) == 3


def test_what_is_done_is_not_done_again(mac: Mac, docs: Path, work: Path, memory: Any) -> None:
    assert mac("ingest", "docs", "--out", "bank", *SMALL).code == 0
    before = {path: path.stat().st_mtime_ns for path in (work / "bank" / "shards").iterdir()}
    memory.calls.clear()
    assert mac("ingest", "docs", "--out", "bank", *SMALL).code == 0
    after = {path: path.stat().st_mtime_ns for path in (work / "bank" / "shards").iterdir()}
    assert after == before and not memory.calls


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_shard_that_another_worker_made_is_left_alone(
    mac: Mac, docs: Path, work: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: bool
) -> None:
    amortize, export = run.Worker.amortize, shard_work.export
    written: list[int] = []

    def twice(self: Any, shard: Any) -> Any:
        def other() -> Any:
            monkeypatch.setattr(shard_work, "export", export)
            done = amortize(self, shard)
            written.append((work / "bank" / shard.file).stat().st_mtime_ns)
            return done

        def slow(*args: Any) -> int:
            others.append(other())
            return export(*args)

        others: list[Any] = [] if meanwhile else [other()]
        if meanwhile:
            monkeypatch.setattr(shard_work, "export", slow)
        assert amortize(self, shard) == others[0]
        assert (work / "bank" / shard.file).stat().st_mtime_ns == written[-1]
        return others[0]

    monkeypatch.setattr(run.Worker, "amortize", twice)
    assert mac("ingest", "docs", "--out", "bank", *SMALL).code == 0
    assert len(written) == 3
    assert mac("store", "import", "bank").out == "3 documents: 3 added.\n"


@pytest.mark.parametrize("how", ["cut", "gone", "no record", "a broken record"])
def test_a_shard_that_is_not_whole_is_made_again(
    mac: Mac, docs: Path, work: Path, how: str
) -> None:
    assert mac("ingest", "docs", "--out", "bank", *SMALL).code == 0
    shard = work / "bank" / "shards" / shards(work / "bank")[1]
    whole = shard.stat().st_size
    if how == "cut":
        shard.write_bytes(shard.read_bytes()[:-5])
    elif how == "gone":
        shard.unlink()
    elif how == "no record":
        shard.with_suffix(".json").unlink()
    else:
        shard.with_suffix(".json").write_text("{")
    (work / "bank" / plan.MANIFEST).unlink()
    ran = mac("store", "import", "bank")
    assert ran.code == 1 and "not all of its shards are there yet" in ran.err
    assert mac("ingest", "docs", "--out", "bank", *SMALL).code == 0
    assert shard.stat().st_size == whole
    assert mac("store", "import", "bank").out == "3 documents: 3 added.\n"


def test_a_shard_that_was_changed_is_not_taken(mac: Mac, docs: Path, work: Path) -> None:
    assert mac("ingest", "docs", "--out", "bank", *SMALL).code == 0
    shard = work / "bank" / "shards" / shards(work / "bank")[0]
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    ran = mac("store", "import", "bank")
    assert ran.code == 1 and f"shards/{shard.name} in bank is damaged" in ran.err


@pytest.mark.parametrize(
    "more", [("--tag", "new"), ("--date", "2026-01-02"), ("--encoding", "cp1252")]
)
def test_other_options_need_another_folder(mac: Mac, docs: Path, more: tuple[str, ...]) -> None:
    assert mac("ingest", "docs", "--out", "bank", "--tag", "Old", *SMALL).code == 0
    assert mac("ingest", "docs", "--out", "bank", "--tag", "old", *SMALL).code == 0
    ran = mac("ingest", "docs", "--out", "bank", "--tag", "old", *SMALL, *more)
    assert ran.code == 2 and "inputs, model or options differ" in ran.err


def test_shards_are_no_inputs(mac: Mac, docs: Path, work: Path) -> None:
    for _ in range(2):
        ran = mac("ingest", ".", "--out", "bank", "--json")
        assert ran.code == 0 and ran.json["documents"] == 3


def test_shards_behind_a_url_are_no_inputs(mac: Mac, work: Path) -> None:
    folder = f"memory://{work.parent.name}"
    Folder(folder).write("docs/a.txt", b"The bridge was opened.")
    for _ in range(2):
        ran = mac("ingest", folder, "--out", f"{folder}/bank", "--json")
        assert ran.code == 0 and ran.json["documents"] == 1


def test_downloads_and_waiting_are_shown(
    mac: Mac, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(Output, "tell", lambda _, words: told.append(words))
    assert mac("ingest", "docs", "--out", "bank").code == 0
    assert told == ["loading the model"]


def test_parts_on_several_machines(mac: Mac, docs: Path, work: Path) -> None:
    for part, rest in (("1/2", True), ("2/2", False)):
        ran = mac("ingest", "docs", "--out", "bank", *SMALL, "--shard", part)
        assert ran.code == 0 and ("other parts are missing" in ran.out) is rest
        assert (work / "bank" / plan.MANIFEST).exists() is not rest
        again = mac("ingest", "docs", "--out", "bank", *SMALL, "--shard", part, "--json")
        assert again.json["complete"] is not rest
    assert mac("store", "import", "bank").out == "3 documents: 3 added.\n"


def test_a_store_of_each_part_of_the_shards(mac: Mac, docs: Path) -> None:
    assert mac("ingest", "docs", "--out", "bank", *SMALL).code == 0
    assert mac("store", "import", "bank", "--store", "whole").code == 0
    for part, number in (("1/2", 2), ("2/2", 1)):
        ran = mac("store", "import", "bank", "--store", f"part{part[0]}", "--shard", part)
        assert (ran.code, ran.out[0]) == (0, str(number))
    for command in (("search", "-k", "3"), ("ask", "-k", "2")):
        ask = (*command, "What happened in year 2?", "--json")
        expected = mac(*ask, "--store", "whole")
        found = mac(*ask, "--store", "part1", "--store", "part2")
        assert found.code == expected.code == 0
        assert same(found.json) == same(expected.json)
    ran = mac("store", "import", "docs/a.txt", "--shard", "1/2")
    assert ran.code == 2 and "a folder of shards" in ran.err


def same(answer: Any) -> Any:
    """What does not depend on the clock."""
    return answer if isinstance(answer, list) else {**answer, "timings": None}


def test_other_inputs_need_another_folder(mac: Mac, docs: Path) -> None:
    assert mac("ingest", "docs", "--out", "bank").code == 0
    (docs / "a.txt").write_text("Something else.")
    ran = mac("ingest", "docs", "--out", "bank")
    assert ran.code == 2 and "holds the shards of another ingest" in ran.err


def test_what_cannot_be_read_is_a_line(mac: Mac, docs: Path, work: Path) -> None:
    (docs / "b.txt").write_bytes(b"\0\1\2")
    ran = mac("ingest", "docs", "--out", "bank")
    assert ran.code == 0 and "1 file could not be read" in ran.err
    [errors] = (work / "bank").glob("shards/*.errors.jsonl")
    line = json.loads(errors.read_text())
    assert line == {"source": str(docs / "b.txt"), "error": "is a binary file"}
    assert mac("store", "import", "bank").out == "2 documents: 2 added.\n"


def test_a_shard_of_which_nothing_can_be_read(mac: Mac, work: Path) -> None:
    (work / "a.bin").write_bytes(b"\0\1\2")
    for _ in range(2):
        assert mac("ingest", "a.bin", "--out", "bank").code == 1
    assert mac("store", "import", "bank").code == 0


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("docs", "--engine", "ray"), "go with --out"),
        (("docs", "--shard", "1/2"), "go with --out"),
        (("docs", "--out", "bank", "--shard", "3/2"), "no part such as"),
        (("docs", "--out", "bank", "--shard", "0/2"), "no part such as"),
        (("docs", "--out", "bank", "--shard-size", "0"), "--shard-size"),
        (("docs", "--out", "bank", "--sync"), "--out takes no --sync"),
        (("-", "--out", "bank"), "Standard input cannot be cut"),
    ],
)
def test_what_makes_no_sense_is_refused(
    mac: Mac, docs: Path, args: tuple[str, ...], why: str
) -> None:
    ran = mac("ingest", *args)
    assert ran.code == 2 and why in ran.err


def test_nothing_to_ingest(mac: Mac, work: Path) -> None:
    ran = mac("ingest", "nowhere", "--out", "bank")
    assert ran.code == 1 and "There is no file to ingest" in ran.err


def test_a_manifest_that_cannot_be_read(mac: Mac, work: Path) -> None:
    (work / "bank").mkdir()
    (work / "bank" / plan.MANIFEST).write_text("[]")
    ran = mac("store", "import", "bank")
    assert ran.code == 1 and "is damaged" in ran.err
    (work / "bank" / plan.MANIFEST).write_text('{"format": 99}')
    ran = mac("store", "import", "bank")
    assert ran.code == 1 and "another version" in ran.err


@pytest.mark.parametrize(
    "wrong", [{"file": "../secret.mac"}, {"shard": "../x"}, {"bytes": "many"}, {"more": 1}]
)
def test_a_manifest_names_files_of_its_folder_only(
    mac: Mac, docs: Path, work: Path, wrong: dict[str, object]
) -> None:
    assert mac("ingest", "docs", "--out", "bank").code == 0
    file = work / "bank" / plan.MANIFEST
    known = json.loads(file.read_text())
    known["shards"][0] |= wrong
    file.write_text(json.dumps(known))
    ran = mac("store", "import", "bank")
    assert ran.code == 1 and "manifest.json in bank is damaged" in ran.err


def test_shards_by_size_and_identity() -> None:
    inputs = [Listed(f"f{i}", size, "1") for i, size in enumerate([60, 60, 30, 500, 1])]
    made = plan.make(inputs, RULES, 100)
    assert [shard.inputs for shard in made.shards] == [("f0",), ("f1", "f2"), ("f3",), ("f4",)]
    assert sum(shard.size for shard in made.shards) == 651
    assert made == plan.make(inputs, RULES, 100)
    newer = [Listed("f0", 60, "2"), *inputs[1:]]
    ids = [[shard.id for shard in plan.make(each, RULES, 100).shards] for each in (inputs, newer)]
    assert ids[0][0] != ids[1][0] and ids[0][1:] == ids[1][1:]
    other = plan.make(inputs, Rules("0" * 16, "model", None, "sentence-2"), 100)
    assert not {shard.id for shard in other.shards} & set(ids[0])


def test_files_of_a_place(tmp_path: Path) -> None:
    for url in (str(tmp_path / "local"), f"memory://{tmp_path.name}"):
        folder = Folder(url)
        assert folder.read("a/b") is None and folder.size("a/b") is None
        folder.write("a/b", b"one")
        (tmp_path / "two").write_bytes(b"two!")
        folder.put("a/c", tmp_path / "two")
        folder.fetch("a/c", tmp_path / "three")
        assert (tmp_path / "three").read_bytes() == b"two!"
        assert (folder.read("a/b"), folder.size("a/c")) == (b"one", 4)
    names = [each.name for each in places.listed(f"memory://{tmp_path.name}")]
    assert [name.rpartition("/")[2] for name in names] == ["b", "c"]
    assert places.read(names[0], 2) == b"on"
    with pytest.raises(FileNotFoundError):
        list(places.listed("memory://nowhere-at-all"))


def test_containers_whose_processes_have_the_same_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (written.append(str(a)), replace(a, b)))
    for _ in range(2):
        Folder(str(tmp_path)).write("a", b"one")
    assert len(set(written)) == 2


def test_an_error_of_ray_without_a_message(
    mac: Mac, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")

    def fail(**_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(ray, "init", fail)
    ran = mac("ingest", "docs", "--out", "bank", "--engine", "ray")
    assert ran.code == 1 and "Ray could not go on: ConnectionError" in ran.err


def test_an_unknown_kind_of_url(mac: Mac, docs: Path) -> None:
    ran = mac("ingest", "docs", "--out", "nonsense://bucket/x")
    assert ran.code == 2 and "nonsense" in ran.err


def test_a_url_without_a_folder(mac: Mac, docs: Path) -> None:
    ran = mac("ingest", "docs", "--out", "memory://")
    assert ran.code == 2 and "names no folder" in ran.err


def test_an_interrupted_run_goes_on(
    mac: Mac, docs: Path, work: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    amortize = run.Worker.amortize

    def once(self: Any, shard: Any) -> Any:
        monkeypatch.setattr(run.Worker, "amortize", stop)
        return amortize(self, shard)

    def stop(self: Any, shard: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.Worker, "amortize", once)
    assert mac("ingest", "docs", "--out", "bank", *SMALL).code == 130
    assert len(shards(work / "bank")) == 1
    monkeypatch.setattr(run.Worker, "amortize", amortize)
    assert mac("ingest", "docs", "--out", "bank", *SMALL).code == 0
    assert mac("store", "import", "bank").out == "3 documents: 3 added.\n"
