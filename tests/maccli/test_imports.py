"""Who joins `store` and `models`, and who knows Click. The floors are in test_architecture.py."""

from __future__ import annotations

import ast
from pathlib import Path

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


def test_few_places_join_store_and_models() -> None:
    joining = {file for file in files("maccli") if {"store", "models"} <= imported(file)}
    assert {file.parent.name for file in joining} <= {"maccli", "service", "evaluation", "studies"}


def test_only_the_command_line_knows_click() -> None:
    knowing = {file for file in files("maccli") if "click" in imported(file)}
    assert all(file.parent.name == "maccli" or "commands" in file.parts for file in knowing)
    assert not [file for file in knowing if file.name == "api.py"]
