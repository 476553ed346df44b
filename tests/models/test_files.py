"""Files that are replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.files import replace_file


def test_two_writers_of_a_file_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    replace = os.replace

    def interrupted(temporary: Path, target: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        replace_file(path, b"of another process")
        replace(temporary, target)

    monkeypatch.setattr(os, "replace", interrupted)
    replace_file(path, b"ours")
    assert path.read_bytes() == b"ours"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    replace_file(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_writer_that_died_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "state[1]"
    left, written, other = (
        tmp_path / name
        for name in (f"{path.name}.{'0a' * 8}.part", f"{path.name}.{'1b' * 8}.part", "state.part")
    )
    for part in (left, written, other):
        part.write_bytes(b"half")
    for part in (left, other):
        os.utime(part, (1, 1))
    replace_file(path, b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, written, other])


@pytest.mark.skipif(os.name != "posix", reason="has no such permissions")
def test_it_may_be_read_by_those_who_may_read_other_new_files(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    replace_file(tmp_path / "state", b"content")
    assert (tmp_path / "state").stat().st_mode == (tmp_path / "other").stat().st_mode
