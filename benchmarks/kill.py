"""Kill -9 at random moments of everything that writes to a store, and look at what is left.

    python -m benchmarks.kill --kills 280 --seed 2

Each round takes one kind of work (ingest at once and in parts, sync, remove, folding keys, prune,
undo, vacuum, import, export, copy, rebuild, repair), starts it in a child process on a copy of a
small store, kills the child at a random moment within the time that the work takes, and checks that

- the store opens, `verify` finds nothing wrong (after a second repair, where a repair was killed),
  and every document reads as it was written (or as a prune left it);
- each document is as it was before or as it is after the work, or has the first parts of what it
  has after it; where the work is one transaction, all are as before or all as after;
- the same work, done again in this process, ends in the state it ends in undisturbed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

from benchmarks.tools.kill_works import BANK, PART, WORKS, State, Work, look, mend, repair
from store import StoreNotFoundError


def in_child(work: Work, folder: Path, after: float | None) -> tuple[bool, float]:
    """Do the work in a child, killed after some seconds; return whether it was, and the time."""
    begun = time.perf_counter()
    child = os.fork()
    if child == 0:
        try:
            work.do(folder)
            os._exit(0)
        finally:
            os._exit(1)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0, f"{work.name} failed"
    return killed, time.perf_counter() - begun


def documents_of(folder: Path) -> State:
    try:
        return look(folder)
    except StoreNotFoundError:
        return {}


def allowed(work: Work, found: State, before: State, after: State) -> bool:
    """Return whether every document is as it was before or as it is afterwards, or a part of it."""
    if work.whole:
        return found in (before, after)
    for source in found.keys() | before.keys() | after.keys():
        document = found.get(source)
        if document in (before.get(source), after.get(source)):
            continue
        final = after.get(source)
        if "in parts" not in work.name or document is None or final is None:
            return False
        # `look` has compared its chunks with what they must be.
        if document[0] != final[0] or document[1] > final[1] or document[1] % PART:
            return False
    return True


def is_whole(work: Work, folder: Path, before: State, after: State) -> bool:
    """Return whether nothing is lost, and the work can be done again."""
    try:
        if work.do is repair and (folder / BANK).exists():
            mend(folder)
        if not allowed(work, documents_of(folder / BANK), before, after):
            return False
        work.do(folder)
        return look(folder / BANK) == after
    except Exception as error:
        print(f"{work.name}: {type(error).__name__}: {error}")
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=280)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        starts: dict[str, tuple[Path, State, State, float]] = {}
        for work in WORKS:
            start = base / work.name.replace(" ", "-")
            start.mkdir()
            work.prepare(start)
            trial = base / "trial"
            shutil.copytree(start, trial)
            before = documents_of(trial / BANK)
            _, seconds = in_child(work, trial, None)
            starts[work.name] = start, before, look(trial / BANK), seconds
            shutil.rmtree(trial)
        kills = {work.name: 0 for work in WORKS}
        losses = {work.name: 0 for work in WORKS}
        tries = 0
        while sum(kills.values()) < arguments.kills:
            work = WORKS[tries % len(WORKS)]
            tries += 1
            start, before, after, seconds = starts[work.name]
            trial = base / "trial"
            shutil.copytree(start, trial)
            killed, _ = in_child(work, trial, chance.uniform(0, seconds))
            kills[work.name] += killed
            losses[work.name] += not is_whole(work, trial, before, after)
            shutil.rmtree(trial)
    for kind, number in kills.items():
        print(f"{kind:24} {number:4} kills, {losses[kind]} losses")
    total = sum(losses.values())
    seconds = time.perf_counter() - begun
    print(f"{sum(kills.values())} kills, {total} losses in {seconds:.0f} s")
    raise SystemExit(bool(total))


if __name__ == "__main__":
    main()
