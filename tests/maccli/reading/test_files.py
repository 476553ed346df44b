from __future__ import annotations

import os
from pathlib import Path

import pytest

from maccli.reading.files import Found, Unusable, displayed, find, printable


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.txt", "a.md", "sub/c.txt", "sub/deep/d.txt", ".hidden", ".git/config", "CVS/e"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(items: list[Found | Unusable]) -> list[str]:
    return [displayed(i.source) if isinstance(i, Found) else f"! {i.path}" for i in items]


def test_files_globs_and_folders(tree: Path) -> None:
    assert names(find(["docs/b.txt", "docs/*.md"], recursive=False)) == ["docs/b.txt", "docs/a.md"]
    assert names(find(["docs"], recursive=True)) == [
        "docs/a.md",
        "docs/b.txt",
        "docs/sub/c.txt",
        "docs/sub/deep/d.txt",
    ]
    assert names(find(["docs/**/*.txt"], recursive=False)) == [
        "docs/b.txt",
        "docs/sub/c.txt",
        "docs/sub/deep/d.txt",
    ]


def test_each_file_once_and_under_its_absolute_name(tree: Path) -> None:
    found = find(
        ["docs/b.txt", str(tree / "docs" / "b.txt"), "docs/../docs/b.txt"], recursive=False
    )
    assert [item.source for item in found if isinstance(item, Found)] == [
        str(tree / "docs" / "b.txt")
    ]


def test_hidden_files_are_taken_when_named(tree: Path) -> None:
    assert names(find(["docs/.hidden"], recursive=False)) == ["docs/.hidden"]


def test_a_name_that_looks_like_a_glob_is_a_file_if_there_is_one(tree: Path) -> None:
    (tree / "[a].txt").write_text("x")
    assert names(find(["[a].txt"], recursive=False)) == ["[a].txt"]


@pytest.mark.parametrize(
    ("path", "recursive", "reason"),
    [
        ("nowhere.txt", False, "no such file or folder"),
        ("docs/*.pdf", False, "no file matches"),
        ("docs", False, "is a folder; add --recursive to take the files in it"),
        ("docs/CVS/none", True, "no such file or folder"),
        ("void", True, "no files in this folder"),
        ("pipe", False, "not a regular file; use - to read from a pipe"),
        ("dangling", False, "no such file or directory"),
    ],
)
def test_what_gives_no_file(tree: Path, path: str, recursive: bool, reason: str) -> None:
    (tree / "void").mkdir()
    os.mkfifo(tree / "pipe")
    (tree / "dangling").symlink_to("nothing")
    assert find([path], recursive=recursive) == [Unusable(path, reason)]


def test_names_that_are_no_text_can_be_stored() -> None:
    assert printable(os.fsdecode(b"caf\xe9.txt")) == "caf\\xe9.txt"


def test_links_in_a_circle_end(tree: Path) -> None:
    (tree / "docs" / "sub" / "up").symlink_to(tree / "docs", target_is_directory=True)
    assert len(find(["docs"], recursive=True)) == 4
