"""`mac model`, from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models.memory import checkpoint

from ..conftest import FakeMemory, Ran, make_checkpoint

Mac = Callable[..., Ran]


def test_model_show_path_and_default(mac: Mac, memory: FakeMemory, tmp_path: Path) -> None:
    folder = str(tmp_path / "checkpoint")
    assert mac("model", "path").out == f"{folder}\n"
    assert mac("model", "show", "--json").json["base_lm"] == "fake-lm"
    assert "base_lm          fake-lm\n" in mac("model", "show").out
    ran = mac("model", "default", folder)
    assert ran.err.startswith(
        f"The default model is now {folder}. It takes over a store with: mac store rebuild\n"
        "Warning: MAC_MODEL is set"
    )
    assert "checkpoint" in mac("model", "ls").out
    assert mac("model", "ls", "--json").json[-1]["default"] is True
    assert mac("model", "default", "nowhere").code == 1


def test_a_checkpoint_in_the_home_folder(
    mac: Mac, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = make_checkpoint(tmp_path / "mine")
    monkeypatch.setenv("MAC_MODEL", "~/mine")
    assert mac("model", "path").out == f"{folder}\n"
    row = mac("model", "ls", "--json").json[len(checkpoint.ls())]
    assert (row["name"], row["default"], row["path"]) == ("~/mine", True, str(folder))


def test_terms_are_shown_and_accepted(
    mac: Mac, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from models.weights import resolve as weights

    asked = []

    def resolved(name: str, *, accepted: bool = False, **_: object) -> Path:
        asked.append((name, accepted))
        return tmp_path

    monkeypatch.setattr(weights, "resolve", resolved)
    ran = mac("model", "pull", "gemma-3-270m")
    assert ran.code == 2 and "https://ai.google.dev/gemma/terms" in ran.err
    assert "add --accept-terms" in ran.err and not asked
    assert mac("model", "pull", "gemma-3-270m", "--accept-terms").code == 0
    folder = make_checkpoint(tmp_path / "gemma", base_lm="gemma-3-270m")
    assert mac("model", "default", str(folder)).code == 2
    assert mac("model", "default").out == "smollm2-135m\n"
    assert mac("model", "default", str(folder), "--accept-terms").code == 0
    assert asked == [("gemma-3-270m", True)] * 2
    assert mac("model", "default").out == f"{folder}\n"


def test_without_weights_or_network_there_is_a_way_on(
    mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.errors import WeightsError
    from models.weights import resolve as weights

    def unreachable(*_: object, **__: object) -> Path:
        raise WeightsError("nothing can be reached", "connect to a network")

    monkeypatch.setattr(weights, "resolve", unreachable)
    ran = mac("model", "pull")
    assert (ran.code, ran.err) == (
        1,
        "Error: nothing can be reached\nHint: connect to a network\n",
    )


def test_bundled_checkpoints_are_listed(mac: Mac) -> None:
    names = [row["name"] for row in mac("model", "ls", "--json").json]
    assert names[: len(checkpoint.ls())] == [path.name for path in checkpoint.ls()]
    assert f"{checkpoint.DEFAULT} (default)" in mac("model", "ls").out


QUESTION = "Who opened the bridge?"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many documents each export was aggregated from, instead of writing adapters."""
    numbers: list[int] = []

    def export_adapter(model: object, question: str, selected: list[object], folder: Path) -> None:
        numbers.append(len(selected))
        folder.mkdir(parents=True)

    monkeypatch.setattr("models.export.export_adapter", export_adapter)
    return numbers


def test_the_modulation_that_answers_is_exported(
    mac: Mac, stored: Path, memory: FakeMemory, exported: list[int]
) -> None:
    ran = mac("model", "export", "-k", "1", QUESTION, "adapter")
    assert (ran.code, ran.out, ran.err) == (0, "adapter\n", "")
    assert exported == [1]
    (stored / "adapter" / "mine.txt").touch()
    (stored / "file").touch()
    memory.calls.clear()
    for folder in ("adapter", "file"):
        ran = mac("model", "export", QUESTION, folder)
        assert ran.code == 2
        assert f"There is something in {folder} already." in ran.err
    assert memory.calls == []  # refused before the model is loaded
    ran = mac("model", "export", "zebra okapi", "other")
    assert ran.code == 3 and ran.err.startswith("Error: There is no modulation to export")
    assert not (stored / "other").exists()


def test_an_empty_store_has_nothing_to_export(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("model", "export", QUESTION, "adapter")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[1] == "Hint: Ingest something first: mac ingest FILES"
    assert memory.calls == []
