"""`mac ingest --sync` and `--watch`: the store follows folders."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from maccli import errors
from maccli.commands.outcomes import Teller
from maccli.output import count
from maccli.reading import files
from maccli.reading.items import is_url
from store.errors import StoreBusyError

if TYPE_CHECKING:
    from maccli.api import Mac
    from maccli.service.report import HeldBack, Report

PAUSES = (1.0, 60.0)
"""Seconds before work that has failed is tried again: at first, and at most."""
BUSY_PAUSE = 5.0
"""Longest pause in seconds between tries while another process writes to the store."""
PATIENCE = 2.0
"""Seconds to wait for another process' lock, in which Ctrl-C is not noticed."""


def check_folders(paths: tuple[str, ...], name: str | None, *, watch: bool, dry_run: bool) -> None:
    """Refuse paths and options that do not go with --sync or --watch.

    Raises:
        UsageError: a path is no folder, or an option does not go with --sync.
        MacError: a folder to watch does not exist.
    """
    option = "--watch" if watch else "--sync"
    if name is not None:
        raise click.UsageError(f"--name does not go with {option}.")
    if watch and dry_run:
        raise click.UsageError("--dry-run does not go with --watch.")
    for path in paths:
        expanded = os.path.expanduser(path)
        if (
            path == "-"
            or is_url(path)
            or (os.path.exists(expanded) and not os.path.isdir(expanded))
        ):
            raise click.UsageError(f"{option} takes folders; {path} is not a folder.")
        if watch and not os.path.isdir(expanded):
            raise errors.MacError(f"{path}: no such folder", "Create it first, then watch it.")


def follow(mac: Mac, teller: Teller, ingest: Callable[[], Report]) -> int:
    """Bring the store up to date with the folders, and ask about what looks like an accident.

    Args:
        mac: the store.
        teller: reports the results.
        ingest: ingests the folders with `sync`.

    Returns:
        The exit code.
    """
    report = ingest()
    if report.held_back and not report.dry_run and _agreed(teller, report.held_back):
        mac.remove_held(report, on_outcome=teller.tell)
    code = teller.finish(report)
    _tell_held(teller, report.held_back)
    return code


def keep_following(
    mac: Mac, teller: Teller, paths: Sequence[str], ingest: Callable[[], Report]
) -> int:
    """Bring the store up to date with the folders after every change, until Ctrl-C.

    Args:
        mac: the store, whose own changes do not count.
        teller: reports the results.
        paths: the folders.
        ingest: ingests them with `sync`.

    Returns:
        The exit code.

    Raises:
        ModuleNotFoundError: watchfiles is not installed.
        StoreError: another model or another version of mac wrote the store.
    """
    from maccli.reading.watch import bursts

    out = teller.out
    reported: list[HeldBack] = []
    first = True
    mac.session.patience = PATIENCE
    try:
        for _ in bursts(files.outermost(paths), os.path.realpath(mac.folder)):
            report = _until_it_works(mac, teller, ingest)
            if report.interrupted:
                return teller.finish(report)
            if first or report.changed:
                teller.finish(report)
            _tell_held(teller, [held for held in report.held_back if held not in reported])
            reported = report.held_back
            if first:
                out.note("Following; Ctrl-C ends it.")
            first = False
    except KeyboardInterrupt:
        out.note("Stopped.")
    return errors.DONE


def _until_it_works(mac: Mac, teller: Teller, ingest: Callable[[], Report]) -> Report:
    """Ingest; after a failure that may pass, report it once and try again after growing pauses."""
    pause, most = PAUSES
    told = None
    while True:
        try:
            report = ingest()
        except Exception as error:
            if not errors.may_pass(error):
                raise
            known = errors.explain(error)
            message = (known.message if known else str(error)).removesuffix(".")
            if message != told:
                teller.out.problem(f"{message}; trying again until it works")
                told = message
            mac.close()  # what is tried again begins afresh
            time.sleep(min(pause, BUSY_PAUSE) if isinstance(error, StoreBusyError) else pause)
            pause = min(2 * pause, most)
        else:
            if told is not None:
                teller.out.note("It works again.")
            return report


def _agreed(teller: Teller, held: Sequence[HeldBack]) -> bool:
    """Ask on a terminal whether to remove what looks like an accident."""
    if not teller.out.human or not sys.stdin.isatty():
        return False
    for folder in held:
        teller.out.warn(f"{files.displayed(folder.folder)} {folder.reason}.")
    number = sum(len(folder.documents) for folder in held)
    return click.confirm(f"Remove {count(number, 'document')} from the store?", err=True)


def _tell_held(teller: Teller, held: Sequence[HeldBack]) -> None:
    for folder in held:
        documents = count(len(folder.documents), "document was", "documents were")
        them = "it" if len(folder.documents) == 1 else "them"
        teller.out.problem(
            f"{files.displayed(folder.folder)} {folder.reason}; its {documents} kept "
            f"(--yes removes {them})"
        )
