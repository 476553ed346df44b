"""`mac store verify` and `mac store vacuum`: keeping a store whole and small."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from maccli import config, errors
from maccli.commands import options
from maccli.output import Output, count, size
from maccli.reading.files import displayed

if TYPE_CHECKING:
    from store.bank import Store
    from store.verify import Problem

_ADVICE = {
    "repair": "mac store verify --repair rebuilds it.",
    "ingest": "Run mac store verify --repair, then ingest the document again.",
    "index": "mac store index makes it anew.",
    "restore": "Restore the folder from a backup, or ingest the documents into another store.",
}


@click.command("verify")
@click.option("--repair", is_flag=True, help="Rebuild keys, full-text search, digests and sums.")
@click.option(
    "--drop-damaged", is_flag=True, help="With --repair: remove documents that lost something."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before removing documents.")
@options.apply(options.store_option, options.json_option, options.quiet_option)
@click.pass_context
def verify(
    ctx: click.Context,
    repair: bool,
    drop_damaged: bool,
    yes: bool,
    store_folder: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check that nothing in the store is damaged; exit code 1 if something is.

    Looks at the digest and content of every modulation, the index, the keys, full-text search and
    all sums, and writes one line for each problem with what to do about it. --repair rebuilds what
    can be rebuilt. Documents whose modulations are damaged are named; ingest them again.

    \b
    Examples:
      mac store verify
      mac store verify --repair
      mac store verify --repair --drop-damaged --yes --json
    """
    out = Output(json=as_json, quiet=quiet)
    if drop_damaged and not repair:
        raise click.UsageError("--drop-damaged goes with --repair.")
    if drop_damaged and not yes:
        _confirm()
    with open_or_refuse(store_folder) as bank:
        chunks = bank.stats().chunks
        damaged = _repair(out, bank, chunks, drop_damaged) if repair else []
        found = []
        with out.progress(chunks, "chunk", "verify") as progress:
            for problem in bank.verify(progress.advance):
                if out.json:
                    found.append(asdict(problem))
                else:
                    found.append({})
                    out.text(_line(problem))
        numbers = bank.stats()
    if out.json:
        out.record(
            {
                "path": str(bank.path),
                "documents": numbers.documents,
                "chunks": numbers.chunks,
                "problems": found,
                "marked": [] if drop_damaged else damaged,
                "removed": damaged if drop_damaged else [],
            }
        )
    else:
        where = f"{count(numbers.documents, 'document')}, {count(numbers.chunks, 'chunk')}"
        out.note(f"{count(len(found), 'problem') if found else 'All is well'}: {where}.")
    if found:
        ctx.exit(errors.FAILED)


@click.command("index")
@click.option("--drop", is_flag=True, help="Delete the index instead.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="Work with so many.  [default: all cores]"
)
@options.apply(options.store_option, options.json_option, options.quiet_option)
def index(
    drop: bool, threads: int | None, store_folder: str | None, as_json: bool, quiet: bool
) -> None:
    """Make an index for mac ask --approximate, or bring it up to date.

    Worth it from some 100,000 chunks on: then a question need not be compared with every key.
    The index proposes chunks, whose relevance is then computed exactly; it may miss one. What was
    added since it was made is searched besides it, what was removed is left out. Removing much, or
    undoing a prune, makes it useless; then all keys are searched until this command has run again.
    It takes about 0.5 kB a chunk, and may be deleted at any time.

    \b
    Examples:
      mac store index
      mac store index --drop
    """
    out = Output(json=as_json, quiet=quiet)
    with open_or_refuse(store_folder) as bank:
        if drop:
            there = bank.drop_index()
            if out.json:
                out.record({"dropped": there})
            else:
                out.note("Deleted the index." if there else "There was no index.")
            return
        known = bank.indexed()
        total = bank.stats().chunks if known is None else known.later
        with out.progress(total, "key", "index") as progress:
            made = bank.index_keys(threads=threads or _cores(), advance=progress.advance)
    if out.json:
        out.record(asdict(made))
    else:
        out.note(f"Indexed {count(made.keys, 'key')}: {size(made.bytes)}.")


@click.command("vacuum")
@click.option("--dry-run", is_flag=True, help="Tell what could be given back, and change nothing.")
@options.apply(options.store_option, options.json_option)
def vacuum(dry_run: bool, store_folder: str | None, as_json: bool) -> None:
    """Give back the space of removed documents, and of copies made before an upgrade.

    Prunes become final: mac store undo can no longer take back those made before.
    The store can be read meanwhile. It needs as much free space as the store takes, for a while.

    \b
    Examples:
      mac store vacuum --dry-run
      mac store vacuum
    """
    out = Output(json=as_json)
    with open_or_refuse(store_folder) as bank:
        space = bank.space()
        freed = space.reclaimable if dry_run else bank.vacuum()
        total = bank.space().total
    if out.json:
        out.record({"freed": freed, "total_bytes": total, "dry_run": dry_run})
    elif dry_run:
        out.text(f"Would free about {size(freed)} of {size(total)}.")
    else:
        out.text(f"Freed {size(max(freed, 0))}; the store takes {size(total)}.")


def open_or_refuse(store_folder: str | None) -> Store:
    """Open the store that flags and settings mean; refuse if there is none yet.

    Raises:
        MacError: the default store is not there yet.
        StoreError: it cannot be used, or was named and is not there.
    """
    bank = options.open_store(store_folder)
    if bank is None:
        folder = config.folder("store", store_folder)
        raise errors.MacError(f"There is no store in {folder} yet.", "mac ingest FILE makes one.")
    return bank


def _cores() -> int:
    """Return how many cores this process may use."""
    import os

    limit = os.environ.get("OMP_NUM_THREADS", "")
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    return int(limit) if limit.isdecimal() and int(limit) else cores or 1


def _repair(out: Output, bank: Store, chunks: int, drop: bool) -> list[str]:
    with out.progress(chunks, "chunk", "repair") as progress:
        damaged = list(bank.repair(drop_damaged=drop, advance=progress.advance))
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


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise errors.MacError(
            "Not repaired: nobody to ask whether documents may be removed.",
            "Add --yes to remove the damaged ones without asking.",
            errors.USAGE,
        )
    click.confirm("Remove all documents that are damaged?", abort=True, err=True)
