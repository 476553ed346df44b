from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from maccli import config
from maccli.errors import USAGE, MacError

from .conftest import Ran


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mac-home" / "config.toml"
    path.parent.mkdir()
    return path


def test_flag_beats_environment_beats_file_beats_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config.resolve("k") == config.Resolved(None, "default")
    file.write_text("k = 4")
    assert config.resolve("k") == config.Resolved(4, "config.toml")
    monkeypatch.setenv("MAC_K", "5")
    assert config.resolve("k") == config.Resolved(5, "environment")
    assert config.resolve("k", 6) == config.Resolved(6, "flag")


def test_the_home_folder_moves_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.path() == tmp_path / "mac-home" / "config.toml"
    assert config.folder("store") == tmp_path / "mac-home" / "store"
    monkeypatch.delenv("MAC_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert config.folder("store").name == "store"
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert config.folder("store", "~/memory") == tmp_path / "me" / "memory"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("colour = 'red'", "there is no setting 'colour'"),
        ("k = 'many'", "k must be a whole number, not 'many'"),
        ("k = 0", "k must be at least 1, not 0"),
        ("k = true", "k must be a whole number, not True"),
        ("k = 1.5", "k must be a whole number, not 1.5"),
        ("model = 3", "model must be a string, not 3"),
        ("retriever = 'magic'", "retriever must be one of hybrid, dense, bm25, not 'magic'"),
        ("k = = 1", "Invalid value"),
        ("exclude = '*.log'", r"exclude must be a list of strings, not '\*.log'"),
        ("exclude = ['*.log', 3]", "exclude must be a list of strings, not "),
    ],
)
def test_a_wrong_file_is_refused_by_name(file: Path, content: str, message: str) -> None:
    file.write_text(content)
    with pytest.raises(MacError, match=message) as caught:
        config.resolve("k")
    assert str(file) in caught.value.message
    assert caught.value.exit_code == USAGE


def test_a_wrong_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAC_DEVICE", "abacus")
    with pytest.raises(MacError, match=r"not 'abacus' \(from MAC_DEVICE\)"):
        config.text("device")


@pytest.mark.parametrize("value", ["plain", 'a "quoted" one', "back\\slash\\1", "tab\tnew\nline"])
def test_writing_leaves_other_lines_alone(file: Path, value: str) -> None:
    config.write({"model": "first"})
    assert tomllib.loads(file.read_text()) == {"model": "first"}
    file.write_text("# mine\nk = 4  # four\nmodel = 'old'\n")
    config.write({"model": value})
    assert tomllib.loads(file.read_text()) == {"k": 4, "model": value}
    assert file.read_text().startswith("# mine\nk = 4  # four\n")


def test_a_setting_that_is_written_in_another_way_is_not_doubled(file: Path) -> None:
    file.write_text('"model" = "x"\n')
    with pytest.raises(MacError, match="model cannot be changed here") as caught:
        config.write({"model": "y"})
    assert caught.value.hint == 'Write it yourself: model = "y"'
    assert caught.value.exit_code == USAGE and file.read_text() == '"model" = "x"\n'


def test_a_wrong_number_is_named_by_its_option() -> None:
    with pytest.raises(MacError, match=r"k must be at least 1, not 0 \(from -k\)"):
        config.number("k", 0)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_file(file: Path, encoding: str) -> None:
    file.write_text("k = 3\n", encoding)
    assert config.resolve("k") == config.Resolved(3, "config.toml")
    config.write({"model": "x"})
    assert config.resolve("k").value == 3 and config.resolve("model").value == "x"


def test_a_list_of_patterns(
    mac: Callable[..., Ran], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config.patterns("exclude") == ()
    file.write_text("exclude = ['*.log', 'my drafts/']")
    assert config.patterns("exclude") == ("*.log", "my drafts/")
    assert "*.log my drafts/" in mac("config", "show").out
    shown = {row["name"]: row["value"] for row in mac("config", "show", "--json").json["settings"]}
    assert shown["exclude"] == ["*.log", "my drafts/"]
    monkeypatch.setenv("MAC_EXCLUDE", "a b:*.c")
    assert config.patterns("exclude") == ("a b", "*.c")


def test_the_file_is_read_once_until_it_changes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("k = 4")
    reads: list[str] = []
    loads = tomllib.loads
    monkeypatch.setattr(tomllib, "loads", lambda text: reads.append(text) or loads(text))
    for _ in range(3):
        assert config.resolve("k").value == 4
        assert config.resolve("device").value == "auto"
    assert reads == ["k = 4"]
    file.write_text("k = 12")
    assert config.resolve("k").value == 12


def test_config_commands(mac: Callable[..., Ran], file: Path) -> None:
    file.write_text("k = 4")
    assert mac("config", "path").out == f"{file}\n"
    shown = mac("config", "show", "--json").json
    by_name = {setting["name"]: setting for setting in shown["settings"]}
    assert (by_name["k"]["value"], by_name["k"]["origin"]) == (4, "config.toml")
    assert "MAC_K" in mac("config", "show").out
    file.write_text("k = 'x'")
    ran = mac("config", "show")
    assert (ran.code, ran.out) == (2, "")


def test_a_wrong_file_leaves_the_commands_that_do_not_need_it(
    mac: Callable[..., Ran], file: Path
) -> None:
    file.write_text("store = 3")
    ran = mac("store", "ls")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"Error: store must be a string, not 3 (from {file}).\n"
    assert mac("config", "path").out == f"{file}\n"
    file.write_text("colour = 'red'")
    message, hint = mac("ask", "Who?").err.splitlines()
    assert message == f"Error: {file}: there is no setting 'colour'."
    assert hint.startswith("Hint: The settings are: store, model, ")


def test_a_flag_beats_the_environment_which_beats_the_file_for_commands(
    mac: Callable[..., Ran], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def path(*args: str) -> str:
        return mac("store", "path", *args).out.rstrip("\n")

    assert path() == str(tmp_path / "mac-home" / "store")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    file.write_text('store = "~/notes"')
    assert path() == str(tmp_path / "me" / "notes")
    monkeypatch.setenv("MAC_STORE", str(tmp_path / "environment"))
    assert path() == str(tmp_path / "environment")
    assert path("--store", str(tmp_path / "flag")) == str(tmp_path / "flag")


def test_a_wrong_variable_is_named(
    mac: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAC_DEVICE", "abacus")
    ran = mac("ask", "Who?")
    assert (ran.code, ran.out) == (2, "")
    assert "Invalid value for MAC_DEVICE: 'abacus' is not one of" in ran.err


def test_only_options_for_settings_take_them_from_the_file(file: Path) -> None:
    file.write_text("k = 4\nstore = 'x'")
    defaults = config.Defaults({"k"})
    assert dict(defaults) == {"k": 4}
    assert "store" not in defaults and "other" not in defaults
    assert len(defaults) == 1
