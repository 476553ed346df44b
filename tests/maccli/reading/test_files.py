from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from maccli.reading import files
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
        ("pipe", "is not a regular file; use - to read from a pipe"),
        ("dangling", "links to nothing"),
    ],
)
def test_what_gives_no_file(tree: Path, path: str, reason: str) -> None:
    (tree / "void").mkdir()
    os.mkfifo(tree / "pipe")
    (tree / "dangling").symlink_to("nothing")
    assert find([path]) == [Unusable(path, reason)]


def test_what_a_walk_cannot_use_was_not_asked_for(tree: Path) -> None:
    os.mkfifo(tree / "docs" / "pipe")
    (tree / "docs" / "dangling").symlink_to("nothing")
    (tree / "docs" / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("docs/sub/socket")
        unusable = [item for item in find(["docs"]) if isinstance(item, Unusable)]
    assert {os.path.relpath(item.path, tree / "docs"): item.walked for item in unusable} == {
        "dangling": True,
        "loop": True,
        "pipe": True,
        "sub/socket": True,
    }
    assert [item.walked for item in find(["docs/pipe"]) if isinstance(item, Unusable)] == [False]


def test_a_path_with_a_zero_in_it_is_no_file() -> None:
    assert find(["a\0b"]) == [Unusable("a\0b", "no such file or folder")]


# names


NAMES = (
    b"caf\xe9.txt",
    b"caf\\xe9.txt",
    b"caf\\x5cxe9.txt",
    b"\\\xe9",
    b"\\x5c\xe9",
    b"\\xe",
    b"a\\b",
)


def test_names_that_are_no_text_can_be_stored() -> None:
    assert printable(os.fsdecode(b"caf\xe9.txt")) == "caf\\xe9.txt"
    assert printable("a\\b \\x g\u00fc.txt") == "a\\b \\x g\u00fc.txt"


def test_no_two_names_are_stored_alike_and_each_leads_back_to_its_file(tree: Path) -> None:
    paths = [str(tree / os.fsdecode(name)) for name in NAMES]
    for path in paths:
        Path(path).write_text(path.encode("utf-8", "replace").decode())
    found = [
        item for item in find(["*"]) if isinstance(item, FileItem) and "docs" not in item.source
    ]
    assert len({item.source for item in found}) == len(NAMES)
    for item in found:
        item.source.encode()
        assert files.look(item.source) == FileItem(item.path, item.source, item.size, walked=True)
        assert not files.is_missing(item.source)
    os.unlink(paths[0])
    assert files.is_missing(files.source_name(paths[0]))
    assert not files.is_missing(files.source_name(paths[1]))


def test_a_name_is_shown_below_the_current_folder(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert displayed(f"{tree}/docs/a.md") == "docs/a.md"
    assert displayed(f"{tree}-2/a.md") == f"{tree}-2/a.md"
    monkeypatch.chdir("/")
    assert displayed("/etc/motd") == "etc/motd"
    odd = tree / os.fsdecode(b"\xff")
    odd.mkdir()
    monkeypatch.chdir(odd)
    assert displayed(files.source_name("x.txt")) == "x.txt"


def test_a_name_is_shown_without_what_a_terminal_obeys(tree: Path) -> None:
    assert displayed(f"{tree}/a\x1b[2J\n\x9b\u202eb.txt") == "a\\x1b[2J\\n\\x9b\\u202eb.txt"


def test_in_a_folder_that_was_removed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "gone").mkdir()
    monkeypatch.chdir(tree / "gone")
    (tree / "gone").rmdir()
    assert displayed("/etc/motd") == "/etc/motd"
    assert find(["a.txt", "*.md"]) == [
        Unusable("a.txt", "no such file or folder"),
        Unusable("*.md", "no file matches"),
    ]
    assert names(find([str(tree / "docs" / "a.md")])) == [str(tree / "docs" / "a.md")]


# one file by two paths


def test_a_link_and_its_file_are_one_document(tree: Path) -> None:
    (tree / "docs" / "0.txt").symlink_to("b.txt")
    (tree / "docs" / "sub" / "again.txt").symlink_to("../sub/c.txt")
    expected = ["docs/a.md", "docs/b.txt", "docs/sub/c.txt", "docs/sub/deep/d.txt"]
    assert names(find(["docs"])) == expected
    (tree / "linked").symlink_to("docs", target_is_directory=True)
    assert names(find(["linked", "docs/0.txt", str(tree / "docs/sub/../b.txt")])) == expected
    assert names(find(["docs/0.txt"])) == ["docs/b.txt"]


def test_a_link_that_leads_out_of_the_folder_is_a_document_of_it(tree: Path) -> None:
    (tree / "outside.txt").write_text("outside")
    for name in ("b-link.txt", "c-link.txt"):
        (tree / "docs" / "sub" / name).symlink_to(tree / "outside.txt")
    assert names(find(["docs/sub"])) == [
        "docs/sub/b-link.txt",
        "docs/sub/c.txt",
        "docs/sub/deep/d.txt",
    ]
    assert names(find(["docs/sub", "outside.txt"])) == [
        "docs/sub/c.txt",
        "docs/sub/deep/d.txt",
        "outside.txt",
    ]


def test_a_link_to_a_folder_elsewhere_is_named(tree: Path) -> None:
    (tree / "elsewhere").mkdir()
    (tree / "elsewhere" / "x.txt").write_text("x")
    (tree / "docs" / "sub" / "more").symlink_to(tree / "elsewhere", target_is_directory=True)
    (unusable,) = [item for item in find(["docs"]) if isinstance(item, Unusable)]
    assert unusable == Unusable(
        f"{tree}/docs/sub/more", "links to a folder; name it to take it", walked=True
    )
    assert names(find(["docs/sub/more"])) == ["elsewhere/x.txt"]
    assert [i for i in find(["docs"], ["more"]) if isinstance(i, Unusable)] == []


def test_hard_links_are_two_documents(tree: Path) -> None:
    os.link(tree / "docs" / "b.txt", tree / "docs" / "sub" / "b.txt")
    assert len(find(["docs"])) == 5


def test_links_in_a_circle_end(tree: Path) -> None:
    (tree / "docs" / "sub" / "up").symlink_to(tree / "docs", target_is_directory=True)
    assert len(find(["docs"])) == 4


# what is left out


def test_excluded_files_are_left_out_of_folders_and_globs_but_not_if_named(tree: Path) -> None:
    assert names(find(["docs"], ["*.txt"])) == ["docs/a.md"]
    assert names(find(["docs/*"], ["*.md", "deep", "CVS"])) == ["docs/b.txt", "docs/sub/c.txt"]
    assert names(find(["docs/**/*.txt"], ["sub/deep"])) == ["docs/b.txt", "docs/sub/c.txt"]
    assert names(find(["docs/b.txt", "docs/sub"], ["*.txt", "sub"])) == [
        "docs/b.txt",
        f"! {'docs/sub'}",
    ]


def test_where_nothing_is_left_the_reason_is_told(tree: Path) -> None:
    assert find(["docs"], ["*"]) == [Unusable("docs", "every file in this folder is ignored")]
    assert find(["docs/*.md"], ["*.md"]) == [
        Unusable("docs/*.md", "every file that matches is ignored")
    ]


def test_ignore_files_count_for_globs(tree: Path) -> None:
    (tree / "docs" / ".gitignore").write_text("deep/\n/b.txt\n")
    assert names(find(["docs/s*", "docs/*.txt"])) == [
        "docs/sub/c.txt",
        "! docs/*.txt",
    ]
