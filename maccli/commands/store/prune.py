"""`mac store prune`: a smaller memory, and the way back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from maccli import errors
from maccli.commands import options
from maccli.output import Output, count, size
from store.pruning.target import Target, TargetError

if TYPE_CHECKING:
    from maccli.api import Mac
    from store.pruning.prune import Strategy

STRATEGIES = ("merge", "nn-average", "average", "usage", "random")
"""As in `store.pruning.prune`, the default first."""


def _target(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return what `--to` says after checking it."""
    try:
        if value is not None:
            Target.parse(value)
    except TargetError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    return value


@click.command()
@click.option(
    "--to",
    "target",
    callback=_target,
    metavar="50%|N|SIZE",
    help="What to keep: a share or number of the modulations, or their size, such as 20MB.",
)
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    help="How to shrink (see above).  [default: merge]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", help="The random seed.  [default: 0]"
)
@click.option("--undo", is_flag=True, help="Take back the last prune instead.")
@click.option("--dry-run", is_flag=True, help="Show what would happen, and change nothing.")
@options.apply(options.store_option, options.json_option, options.quiet_option)
def prune(
    target: str | None,
    strategy: str | None,
    seed: int | None,
    undo: bool,
    dry_run: bool,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the memory smaller; answers get a little worse.

    merge joins the modulations of chunks that are alike and averages their nearest tokens;
    nn-average averages such modulations token by token, average does so with random pairs. These
    three keep every chunk's text and key, so that it is found and named as before. usage drops the
    chunks that answers drew on least, random drops any; dropped chunks are never found.

    --undo takes back the last prune exactly; repeat it for the one before. Documents that changed
    since stay as they are now. mac store vacuum makes prunes final and frees the space.

    \b
    Examples:
      mac store prune --to 50%
      mac store prune --to 20MB --strategy nn-average --dry-run
      mac store prune --to 1000 --strategy usage --json
      mac store prune --undo
    """
    out = Output(json=as_json, quiet=quiet)
    if undo:
        if target is not None or strategy is not None or seed is not None:
            raise click.UsageError("--undo goes without --to, --strategy and --seed.")
        with options.open_mac(out, store) as mac:
            _undo(out, mac, dry_run)
        return
    if target is None:
        raise click.UsageError(
            "Say how much to keep, such as --to 50%, or take back the last prune with --undo."
        )
    # One of the choices above.
    _prune(out, store, cast("Strategy", strategy or "merge"), target, seed or 0, dry_run)


def _prune(
    out: Output, folder: Path | None, strategy: Strategy, target: str, seed: int, dry_run: bool
) -> None:
    with (
        options.open_mac(out, folder) as mac,
        out.progress(None, "merged", "prune") as progress,
    ):
        done = mac.prune(strategy, target, seed=seed, dry_run=dry_run, progress=progress)
    if out.json:
        out.record({**asdict(done), "dry_run": dry_run})
    elif done.after == done.before:
        out.text(f"Nothing to do: {_sizes(done.before, done.bytes_before)}.")
    else:
        about = "about " if dry_run and strategy not in ("random", "usage") else ""
        out.text(
            f"{'Would keep' if dry_run else 'Kept'} {done.after:,} of "
            f"{_sizes(done.before, done.bytes_before)}, {about}{size(done.bytes_after)}."
        )
        if not dry_run:
            out.note(
                "mac store prune --undo takes it back; mac store vacuum makes it final and frees "
                "the space."
            )


def _undo(out: Output, mac: Mac, dry_run: bool) -> None:
    undone = mac.undo_prune(dry_run=dry_run)
    numbers = mac.stats()
    if undone is None:
        raise errors.MacError("There is no prune to undo.", "mac store vacuum makes prunes final.")
    if out.json:
        out.record({**asdict(undone), "dry_run": dry_run})
        return
    what = f"the prune of {undone.at} ({undone.strategy} to {undone.target})"
    if dry_run:
        before = _sizes(undone.before, undone.bytes_before)
        out.text(f"Would undo {what}: {before} instead of {undone.after:,}.")
    else:
        out.text(f"Undid {what}: {_sizes(numbers.modulations, numbers.modulation_bytes)}.")


def _sizes(modulations: int, octets: int) -> str:
    return f"{count(modulations, 'modulation')} ({size(octets)})"
