"""README tells of every command, and of no command that is not there."""

import re
from pathlib import Path

import click
import pytest

from maccli.cli import cli

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def _commands(group: click.Group, name: str = "mac") -> list[str]:
    context = click.Context(group)
    found = []
    for child in group.list_commands(context):
        command = group.get_command(context, child)
        assert command is not None
        if isinstance(command, click.Group):
            found += _commands(command, f"{name} {child}")
        else:
            found.append(f"{name} {child}")
    return found


@pytest.mark.parametrize("command", _commands(cli))
def test_every_command_is_in_readme(command: str) -> None:
    *group, name = command.split()
    lines = [line for line in README.splitlines() if " ".join(group) in line]
    assert any(re.search(rf"\b{name}\b", line) for line in lines)


def test_readme_names_no_command_that_is_not_there() -> None:
    real = {command.split()[1] for command in _commands(cli)}
    told = set(re.findall(r"^\$? ?mac ([a-z]+)", README, re.MULTILINE))
    assert told <= real


def test_every_module_readme_runs_is_there() -> None:
    root = Path(__file__).parents[1]
    for module in re.findall(r"python -m ([\w.]+)", README):
        if not module.startswith(("maccli", "benchmarks")):
            continue
        path = root.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
