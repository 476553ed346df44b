"""`mac log`: the questions that were asked of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maccli import config
from maccli.commands import options
from maccli.commands.store.documents import confirm
from maccli.errors import no_documents
from maccli.output import Output, count, one_line
from maccli.service.sources import where

if TYPE_CHECKING:
    from maccli.api import Mac
    from store.log import LogEntry

_SAID = {"not sure": "Not sure.", "nothing relevant": "Nothing relevant found."}
_SHOWN = 20


@click.command()
@options.number("--limit", "-n", help=f"Show at most N.  [default: {_SHOWN}]")
@click.option(
    "--match", metavar="TEXT", help="Only questions with TEXT in them, or in their answers."
)
@options.apply(options.store_option, options.json_option, options.nl_option)
@click.option("--clear", is_flag=True, help="Remove all questions from the log instead.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before clearing the log.")
def log(
    limit: int | None,
    match: str | None,
    store: Path | None,
    as_json: bool,
    as_nl: bool,
    clear: bool,
    yes: bool,
) -> None:
    """Show the questions that were asked, with answers and sources.

    The newest stands last. Times are in UTC, and each answer has beside it how likely it is right.
    The store keeps the newest 10,000 questions, also of documents that are removed; log = "off" in
    config.toml, or MAC_LOG=off, keeps none from then on.

    \b
    Examples:
      mac log
      mac log --match bridge --nl
      mac log --clear
    """
    out = Output(json=as_json, nl=as_nl)
    if clear and (limit is not None or match is not None or not out.human):
        raise click.UsageError("--clear empties the whole log; it goes without other options.")
    with options.open_mac(out, store) as mac:
        if clear:
            _clear(out, mac, yes)
            return
        entries = mac.log(limit=limit or _SHOWN, match=match)[::-1]
        missing = mac.store is None
    if not out.human:
        out.records(map(asdict, entries))
    elif entries:
        _write(out, entries)
    elif missing:
        out.note(no_documents(mac.folder, exists=False).message)
    elif match:
        out.note("No question matches.")
    else:
        off = config.text("log") == "off"
        out.note(f"The log is empty{', and off: see mac config show' if off else ''}.")


def _clear(out: Output, mac: Mac, yes: bool) -> None:
    refusal = "Nothing was removed: there is no terminal to ask on."
    confirm("Remove all questions from the log?", refusal, yes)
    removed = mac.clear_log()
    out.note(f"Removed {count(removed, 'question')} from the log.")


def _write(out: Output, entries: Sequence[LogEntry]) -> None:
    """Write each question on a line, below it the answer and the first source."""
    for entry in entries:
        when = entry.asked_at[:16].replace("T", " ")
        out.text(f"{when}  {one_line(entry.question)}")
        sure = "" if entry.probability is None else f" ({100 * entry.probability:.0f} % sure)"
        said = f"{entry.answer}{sure}" if entry.answer else _SAID.get(entry.outcome, "")
        out.text(f"  {one_line(said)}")
        if entry.sources:
            out.text(f"  {one_line(where(entry.sources[0]))}")
