"""Kill -9 at random moments of everything that writes to a store, and look at what is left.

    python -m benchmarks.kill --kills 200

Each round takes one kind of work (ingest, sync, remove, compaction of the keys, prune, undo,
vacuum, import, copy, rebuild, migration), starts it in a child process on a copy of a small store,
kills the child at a random moment within the time that the work takes, and checks that

- `verify` finds nothing wrong, and every document reads as it was written (or as a prune left it);
- each document is as it was before or as it is after the work; where the work is one transaction,
  all of them are as before or all as after;
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

from benchmarks.kill_works import BANK, WORKS, State, Work, look, migrate
from store import StoreNotFoundError


def in_child(work: Work, folder: Path, after: float | None) -> tuple[bool, float]:
    """Do the work in a child, killed after so many seconds; whether it was, and the time taken."""
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
    """Whether every document (or the whole store) is as it was before or as it is afterwards."""
    if work.whole:
        return found in (before, after)
    return all(
        found.get(source) in (before.get(source), after.get(source))
        for source in found.keys() | before.keys() | after.keys()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
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
            before = {} if work.do is migrate else documents_of(trial / BANK)
            _, seconds = in_child(work, trial, None)
            after = look(trial / BANK)
            starts[work.name] = start, after if work.do is migrate else before, after, seconds
            shutil.rmtree(trial)
        kills = {work.name: 0 for work in WORKS}
        tries = 0
        while sum(kills.values()) < arguments.kills:
            work = WORKS[tries % len(WORKS)]
            tries += 1
            start, before, after, seconds = starts[work.name]
            trial = base / "trial"
            shutil.copytree(start, trial)
            killed, _ = in_child(work, trial, chance.uniform(0, seconds))
            kills[work.name] += killed
            found = documents_of(trial / BANK)
            assert allowed(work, found, before, after), (work.name, found)
            work.do(trial)
            assert look(trial / BANK) == after, work.name
            shutil.rmtree(trial)
    for kind, number in kills.items():
        print(f"{kind:24} {number:4} kills, 0 losses")
    print(f"{sum(kills.values())} kills in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
