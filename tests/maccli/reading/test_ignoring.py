"""What a walk leaves out: .gitignore and .macignore as git reads them, and the user's patterns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from maccli.reading.files import below
from maccli.reading.ignoring import Ignoring

FILES = {
    *("notes.md", "notes.log", "build/out.txt", "docs/guide.md", "docs/keep.log"),
    *("docs/private/key.txt", "docs/private/deep/key.md"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that lies in no repository, with some files."""
    folder = tmp_path / "root"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def left_out(root: Path, patterns: Mapping[str, str], *exclude: str, under: str = "") -> set[str]:
    """Write files of patterns; return which of the other files a walk then leaves out."""
    for name, content in patterns.items():
        (root / name).write_text(content)
    met = {os.path.relpath(i.path, root) for i in below(str(root / under), exclude)}
    return {name for name in FILES if name.startswith(under)} - met


PRIVATE = {"docs/private/key.txt", "docs/private/deep/key.md"}


@pytest.mark.parametrize("name", [".gitignore", ".macignore"])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", set()),
        ("*.log", {"notes.log", "docs/keep.log"}),
        ("*.log\n!keep.log", {"notes.log"}),
        ("!keep.log\n*.log", {"notes.log", "docs/keep.log"}),
        ("/*.log", {"notes.log"}),
        ("build", {"build/out.txt"}),
        ("guide.md/\nbuild/", {"build/out.txt"}),
        ("docs/private", PRIVATE),
        ("private/key.txt", set()),
        ("**/key.*", PRIVATE),
        ("docs/**/key.md", {"docs/private/deep/key.md"}),
        ("docs/private/*\n!docs/private/key.txt", {"docs/private/deep/key.md"}),
        ("docs/private\n!docs/private/key.txt", PRIVATE),
        ("*\n!*/\n!*.md", {n for n in FILES if not n.endswith(".md")}),
        ("/*\n!/docs\n*.log", {n for n in FILES if not n.startswith("docs")} | {"docs/keep.log"}),
        ("*.log\n!/docs", {"notes.log", "docs/keep.log"}),
        ("# notes.md\n\\#x\n\n!\nnotes.[l]*", {"notes.log"}),
        ("\ufeffnotes.log\r\nnotes.md\r\n", {"notes.log", "notes.md"}),
    ],
)
def test_patterns_mean_what_they_mean_to_git(
    root: Path, name: str, lines: str, expected: set[str]
) -> None:
    assert left_out(root, {name: lines}) == expected


def test_the_deeper_file_decides_and_macignore_before_gitignore(root: Path) -> None:
    assert left_out(root, {".gitignore": "*.log\nprivate", "docs/.gitignore": "!*.log"}) == {
        "notes.log",
        *PRIVATE,
    }
    assert left_out(root, {".macignore": "*.md\n!private"}) == {
        "notes.log",
        "notes.md",
        "docs/guide.md",
        "docs/private/deep/key.md",
    }


def test_folders_above_count_up_to_the_root_of_the_repository(root: Path) -> None:
    (root.parent / ".gitignore").write_text("*.md")
    patterns = {".gitignore": "*.log\n/docs/private/deep", "docs/.macignore": "key.txt"}
    assert left_out(root, patterns, under="docs/private") == set()
    (root / ".git").mkdir()
    assert left_out(root, {}, under="docs/private") == PRIVATE
    assert left_out(root, {}, under="docs") == {"docs/keep.log", *PRIVATE}
    assert left_out(root, {}) == {"notes.log", "docs/keep.log", *PRIVATE}


def test_a_named_folder_is_taken_although_its_repository_ignores_it(root: Path) -> None:
    (root / ".git").mkdir()
    patterns = {".gitignore": "docs/\n*.md", "docs/.gitignore": "keep.log"}
    assert left_out(root, patterns, under="docs") == {"docs/keep.log"}
    assert left_out(root, {}, under="docs/private") == set()


def test_what_editors_and_systems_leave_behind(root: Path) -> None:
    names = ["a.md~", "#a.md#", ".a.md.swp", "~$x.docx", "4913", "Thumbs.db", "desktop.ini"]
    for name in [*names, "~WRL0005.tmp", ".DS_Store", "a.bak", "a.tmp", "docs/~x.md"]:
        (root / name).write_text(name)
    (root / "docs~").mkdir()
    (root / "docs~" / "x.md").write_text("x")
    assert {Path(i.path).name for i in below(str(root))} - {Path(name).name for name in FILES} == {
        "a.bak",
        "a.tmp",
        "~x.md",
        "x.md",
    }
    (root / ".macignore").write_text("!4913")
    assert "4913" in {Path(i.path).name for i in below(str(root))}


def test_the_users_patterns_go_before_all_files(root: Path) -> None:
    (root / ".macignore").write_text("!notes.log\nguide.md")
    assert left_out(root, {}, "*.log", "!guide.md") == {"notes.log", "docs/keep.log"}


@pytest.mark.parametrize(
    "pattern", ["private", "docs/private", "/docs/private/", "./docs/private", "ROOT/docs/private"]
)
def test_a_users_pattern_may_be_a_path(
    root: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    pattern = pattern.replace("ROOT", str(root))
    assert left_out(root, {}, pattern.removeprefix("./")) == PRIVATE
    monkeypatch.chdir(root)
    expected = set() if pattern == "/docs/private/" else PRIVATE
    assert left_out(root, {}, pattern, under="docs") == expected


def test_a_users_pattern_is_no_comment(root: Path) -> None:
    (root / "#1.md").write_text("x")
    assert not any("#1" in str(i.path) for i in below(str(root), ["#1.md"]))


def test_one_path_is_judged_by_all_of_its_folders(root: Path) -> None:
    (root / ".gitignore").write_text("private\n!key.txt")
    rules = Ignoring(str(root))
    assert rules.leaves_out_below(str(root / "docs" / "private" / "key.txt"))
    assert not rules.leaves_out_below(str(root / "docs" / "key.txt"))
    assert rules.leaves_out_below(str(root / "docs" / "private"), folder=True)


def test_what_is_no_list_of_patterns_is_passed_over(root: Path) -> None:
    (root / ".gitignore").mkdir()
    os.mkfifo(root / ".macignore")
    (root / "docs" / ".gitignore").symlink_to("nowhere")
    (root / "build" / ".gitignore").write_bytes(b"\xff\xfe[\n\\\nout.txt")
    assert left_out(root, {}) == {"build/out.txt"}
