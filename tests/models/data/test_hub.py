"""Fetching public data sets: a local folder stands in for the Hub."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from models.data import hub
from models.data.files import read
from models.data.hub import HubSource, converted, download, fetch_all, read_rows
from models.errors import DataError, MissingPackageError
from models.weights import carriers

FACTS = HubSource("me/facts", "train.json", "strategyqa")
ROW = {
    "term": "Mule",
    "description": "Animal",
    "question": "Can a mule have foals?",
    "answer": False,
    "facts": "Mules are sterile.",
}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for each data set, of what the Hub would give; `asked` in it has a line a call."""
    folder = tmp_path / "hub"
    (folder / "me" / "facts").mkdir(parents=True)
    (folder / "me" / "facts" / "train.json").write_text(json.dumps([ROW, {**ROW, "answer": True}]))

    def stand_in(name: str, source: HubSource, progress: object) -> list[Path]:
        with (folder / "asked").open("a") as asked:
            print(name, source.revision, file=asked)
        files = sorted((folder / source.repo).glob(source.files))
        if not files:
            raise DataError(f"{name}: {source.repo}: 404")
        return files

    monkeypatch.setattr(hub, "download", stand_in)
    return folder


def test_a_data_set_is_fetched_once(published: Path, tmp_path: Path) -> None:
    for _ in range(2):
        path = fetch_all({"mules": FACTS}, home=tmp_path)["mules"]
    assert path == converted("mules", FACTS, tmp_path)
    assert path.parent == tmp_path / "data"
    assert (published / "asked").read_text() == "mules main\n"
    examples = read(path, "train")
    assert [(e.question, e.answers) for e in examples] == [
        ("Can a mule have foals?", ("No",)),
        ("Can a mule have foals?", ("Yes",)),
    ]
    assert examples[0].source == "mules"
    assert len({example.document_id for example in examples}) == 1


def test_another_revision_or_layout_is_another_file(tmp_path: Path) -> None:
    other = HubSource("me/facts", "train.json", "strategyqa", revision="v2")
    assert converted("mules", other, tmp_path) != converted("mules", FACTS, tmp_path)
    with pytest.raises(ValueError, match="format must be one of squad, .*, not 'csv'"):
        HubSource("me/facts", "train.csv", "csv")


def test_all_that_cannot_be_had_is_named_at_once(published: Path, tmp_path: Path) -> None:
    (published / "me" / "facts" / "dev.json").write_text("[{}]")
    (published / "me" / "facts" / "none.json").write_text("[]")
    sources = {
        "mules": FACTS,
        "gone": HubSource("me/gone", "train.json", "squad"),
        "other": HubSource("me/facts", "dev.json", "squad"),
        "empty": HubSource("me/facts", "none.json", "squad"),
    }
    with pytest.raises(DataError) as caught:
        fetch_all(sources, home=tmp_path)
    message = str(caught.value)
    assert message.startswith("3 of 4 data sets cannot be had: gone: me/gone: 404; other: row 1 ")
    assert "empty: no question" in message
    assert "--data-folder" in str(caught.value.hint)
    assert converted("mules", FACTS, tmp_path).exists()


def test_without_the_hub_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot get mules from .* HF_HUB_OFFLINE is set"):
        fetch_all({"mules": FACTS, "more": FACTS}, home=tmp_path)


def test_files_are_chosen_by_their_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    for name in (
        "a/train/0000.parquet",
        "a/train/0001.parquet",
        "a/test/0000.parquet",
        "README.md",
    ):
        (tmp_path / "snapshot" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "snapshot" / name).write_bytes(b"")
    asked: list[Any] = []

    def snapshot(repo: str, **options: Any) -> str:
        asked.append((repo, options))
        if repo == "me/gone":
            raise OSError("404 Client Error.\nmore about it")
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(hub, "probe_hub", lambda: None)
    shown: list[str] = []
    source = HubSource("me/a", "*/train/*.parquet", "squad", "refs/convert/parquet")
    files = download("a", source, lambda label, *_: shown.append(label))
    assert [path.name for path in files] == ["0000.parquet", "0001.parquet"]
    repo, options = asked[0]
    assert (repo, options["repo_type"]) == ("me/a", "dataset")
    assert options["revision"] == "refs/convert/parquet"
    assert options["allow_patterns"] == "*/train/*.parquet"
    assert shown == ["downloading me/a"]
    with pytest.raises(DataError, match=r"^a: me/a has no file \*\.csv at main$"):
        download("a", HubSource("me/a", "*.csv", "squad"), None)
    with pytest.raises(DataError, match=r"^gone: me/gone: 404 Client Error\.$"):
        download("gone", HubSource("me/gone", "*.csv", "squad"), None)


def test_json_may_be_a_list_or_lines(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('[{"n": 1}, {"n": 2}]')
    (tmp_path / "lines.json").write_text('{"n": 1}\n\n{"n": 2}\n')
    for name in ("list.json", "lines.json"):
        assert list(read_rows(tmp_path / name)) == [{"n": 1}, {"n": 2}]
    (tmp_path / "broken.json").write_text('{"n": 1')
    with pytest.raises(DataError, match=r"broken\.json: not JSON"):
        list(read_rows(tmp_path / "broken.json"))


def test_parquet_is_read(published: Path, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {
            "title": "Varnholt",
            "context": "The mill burned down in 2026.",
            "question": "When did the mill burn down?",
            "answers": {"text": ["2026"], "answer_start": [24]},
        }
    ]
    file = published / "me" / "facts" / "0000.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows), file)
    assert list(read_rows(file)) == rows
    source = HubSource("me/facts", "*.parquet", "squad")
    assert read(fetch_all({"mill": source}, home=tmp_path)["mill"])[0].answers == ("2026",)
    file.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="not Parquet"):
        list(read_rows(file))


def test_parquet_needs_an_extra_which_is_said_before_any_download(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    source = HubSource("me/facts", "*.parquet", "squad")
    with pytest.raises(MissingPackageError, match="pyarrow is not installed") as caught:
        fetch_all({"mules": FACTS, "mill": source}, home=tmp_path)
    assert "maccli[data]" in str(caught.value.hint)
    assert not (published / "asked").exists()


def test_an_unreachable_hub_stops_at_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def probe() -> None:
        asked.append("probe")
        raise carriers.Unavailable("not reachable (timed out)")

    monkeypatch.setattr(hub, "probe_hub", probe)
    with pytest.raises(DataError, match="not reachable"):
        fetch_all({"mules": FACTS, "more": FACTS}, home=tmp_path)
    assert asked == ["probe"]
