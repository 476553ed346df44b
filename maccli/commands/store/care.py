"""`mac store verify`, `vacuum` and `index`: keeping a store whole, small and quick.

`verify` and `index` call `store.care` and `store.near` themselves: problems are shown as they are
found, and an index is a matter of speed alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maccli import errors
from maccli.commands import options
from maccli.commands.store.documents import confirm
from maccli.output import Output, count, size
from maccli.reading.files import displayed

if TYPE_CHECKING:
    from store.care.verify import Problem
    from store.store import Store

_ADVICE = {
    "repair": "mac store verify --repair rebuilds it.",
    "ingest": "Run mac store verify --repair, then ingest the document again.",
    "restore": "Restore the folder from a backup, or ingest the documents into another store.",
}


@click.command()
@click.option("--repair", is_flag=True, help="Rebuild keys, full-text search and totals.")
@click.option("--drop-damaged", is_flag=True, help="With --repair: remove damaged documents.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before removing documents.")
@options.apply(options.store_option, options.json_option, options.quiet_option)
@click.pass_context
def verify(
    ctx: click.Context,
    repair: bool,
    drop_damaged: bool,
    yes: bool,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check that nothing in the store is damaged.

    This checks the database, every modulation, the keys, full-text search and all totals, and
    writes one line for each problem with what to do about it; the exit code is then 1. --repair
    rebuilds what can be rebuilt. Documents whose modulations are damaged are named; ingest them
    again.

    \b
    Examples:
      mac store verify
      mac store verify --repair
      mac store verify --repair --drop-damaged --yes --json
    """
    from store.care.verify import verify as problems_of

    out = Output(json=as_json, quiet=quiet)
    if drop_damaged and not repair:
        raise click.UsageError("--drop-damaged goes with --repair.")
    if drop_damaged:
        confirm(
            "Remove all documents that are damaged?",
            "Nothing was repaired: there is no terminal to ask on whether to remove documents.",
            yes,
        )
    with _no_repair_helps(), options.open_mac(out, store) as mac:
        opened = mac.require_store()
        chunks = opened.stats().chunks
        damaged = _repair(out, opened, chunks, drop_damaged) if repair else []
        problems = []
        with out.progress(chunks, "chunk", "verify") as progress:
            for problem in problems_of(opened, progress.advance):
                problems.append(problem)
                if not out.json:
                    out.text(_line(problem))
        numbers = opened.stats()
    if out.json:
        out.record(
            {
                "path": str(opened.path),
                "documents": numbers.documents,
                "chunks": numbers.chunks,
                "problems": [asdict(problem) for problem in problems],
                "marked": [] if drop_damaged else damaged,
                "removed": damaged if drop_damaged else [],
            }
        )
    else:
        where = f"{count(numbers.documents, 'document')}, {count(numbers.chunks, 'chunk')}"
        result = count(len(problems), "problem") if problems else "All is well"
        out.note(f"{result}: {where}.")
    if problems:
        ctx.exit(errors.FAILED)


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what could be freed, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before making prunes final.")
@options.apply(options.store_option, options.json_option)
def vacuum(dry_run: bool, yes: bool, store: Path | None, as_json: bool) -> None:
    """Free the space of removed documents; make prunes final.

    Prunes made before can no longer be undone; you are asked first. The store can be read
    meanwhile. For a while this needs as much free space as the store takes, and twice as much where
    the temporary folder is on the same disk.

    \b
    Examples:
      mac store vacuum --dry-run
      mac store vacuum
    """
    out = Output(json=as_json)
    with options.open_mac(out, store) as mac:
        if not dry_run and mac.undo_prune(dry_run=True) is not None:
            confirm(
                "Make prunes final? They can no longer be undone then.",
                "Nothing was removed: prunes can still be undone, and there is no terminal to ask "
                "on.",
                yes,
            )
        freed = mac.vacuum(dry_run=dry_run)
        total = mac.stats().total_bytes
    if out.json:
        out.record({"freed": freed, "total_bytes": total, "dry_run": dry_run})
    elif dry_run:
        out.text(f"Would free about {size(freed)} of {size(total)}.")
    else:
        out.text(f"Freed {size(max(freed, 0))}; the store takes {size(total)}.")


@click.command()
@options.apply(options.store_option, options.json_option, options.quiet_option)
def index(store: Path | None, as_json: bool, quiet: bool) -> None:
    """Make an index that speeds up search in large stores.

    It is worth it from about 100,000 chunks on. The index proposes chunks, whose relevance is then
    computed exactly; it may miss some. It is used as long as it fits the store, and what was added
    since is searched as well. It takes about 0.5 kB a chunk, and can be deleted at any time.

    \b
    Example:
      mac store index
    """
    from store.near import build

    out = Output(json=as_json, quiet=quiet)
    with options.open_mac(out, store) as mac:
        opened = mac.require_store()
        total = opened.stats().chunks
        with out.progress(total, "key", "index") as progress:
            built = build(opened, threads=_cores(), advance=progress.advance)
    if out.json:
        out.record(asdict(built))
    else:
        out.note(f"Indexed {count(built.keys, 'key')}: {size(built.bytes)}.")


def _cores() -> int:
    """Return how many cores this process may use."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    return int(limit) if limit.isdecimal() and int(limit) else cores or 1


@contextmanager
def _no_repair_helps() -> Iterator[None]:
    """Let an error that ends `verify` advise something else than `verify --repair`."""
    from store.errors import StoreCorruptError

    try:
        yield
    except StoreCorruptError as error:
        error.hint = _ADVICE["restore"]
        raise


def _repair(out: Output, store: Store, chunks: int, drop: bool) -> list[str]:
    """Repair the store; return the damaged documents after naming them."""
    from store.care.repair import repair

    with out.progress(chunks, "chunk", "repair") as progress:
        damaged = list(repair(store, drop_damaged=drop, advance=progress.advance))
    if out.human:
        for source in damaged:
            name = displayed(source)
            if drop:
                out.text(f"Removed {name}, which was damaged. Ingest it again.")
            else:
                out.text(f"{name} is damaged; the next ingest of it replaces it.")
    return damaged


def _line(problem: Problem) -> str:
    return f"{displayed(problem.message)}. {_ADVICE[problem.remedy]}"
