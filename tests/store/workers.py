"""Programs that tests run in other processes: `python -m tests.store.workers NAME FOLDER ...`."""

import itertools
import os
import random
import signal
import sys
from pathlib import Path

from store import Labels, Store
from store.index import connection, keys
from tests.store import samples

keys._MIN_DEAD = 4  # fold keys and fold them away often
keys.ROW = 4


def churn(path, seed):
    """Add, update, extend and remove documents until killed.

    Prints "ready" once there is a store, and each change before it is begun and when it is done.
    """
    chance = random.Random(int(seed))
    with samples.create(path) as store:
        _ = (
            store.database,
            store.codec,
        )  # imported now: a kill is to come while something is written
        print("ready", flush=True)
        for version in itertools.count(int(seed) * 100_000):
            source = chance.choice("abcdefgh")
            if chance.random() < 0.3:
                print("begun", source, None, flush=True)
                store.remove(source)
                print("done", source, None, flush=True)
                continue
            made = samples.chunks(source, version)
            first = chance.randint(0, len(made))
            print("begun", source, version, flush=True)
            store.put(
                source,
                content_hash=f"{version} {len(made)}",
                chunking="c1",
                chunks=made[:first],
                expected=len(made),
            )
            print("done", source, version, flush=True)
            store.extend(source, content_hash=f"{version} {len(made)}", chunks=made[first:])


def scenario(path):
    """Everything that writes: making a store, adding, updating, removing, folding keys."""
    with samples.create(path) as store:
        for version, source in enumerate("abcab", start=1):
            samples.put(store, source, version, count=3)
            yield store
        store.rename("a", "e", content_hash=store.document("a").content_hash)
        yield store
        samples.revise(store, "e", "a")
        yield store
        store.relabel("e", Labels(tags=("kept",), date="2026-01-01"))
        yield store
        for source in "ec":
            store.remove(source)
            yield store
        made = samples.chunks("d", 9, 6)
        store.put("d", content_hash="9 6", chunking="c1", chunks=made[:2], expected=6)
        yield store
        store.extend("d", content_hash="9 6", chunks=made[2:])
        yield store


def states(path):
    """What the store holds after each step of the scenario."""
    return [{}, *(state(store) for store in scenario(path))]


def state(store):
    """The documents' versions, and how many of their chunks there are."""
    versions = samples.verify(store)
    return {
        source: (version, store.document(source).chunks) for source, version in versions.items()
    }


class Killer:
    """Kills this process at the n-th of the moments at which SQLite is about to do something."""

    def __init__(self, moment):
        self.moment = moment

    def tick(self, *_):
        self.moment -= 1
        if self.moment == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self):
        connect = connection.sqlite3.connect

        def traced(*arguments, **options):
            opened = connect(*arguments, **options)
            opened.set_trace_callback(self.tick)
            return opened

        connection.sqlite3.connect = traced


def pruning_scenario(path):
    """Every way to prune, undoing, and making it final."""
    from store.pruning.prune import forget, prune, undo
    from store.pruning.target import Target
    from tests.store import pruned

    with samples.create(path) as store:
        for number in range(4):
            pruned.fill(store, 1, first=number)
            yield store
        for strategy, left in (("merge", 5), ("random", 3)):
            prune(store, strategy, Target(number=left))
            yield store
        undo(store)
        yield store
        prune(store, "average", Target(number=2))
        yield store
        forget(store)
        yield store


def pruned_state(store):
    """What is in the store, and how often something can be undone."""
    from tests.store import pruned

    (undoable,) = store.connection.execute("SELECT count(*) FROM prunes").fetchone()
    keys = {chunk_id: key.tobytes() for chunk_id, key in samples.all_keys(store).items()}
    return pruned.readings(store), keys, undoable


def run_until_killed(path, moment, scenario=scenario):
    """Run the scenario in a child that is killed at `moment`; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            Killer(moment).install()
            for _ in scenario(path):
                pass
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def kill_everywhere(folder, stride):
    """Kill the scenario at every `stride`-th moment, and check what is left each time."""
    allowed = states(folder / "reference")
    for number, moment in enumerate(itertools.count(1, int(stride))):
        path = folder / f"bank{moment}"
        if not run_until_killed(path, moment):
            print(number, flush=True)
            return
        with samples.create(path) as store:
            found = state(store)
            assert found in allowed, (moment, found)
            samples.put(store, "after", 1, count=2)
            assert state(store) == found | {"after": (1, 2)}


def kill_pruning(folder, stride):
    """Kill the pruning scenario at every `stride`-th moment, and check what is left each time."""
    from store.pruning.prune import prune
    from store.pruning.target import Target
    from tests.store import pruned

    states = [pruned_state(store) for store in pruning_scenario(folder / "reference")]
    allowed = [({}, {}, 0), *states]
    for number, moment in enumerate(itertools.count(1, int(stride))):
        path = folder / f"bank{moment}"
        if not run_until_killed(path, moment, pruning_scenario):
            print(number, flush=True)
            return
        with samples.create(path) as store:
            pruned.check(store)
            assert pruned_state(store) in allowed, moment
            pruned.fill(store, 2)
            prune(store, "merge", Target(number=2))
            pruned.check(store)


def ingest(path, name, number):
    """Add `number` documents of one's own, and one that every worker replaces all the time."""
    with samples.create(path) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        for version in range(int(number)):
            samples.put(store, f"{name}-{version}", version)
            samples.put(store, "shared", version)


def follow(path):
    """Check the store over and over until there is a document "stop"."""
    with Store.open(path) as store:
        print("ready", flush=True)
        rounds = 0
        while store.document("stop") is None:
            samples.verify(store)
            assert len(dict(store.search("chunk of shared", limit=5))) <= 5
            rounds += 1
        print(rounds, flush=True)


def look(path):
    """Verify and vacuum the store over and over until there is a document "stop"."""
    from store.care.vacuum import vacuum
    from store.care.verify import verify

    with Store.open(path) as store:
        print("ready", flush=True)
        rounds = 0
        while store.document("stop") is None:
            assert list(verify(store)) == []
            vacuum(store)
            rounds += 1
        print(rounds, flush=True)


if __name__ == "__main__":
    _, name, folder, *rest = sys.argv
    globals()[name](Path(folder), *rest)
