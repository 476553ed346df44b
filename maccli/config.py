"""Settings, and where things are kept. A flag beats the environment, which beats config.toml.

Everything of a user lies in one folder: `$MAC_HOME`, or the data folder of the platform. In it are
`config.toml` and the default `store`. The command line reads config.toml as Click's `default_map`
(`Defaults`), Python code through `resolve`.
"""

from __future__ import annotations

import codecs
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from maccli.errors import USAGE, MacError
from models.files import replace_file
from models.memory import checkpoint

Value = str | int | tuple[str, ...]
Origin = Literal["flag", "environment", "config.toml", "default"]


@dataclass(frozen=True, slots=True)
class Setting:
    """Something a user may set: its name in config.toml, its variable, its default and choices."""

    name: str
    variable: str
    default: Value | None
    about: str
    choices: tuple[str, ...] = ()
    kind: type[str] | type[int] | type[tuple[str, ...]] = str

    def parse(self, value: object, origin: str) -> Value:
        """Return `value` as this setting's type.

        Raises:
            MacError: it is of another type or out of range; the message names `origin`.
        """
        if self.kind is tuple:
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise self._wrong(f"must be a list of strings, not {value!r}", origin)
            return tuple(value)
        try:
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError
            if isinstance(value, int) and self.kind is str:
                raise ValueError
            parsed = int(value) if self.kind is int else value
        except ValueError:
            wanted = "a whole number" if self.kind is int else "a string"
            raise self._wrong(f"must be {wanted}, not {value!r}", origin) from None
        if self.choices and parsed not in self.choices:
            raise self._wrong(f"must be one of {', '.join(self.choices)}, not {value!r}", origin)
        if isinstance(parsed, int) and parsed < 1:
            raise self._wrong(f"must be at least 1, not {parsed}", origin)
        return parsed

    def _wrong(self, what: str, origin: str) -> MacError:
        return MacError(f"{self.name} {what} (from {origin}).", exit_code=USAGE)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A setting's value and where it came from."""

    value: Value | None
    origin: Origin


RETRIEVERS = ("hybrid", "dense", "bm25")
DEVICES = ("auto", "cpu", "cuda", "mps")
SWITCH = ("on", "off")

SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("store", "MAC_STORE", None, "folder of the store"),
        Setting("model", "MAC_MODEL", checkpoint.DEFAULT, "checkpoint, by name or folder"),
        Setting(
            "encoder",
            "MAC_ENCODER",
            None,
            "sentence encoder, by name, folder or Hub id (unset: the model's own)",
        ),
        Setting("device", "MAC_DEVICE", "auto", "where to compute", DEVICES),
        Setting(
            "precision",
            "MAC_PRECISION",
            None,
            "numbers of the language model (unset: what is fastest, such as 4 bits)",
            ("bf16", "fp32"),
        ),
        Setting("k", "MAC_K", None, "passages used per question (unset: as trained)", kind=int),
        Setting("retriever", "MAC_RETRIEVER", "hybrid", "how passages are found", RETRIEVERS),
        Setting("exclude", "MAC_EXCLUDE", (), "patterns for what ingest leaves out", kind=tuple),
        Setting("max_new_tokens", "MAC_MAX_NEW_TOKENS", 32, "longest answer in tokens", kind=int),
        Setting("log", "MAC_LOG", "on", "keep questions and answers in the store", SWITCH),
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


def bundled_models() -> list[str]:
    """Return the names of the checkpoints that come with `mac`."""
    return [path.name for path in checkpoint.ls()]


def read_file() -> Mapping[str, Value]:
    """Return the settings written in config.toml ({} without one), checked.

    The file is read again only if it has changed.

    Raises:
        MacError: it cannot be read, is no TOML, or has a setting that does not exist.
    """
    file = path()
    try:
        status = file.stat()
        return _parsed(file, status.st_mtime_ns, status.st_size, status.st_ino)
    except FileNotFoundError:
        return {}


@lru_cache(maxsize=1)
def _parsed(file: Path, *_: int) -> Mapping[str, Value]:
    """Return the settings in `file`; the numbers tell its versions apart."""
    try:
        raw = tomllib.loads(_content(file))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MacError(f"{file}: {error}", "Correct the file or remove it.", USAGE) from error
    for name in raw:
        if name not in SETTINGS:
            known = ", ".join(SETTINGS)
            raise MacError(
                f"{file}: there is no setting {name!r}.", f"The settings are: {known}.", USAGE
            )
    return {name: SETTINGS[name].parse(value, str(file)) for name, value in raw.items()}


def _content(file: Path) -> str:
    """Return the text of a file as editors write it, on Windows also with a mark or as UTF-16."""
    wide = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return file.read_text("utf-16" if file.read_bytes()[:2] in wide else "utf-8-sig")


