"""Groups whose commands are imported when they are needed, and that know what was meant."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import click
from click.core import ParameterSource

from maccli import config

# The groups below the root, in the order in which their commands are suggested.
_GROUPS = ("store", "model", "study", "config")
# Words that other programs have for what a command of `mac` does.
_SYNONYMS = {
    "add": "ingest",
    "delete": "store rm",
    "evaluate": "eval",
    "find": "search",
    "list": "store ls",
    "query": "ask",
    "remove": "store rm",
    "undo": "store prune --undo",
}


class Text(click.types.StringParamType):
    """A text on the command line. What is not UTF-8 in it is replaced, as it is in a pipe."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text."""
        text: str = super().convert(value, param, ctx)
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class SettingOption(click.Option):
    """An option for a setting: its default stands in config.toml under the parameter's name."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the checked value; an error names the variable or the file it came from."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            source = ctx.get_parameter_source(self.name or "")
            if source is ParameterSource.ENVIRONMENT:
                error.param_hint = str(self.envvar)
            elif source is ParameterSource.DEFAULT_MAP:
                error.param_hint = f"{self.name} in {config.path()}"
            raise


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed, by `{name: "module:attribute"}`."""

    def __init__(self, *args: Any, lazy: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they are listed."""
        return [*self.lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command `cmd_name`; None if there is none."""
        command = super().get_command(ctx, cmd_name)
        if cmd_name in self.lazy:
            module, attribute = self.lazy[cmd_name].split(":")
            command = getattr(importlib.import_module(module), attribute)
        for parameter in command.params if command else ():
            if parameter.type is click.STRING and not isinstance(parameter, SettingOption):
                parameter.type = Text()
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options in front of the command's name.

        Raises:
            UsageError: an option is not one of the group's own.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if all(arg.startswith("-") for arg in args):
                raise
            message = (
                f"No such option {error.option_name!r} here. Write options after the command: "
                f"{ctx.command_path} COMMAND {error.option_name}"
            )
            raise click.NoSuchOption(error.option_name, message, ctx=ctx) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` begin with; its settings default to those in config.toml.

        Raises:
            UsageError: there is none; the message suggests one of this or another group.
        """
        word = args[0]
        command = self.get_command(ctx, word)
        if command is None and not ctx.resilient_parsing and not word.startswith("-"):
            meant = _suggestion(ctx, word)
            hint = f" Did you mean {meant}?" if meant else ""
            raise click.UsageError(f"No such command {word!r}.{hint}", ctx)
        if command is not None and not ctx.resilient_parsing:
            options = [option for option in command.params if isinstance(option, SettingOption)]
            names = frozenset(option.name or "" for option in options)
            ctx.default_map = {word: config.Defaults(names)}
        return super().resolve_command(ctx, args)


def _suggestion(ctx: click.Context, word: str) -> str | None:
    """Return the command line that was probably meant by `word`; None if none is near."""
    root, group = ctx.find_root(), ctx.command
    assert isinstance(group, click.Group)
    if near := get_close_matches(word, group.list_commands(ctx), n=1):
        return f"{ctx.command_path} {near[0]}"
    commands = list(_commands(root))
    name = root.info_name or "mac"
    exact = [path for path in commands if path.rpartition(" ")[2] == word]
    if exact or word in _SYNONYMS:
        return f"{name} {(exact or [_SYNONYMS[word]])[0]}"
    last = {path.rpartition(" ")[2]: path for path in reversed(commands)}
    if near := get_close_matches(word, last, n=1):
        return f"{name} {last[near[0]]}"
    return None


def _commands(root: click.Context) -> Iterator[str]:
    """Yield the commands below the root group as they are typed: "ask", "store ls"."""
    assert isinstance(root.command, LazyGroup)
    yield from root.command.list_commands(root)
    for name in _GROUPS:
        group = root.command.get_command(root, name)
        if isinstance(group, click.Group):
            yield from (f"{name} {child}" for child in group.list_commands(root))
