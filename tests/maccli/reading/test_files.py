from __future__ import annotations

import os
from pathlib import Path

import pytest

from maccli.reading.files import FileItem, Unusable, displayed, find, printable


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.txt", "a.md", "sub/c.txt", "sub/deep/d.txt", ".hidden", ".git/config", "CVS/e"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(items: list[FileItem | Unusable]) -> list[str]:
    return [displayed(i.source) if isinstance(i, FileItem) else f"! {i.path}" for i in items]


def test_files_globs_and_folders(tree: Path) -> None:
    assert names(find(["docs/b.txt", "docs/*.md"])) == ["docs/b.txt", "docs/a.md"]
    assert names(find(["docs"])) == [
        "docs/a.md",
        "docs/b.txt",
        "docs/sub/c.txt",
        "docs/sub/deep/d.txt",
    ]
    assert names(find(["docs/**/*.txt"])) == [
        "docs/b.txt",
        "docs/sub/c.txt",
        "docs/sub/deep/d.txt",
    ]


def test_folders_that_a_glob_matches_are_taken_whole(tree: Path) -> None:
    assert names(find(["docs/s*"])) == ["docs/sub/c.txt", "docs/sub/deep/d.txt"]


def test_each_file_once_and_under_its_absolute_name(tree: Path) -> None:
    found = find(["docs/b.txt", str(tree / "docs" / "b.txt"), "docs/../docs/b.txt"])
    assert [item.source for item in found if isinstance(item, FileItem)] == [
        str(tree / "docs" / "b.txt")
    ]


def test_hidden_files_are_taken_when_named(tree: Path) -> None:
    assert names(find(["docs/.hidden"])) == ["docs/.hidden"]


def test_a_name_that_looks_like_a_glob_is_a_file_if_there_is_one(tree: Path) -> None:
    (tree / "[a].txt").write_text("x")
    assert names(find(["[a].txt"])) == ["[a].txt"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere.txt", "no such file or folder"),
        ("docs/*.pdf", "no file matches"),
        ("docs/CVS/none", "no such file or folder"),
        ("void", "no files in this folder"),
        ("pipe", "not a regular file; use - to read from a pipe"),
        ("dangling", "no such file or directory"),
    ],
)
def test_what_gives_no_file(tree: Path, path: str, reason: str) -> None:
    (tree / "void").mkdir()
    os.mkfifo(tree / "pipe")
    (tree / "dangling").symlink_to("nothing")
    assert find([path]) == [Unusable(path, reason)]


def test_names_that_are_no_text_can_be_stored() -> None:
    assert printable(os.fsdecode(b"caf\xe9.txt")) == "caf\\xe9.txt"


def test_links_in_a_circle_end(tree: Path) -> None:
    (tree / "docs" / "sub" / "up").symlink_to(tree / "docs", target_is_directory=True)
    assert len(find(["docs"])) == 4
