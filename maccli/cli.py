"""The command `mac`: its subcommands, and what happens to errors. Nothing heavy here."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from maccli import errors, output
from maccli.commands.groups import LazyGroup


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"mac {version('maccli')}")
    except PackageNotFoundError:  # run from a checkout
        click.echo("mac, not installed")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    lazy={
        "ingest": "maccli.commands.ingest:ingest",
        "ask": "maccli.commands.asking.ask:ask",
        "chat": "maccli.commands.asking.chat:chat",
        "search": "maccli.commands.asking.search:search",
        "log": "maccli.commands.asking.log:log",
        "serve": "maccli.commands.serve:serve",
        "mcp": "maccli.commands.mcp:mcp",
        "store": "maccli.commands.store:store",
        "model": "maccli.commands.model:model",
        "train": "maccli.commands.train.checkpoint:train",
        "eval": "maccli.commands.eval:evaluate",
        "study": "maccli.commands.study:study",
        "config": "maccli.commands.config:config",
        "train-judge": "maccli.commands.train.judge:train_judge",
        "train-rival": "maccli.commands.train.rival:train_rival",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Ask a small local language model about your own files.

    \b
    Examples:
      mac ingest notes/*.md
      mac ask "Who won the sailing race?"
      mac search "sailing race"
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run `mac` and exit; the single place where an exception becomes a message and a code."""
    # File names may hold characters that the terminal cannot show, questions invalid UTF-8.
    for stream, errors_handler in (
        (sys.stdin, "replace"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors_handler)
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run `mac`, report failures on stderr and return the exit code."""
    try:
        result = cli.main(args=args, prog_name="mac", standalone_mode=False)
        return result if isinstance(result, int) else errors.DONE
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.possibilities:
            del error.possibilities[1:]  # the nearest one says it best
        said = io.StringIO()
        error.show(said)
        click.echo(output.clean(said.getvalue()), nl=False, err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        output.error("Interrupted.")
        return errors.INTERRUPTED
    except Exception as error:  # whatever it is, no traceback reaches the user
        if os.environ.get("MAC_DEBUG"):
            raise
        known = errors.explain(error)
        if known is None:
            known = errors.MacError(
                f"Unexpected {type(error).__name__}: {str(error).strip() or 'no message'}",
                "This is a bug in mac. Run it again with MAC_DEBUG=1 to see where, and report it.",
            )
        output.error(known.message, known.hint)
        return known.exit_code
