"""Imports go one way: `maccli` to `store` and `models`, and only the service joins these two."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("store", {"click", "maccli", "models", "torch"}), ("models", {"click", "maccli", "store"})],
)
def test_libraries_know_nothing_of_what_uses_them(package: str, forbidden: set[str]) -> None:
    assert files(package)
    wrong = {str(file): imported(file) & forbidden for file in files(package)}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_only_the_service_joins_store_and_models() -> None:
    joining = {file for file in files("maccli") if {"store", "models"} <= imported(file)}
    assert {file.parent.name for file in joining} == {"service"}


def test_only_the_command_line_knows_click() -> None:
    knowing = {file for file in files("maccli") if "click" in imported(file)}
    assert not [file for file in knowing if file.parent.name == "service"]
