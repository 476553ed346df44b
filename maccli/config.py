"""Settings, and where things are kept. A flag beats the environment, which beats config.toml.

Everything of a user lies in one folder: `$MAC_HOME`, or the data folder of the platform. In it are
`config.toml`, the default `store` and the user's own `checkpoints`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from maccli.errors import USAGE, MacError
from models.memory import checkpoint

Value = str | int
Origin = Literal["flag", "environment", "config.toml", "default"]


@dataclass(frozen=True, slots=True)
class Setting:
    """Something a user may set: its name in config.toml, its variable, its default and choices."""

    name: str
    variable: str
    default: Value | None
    about: str
    choices: tuple[str, ...] = ()
    kind: type[str] | type[int] = str

    def parse(self, value: object, origin: str) -> Value:
        """Return `value` as this setting's type, or refuse it with a line naming `origin`."""
        try:
            if isinstance(value, bool) or not isinstance(value, (str, self.kind)):
                raise ValueError
            parsed = self.kind(value)
        except ValueError:
            wanted = "a whole number" if self.kind is int else "a string"
            raise MacError(
                f"{self.name} must be {wanted}, not {value!r} (from {origin}).", exit_code=USAGE
            ) from None
        if self.choices and parsed not in self.choices:
            raise MacError(
                f"{self.name} must be one of {', '.join(self.choices)}, "
                f"not {value!r} (from {origin}).",
                exit_code=USAGE,
            )
        if isinstance(parsed, int) and parsed < 1:
            raise MacError(
                f"{self.name} must be at least 1, not {parsed} (from {origin}).", exit_code=USAGE
            )
        return parsed


@dataclass(frozen=True, slots=True)
class Resolved:
    """A setting's value and where it came from."""

    value: Value | None
    origin: Origin


RETRIEVERS = ("hybrid", "dense", "bm25")
DEVICES = ("auto", "cpu", "cuda", "mps")

SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("store", "MAC_STORE", None, "the folder of the memory"),
        Setting("model", "MAC_MODEL", checkpoint.DEFAULT, "the checkpoint: a name or a folder"),
        Setting("device", "MAC_DEVICE", "auto", "where to compute", DEVICES),
        Setting("k", "MAC_K", None, "how many chunks an answer uses (unset: as trained)", kind=int),
        Setting("retriever", "MAC_RETRIEVER", "hybrid", "how they are found", RETRIEVERS),
        Setting(
            "max_new_tokens", "MAC_MAX_NEW_TOKENS", 32, "the longest answer, in tokens", kind=int
        ),
    )
}


def home() -> Path:
    """Return the user's folder; it need not exist yet."""
    if folder := os.environ.get("MAC_HOME"):
        return Path(folder).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("mac", appauthor=False))


def path() -> Path:
    """Return the path of config.toml; it need not exist."""
    return home() / "config.toml"


def read_file() -> dict[str, Value]:
    """Return the settings written in config.toml ({} without one), checked.

    Raises:
        MacError: it cannot be read, is no TOML, or has a setting that does not exist.
    """
    file = path()
    try:
        raw = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MacError(f"{file}: {error}", "Mend the file or remove it.", USAGE) from error
    for name in raw:
        if name not in SETTINGS:
            known = ", ".join(SETTINGS)
            raise MacError(f"{file}: there is no setting {name!r}.", f"There are: {known}.", USAGE)
    return {name: SETTINGS[name].parse(value, str(file)) for name, value in raw.items()}


def resolve(name: str, flag: Value | None = None) -> Resolved:
    """Return the value of the setting `name` that counts, `flag` (None: not given) being first."""
    setting = SETTINGS[name]
    if flag is not None:
        return Resolved(setting.parse(flag, f"--{name.replace('_', '-')}"), "flag")
    if variable := os.environ.get(setting.variable):
        return Resolved(setting.parse(variable, setting.variable), "environment")
    written = read_file()
    if name in written:
        return Resolved(written[name], "config.toml")
    default = str(home() / "store") if name == "store" else setting.default
    return Resolved(default, "default")


def text(name: str, flag: str | None = None) -> str:
    """Return the value of a setting that is a string."""
    return str(resolve(name, flag).value)


def number(name: str, flag: int | None = None) -> int | None:
    """Return the value of a setting that is a whole number; None if it has none."""
    value = resolve(name, flag).value
    return None if value is None else int(value)


def folder(name: str, flag: str | None = None) -> Path:
    """Return the value of a setting that is a folder, absolute; it need not exist."""
    return Path(text(name, flag)).expanduser().absolute()


def write(changes: Mapping[str, str]) -> None:
    """Set strings in config.toml, leaving every other line of it as it is."""
    read_file()  # never build on a file that is wrong already
    file = path()
    content = file.read_text("utf-8") if file.exists() else ""
    for name, value in changes.items():
        line = f"{name} = {_quoted(value)}"
        pattern = re.compile(rf"^[ \t]*{re.escape(name)}[ \t]*=.*$", re.MULTILINE)
        if pattern.search(content):
            content = pattern.sub(line.replace("\\", r"\\"), content, count=1)
        else:
            content = f"{line}\n{content}"
    tomllib.loads(content)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".toml.new")
    temporary.write_text(content, "utf-8")
    temporary.replace(file)


def show() -> list[dict[str, Any]]:
    """Return every setting with its value, origin, variable and meaning."""
    rows = []
    for setting in SETTINGS.values():
        found = resolve(setting.name)
        rows.append(
            {
                "name": setting.name,
                "value": found.value,
                "origin": found.origin,
                "variable": setting.variable,
                "about": setting.about,
            }
        )
    return rows


def _quoted(value: str) -> str:
    """Return `value` as a TOML basic string."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(character, character) for character in value) + '"'
