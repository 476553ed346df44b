"""`mac store prune` and `mac store undo`: a smaller bank, and the way back."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

from dataclasses import asdict

import click

from maccli import errors
from maccli.commands import options
from maccli.commands.store_care import open_or_refuse
from maccli.output import Output, Progress, count, size
from store.pruning import STRATEGIES, Strategy
from store.target import Target, TargetError


def _target(ctx: click.Context, param: click.Parameter, value: str) -> Target:
    """Read what `--to` was given."""
    try:
        return Target.parse(value)
    except TargetError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command("prune")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="merge",
    show_default=True,
    help="What becomes of what is too much.",
)
@click.option(
    "--to",
    "target",
    callback=_target,
    required=True,
    metavar="50%|N|SIZE",
    help="What is to be left: a share or number of the modulations, or their size (20MB).",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be left, and change nothing.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is left to chance.")
@options.apply(options.store_option, options.json_option, options.quiet_option)
def prune(
    strategy: Strategy,
    target: Target,
    dry_run: bool,
    seed: int,
    store_folder: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the memory smaller, at some cost in answers. mac store undo takes it back.

    merge puts the modulations of chunks that are alike together and averages the tokens that are
    nearest; nn-average averages them token by token, and average does so with random pairs. These
    three keep every chunk, its key and its text, so that it is found and named as before. random
    and usage drop chunks, which are then never found: random any, usage those that answers drew on
    least. What was there before is kept, until mac store vacuum deletes it.

    \b
    Examples:
      mac store prune --to 50%
      mac store prune --to 20MB --strategy nn-average --dry-run
      mac store prune --to 1000 --strategy usage --json
    """
    out = Output(json=as_json, quiet=quiet)
    with open_or_refuse(store_folder) as bank, out.progress(None, "merged", "prune") as bar:
        done = bank.prune(
            strategy, target, seed=abs(seed), dry_run=dry_run, progress=_Steps(bar).reached
        )
    if out.json:
        out.record({**asdict(done), "dry_run": dry_run})
    elif done.after == done.before:
        out.text(f"Nothing to do: {_sizes(done.before, done.bytes_before)}.")
    else:
        about = "about " if dry_run and strategy not in ("random", "usage") else ""
        out.text(
            f"{'Would leave' if dry_run else 'Left'} {done.after:,} of "
            f"{_sizes(done.before, done.bytes_before)}, {about}{size(done.bytes_after)}."
        )
        if not dry_run:
            out.note(
                "mac store undo takes it back; mac store vacuum makes it final and frees the space."
            )


@click.command("undo")
@click.option("--dry-run", is_flag=True, help="Tell what would be undone, and change nothing.")
@options.apply(options.store_option, options.json_option)
def undo(dry_run: bool, store_folder: str | None, as_json: bool) -> None:
    """Take back the last prune, exactly; once more takes back the one before.

    Documents that were changed or removed since the prune stay as they are now. After
    mac store vacuum there is nothing left to undo.

    \b
    Examples:
      mac store undo
      mac store undo --dry-run
    """
    out = Output(json=as_json)
    with open_or_refuse(store_folder) as bank:
        undone = bank.undoable() if dry_run else bank.undo()
        numbers = bank.stats()
    if undone is None:
        raise errors.MacError("There is no prune to undo.", "mac store vacuum makes prunes final.")
    if out.json:
        out.record({**asdict(undone), "dry_run": dry_run})
        return
    what = f"the prune of {undone.at} ({undone.strategy} to {undone.target})"
    if dry_run:
        out.text(
            f"Would undo {what}: {_sizes(undone.before, undone.bytes_before)} instead of "
            f"{undone.after:,}."
        )
    else:
        out.text(f"Undid {what}: {_sizes(numbers.modulations, numbers.modulation_bytes)}.")


class _Steps:
    """Moves a bar of unknown length, and tells the length beside it once it is known."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._done = 0

    def reached(self, done: int, total: int) -> None:
        if done < self._done:  # the size was not reached: once more, with fewer
            self._done = 0
        self._bar.advance(done - self._done)
        self._bar.tell(f"of {total:,}")
        self._done = done


def _sizes(modulations: int, octets: int) -> str:
    return f"{count(modulations, 'modulation')} ({size(octets)})"