class Defaults(Mapping[str, Any]):
    """Settings in config.toml as Click's `default_map`, by parameter name.

    The file is read when the first of them is looked up, so that commands without settings, such as
    `mac config path`, work with a file that is wrong.

    Args:
        names: the settings that a command has options for.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    @cached_property
    def _values(self) -> dict[str, Value]:
        return {name: value for name, value in read_file().items() if name in self._names}

    def __contains__(self, name: object) -> bool:
        return name in self._names and name in self._values

    def __getitem__(self, name: str) -> Value:
        if name not in self._names:
            raise KeyError(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def resolve(name: str, flag: Value | None = None) -> Resolved:
    """Return the value of the setting `name` that counts, `flag` (None: not given) being first.

    Raises:
        MacError: a value is wrong.
    """
    setting = SETTINGS[name]
    if flag is not None:
        option = f"--{name.replace('_', '-')}" if len(name) > 1 else f"-{name}"
        return Resolved(setting.parse(flag, option), "flag")
    if variable := os.environ.get(setting.variable):
        value = variable.split(os.pathsep) if setting.kind is tuple else variable
        return Resolved(setting.parse(value, setting.variable), "environment")
    written = read_file()
    if name in written:
        return Resolved(written[name], "config.toml")
    default = str(home() / "store") if name == "store" else setting.default
    return Resolved(default, "default")


def text(name: str, flag: str | None = None) -> str:
    """Return the value of a setting that is a string."""
    return str(resolve(name, flag).value)


def optional_text(name: str) -> str | None:
    """Return the value of a setting that is a string; None if it has none."""
    value = resolve(name).value
    return str(value) if value else None


def number(name: str, flag: int | None = None) -> int | None:
    """Return the value of a setting that is a whole number; None if it has none."""
    value = resolve(name, flag).value
    return value if isinstance(value, int) else None


def patterns(name: str) -> tuple[str, ...]:
    """Return the value of a setting that is a list of patterns."""
    value = resolve(name).value
    return value if isinstance(value, tuple) else ()


def is_url(value: object) -> bool:
    """Return whether a store is given by the address of a server."""
    return isinstance(value, str) and value.lower().startswith(("http://", "https://"))


def folder(name: str, flag: str | Path | None = None) -> Path:
    """Return the value of a setting that is a folder, absolute; it need not exist.

    Raises:
        MacError: it is a server's address.
    """
    value = text(name, None if flag is None else str(flag))
    if is_url(value):
        message = f"{value} is a server's address; this needs a folder."
        raise MacError(message, "mac ask, mac search and mac chat take addresses.", USAGE)
    return Path(value).expanduser().absolute()


def stores(flag: str | Path | None, also: Sequence[str | Path]) -> tuple[Path, list[Path | str]]:
    """Return the folder that is written to, and all folders and addresses that are asked.

    Args:
        flag: a folder or an address; None for the setting `store`.
        also: further ones.
    """
    given = [text("store", None if flag is None else str(flag)), *also]
    asked = [str(each) if is_url(each) else folder("store", each) for each in given]
    folders = [each for each in asked if isinstance(each, Path)]
    return folders[0] if folders else home() / "store", asked


def write(changes: Mapping[str, str]) -> None:
    """Set strings in config.toml and leave every other line as it is.

    Raises:
        MacError: the file is wrong already, or a setting is written in it in an unusual way.
        OSError: it cannot be written.
    """
    read_file()
    file = path()
    content = _content(file) if file.exists() else ""
    for name, value in changes.items():
        line = f"{name} = {_quoted(value)}"
        pattern = re.compile(rf"^[ \t]*{re.escape(name)}[ \t]*=.*$", re.MULTILINE)
        if pattern.search(content):
            content = pattern.sub(line.replace("\\", r"\\"), content, count=1)
        else:
            content = f"{line}\n{content}"
        try:
            tomllib.loads(content)
        except tomllib.TOMLDecodeError as error:  # it was written in another way, such as "model"
            raise MacError(
                f"{file}: {name} cannot be changed here.", f"Write it yourself: {line}", USAGE
            ) from error
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, content.encode())
    _parsed.cache_clear()


def show() -> list[dict[str, Any]]:
    """Return every setting with its value, origin, variable and meaning."""
    rows = []
    for setting in SETTINGS.values():
        resolved = resolve(setting.name)
        rows.append(
            {
                "name": setting.name,
                "value": resolved.value,
                "origin": resolved.origin,
                "variable": setting.variable,
                "about": setting.about,
            }
        )
    return rows


def _quoted(value: str) -> str:
    """Return `value` as a TOML basic string."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(character, character) for character in value) + '"'
