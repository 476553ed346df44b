"""`mac config`: the settings and where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from maccli import config as settings
from maccli.commands import options
from maccli.commands.groups import LazyGroup
from maccli.output import Output

if TYPE_CHECKING:
    from maccli.config import Value


@click.group(cls=LazyGroup)
def config() -> None:
    """Show the settings and where they come from.

    A flag beats an environment variable, which beats config.toml, which beats the default.

    \b
    Examples:
      mac config show
      mkdir -p "$(dirname "$(mac config path)")"
      echo 'k = 3' >> "$(mac config path)"
      echo 'encoder = "intfloat/multilingual-e5-small"' >> "$(mac config path)"
      mac store rebuild
    """


@config.command("path")
def path() -> None:
    """Print the path of config.toml.

    The file need not exist yet.

    \b
    Example:
      mkdir -p "$(dirname "$(mac config path)")"
      $EDITOR "$(mac config path)"
    """
    Output().text(str(settings.path()))


@config.command("show")
@options.json_option
def show(as_json: bool) -> None:
    """Show every setting and where its value comes from.

    \b
    Examples:
      mac config show
      mac config show --json
    """
    out = Output(json=as_json)
    rows = settings.show()
    if out.json:
        out.record({"path": str(settings.path()), "settings": rows})
        return
    out.table(
        [
            [
                row["name"],
                _shown(row["value"]),
                row["origin"],
                row["variable"],
                row["about"],
            ]
            for row in rows
        ],
        ["setting", "value", "from", "variable", "meaning"],
    )


def _shown(value: Value | None) -> str:
    if value is None:
        return ""
    return " ".join(value) if isinstance(value, tuple) else str(value)
