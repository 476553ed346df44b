"""The shape of the code: floors, cycles, the size of folders and files, what start-up loads.

Imports inside functions and under `TYPE_CHECKING` count like all others.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("maccli", "store", "models")
FOREIGN = {
    "maccli": set(),
    "store": {"maccli", "models", "click", "torch", "transformers"},
    "models": {"maccli", "store", "click"},
}
# From the ground up. A module imports from its own room and from lower floors only; the rooms of
# one floor do not import each other.
FLOORS = {
    "models": (
        ("errors", "files"),
        ("text", "base", "weights"),
        ("data",),
        ("memory",),
        ("training",),
        ("judge", "latent", "paper"),
        ("stacks",),
        ("evaluation", "rivals", "export"),
    ),
    "store": (
        ("errors", "labels", "marks"),
        ("records",),
        ("modulations",),
        ("index",),
        ("remote", "store"),
        ("log", "near", "pruning"),
        ("joined",),
        ("care", "moving"),
    ),
    "maccli": (
        ("errors",),
        ("config", "output"),
        ("reading",),
        ("service",),
        ("bank",),
        ("api",),
        ("evaluation", "training", "plugins", "server", "sharding"),
        ("commands",),
        ("cli",),
        ("__main__",),
    ),
}
HEAVY = (
    "torch",
    "transformers",
    "huggingface_hub",
    "accelerate",
    "gguf",
    "matplotlib",
    "numpy",
    "peft",
    "sentence_transformers",
    "fastapi",
    "uvicorn",
)
MAX_MODULES = 13  # a folder: "about a dozen"
MAX_LINES = 320  # a file: a few more than 300 are no reason to cut a subject in two
LONGER = {"store.store": 620, "maccli.api": 350}  # one class each; half are docstrings


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    name_of(path): path
    for package in (*PACKAGES, "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
}
MODULES = [name for name in FILES if not name.startswith("benchmarks")]


@cache
def imports(module: str) -> frozenset[str]:
    """Every module that this one imports, as precisely as its import statements say it."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module}:{node.lineno}: a relative import"
            names = (f"{node.module}.{name.name}" for name in node.names)
            found |= {name if name in FILES else node.module for name in names}
    return frozenset(found)


def room(module: str) -> str:
    """The folder, or the file at a package's top, that a module stands in."""
    return module.split(".")[1] if "." in module else ""


def cycle(graph: Mapping[str, frozenset[str]]) -> list[str]:
    """Return one cycle of a graph of imports; an empty list if there is none."""
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done or module not in graph:
            return []
        for target in sorted(graph[module]):
            if circle := walk(target, [*way, module]):
                return circle
        done.add(module)
        return []

    return next((circle for module in sorted(graph) if (circle := walk(module, []))), [])


def test_every_package_has_modules() -> None:
    assert {name.partition(".")[0] for name in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("module", MODULES)
def test_packages_import_one_way(module: str) -> None:
    foreign = FOREIGN[module.partition(".")[0]]
    wrong = {name for name in imports(module) if name.partition(".")[0] in foreign}
    assert not wrong, f"{module} must not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_a_floor(package: str) -> None:
    known = {name for floor in FLOORS[package] for name in floor}
    rooms = {room(name) for name in MODULES if name.startswith(f"{package}.")}
    assert rooms - {""} == known


@pytest.mark.parametrize("module", [name for name in MODULES if "." in name])
def test_imports_go_downwards(module: str) -> None:
    package = module.partition(".")[0]
    floor = {name: number for number, floor in enumerate(FLOORS[package]) for name in floor}
    wrong = {
        name
        for name in imports(module)
        if name.startswith(f"{package}.")
        and room(name) != room(module)
        and floor[room(name)] >= floor[room(module)]
    }
    assert not wrong, f"{module} imports from its own floor or above: {', '.join(sorted(wrong))}"


def test_no_module_imports_itself_by_a_detour() -> None:
    assert not cycle({module: imports(module) for module in FILES})


def test_the_search_for_cycles_finds_one() -> None:
    graph = {
        "a": frozenset({"b"}),
        "b": frozenset({"c", "d"}),
        "c": frozenset(),
        "d": frozenset("a"),
    }
    assert cycle(graph) == ["a", "b", "d", "a"]


def folders() -> Iterator[tuple[str, int]]:
    for folder in sorted({path.parent for path in FILES.values()}):
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        yield str(folder.relative_to(ROOT)), len(modules)


@pytest.mark.parametrize(("folder", "modules"), list(folders()))
def test_a_folder_is_one_concept(folder: str, modules: int) -> None:
    assert modules <= MAX_MODULES, f"{folder} has {modules} modules: is it still one concept?"
    assert modules != 1, f"{folder} has a single module: a folder of one file is a file"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_one_subject(module: str) -> None:
    lines = len(FILES[module].read_text("utf-8").splitlines())
    assert lines <= LONGER.get(module, MAX_LINES), f"{lines} lines: is it still one subject?"


LIGHT = ["maccli", "maccli.cli", "store", "store.store", "store.pruning.prune", "models"]


@pytest.mark.parametrize("module", LIGHT)
def test_start_up_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([n for n in {HEAVY!r} if n in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
