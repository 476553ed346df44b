"""`mac store`: what is in the store, and keeping it small and whole."""

from __future__ import annotations

import click

from maccli.commands.groups import LazyGroup

_HERE = "maccli.commands.store"


@click.group(
    cls=LazyGroup,
    lazy={
        "ls": f"{_HERE}.ls:ls",
        "show": f"{_HERE}.show:show",
        "rm": f"{_HERE}.rm:rm",
        "stats": f"{_HERE}.stats:stats",
        "prune": f"{_HERE}.prune:prune",
        "verify": f"{_HERE}.care:verify",
        "vacuum": f"{_HERE}.care:vacuum",
        "index": f"{_HERE}.care:index",
        "export": f"{_HERE}.move:export",
        "import": f"{_HERE}.move:import_",
        "copy": f"{_HERE}.move:copy",
        "rebuild": f"{_HERE}.rebuild:rebuild",
        "path": f"{_HERE}.stats:path",
    },
)
def store() -> None:
    """List, show and remove documents; shrink, check and move the store.

    \b
    Examples:
      mac store ls
      mac store show notes/race.md
      mac store rm "drafts/*"
    """
