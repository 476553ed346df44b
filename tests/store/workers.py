"""Programs that tests run in other processes: `python -m tests.store.workers NAME FOLDER ...`."""

import itertools
import os
import random
import signal
import sys
from pathlib import Path

from store import Labels, Store, Target, keyblock, keys
from tests.store import pruned, samples

keyblock._MIN_DEAD = 4  # compact often


def churn(path, seed):
    """Add, update and remove documents until killed; "ready" on stdout once there is a store."""
    chance = random.Random(int(seed))
    with samples.create(path) as store:
        print("ready", flush=True)
        for version in itertools.count(int(seed) * 100_000):
            source = chance.choice("abcdefgh")
            if chance.random() < 0.3:
                store.remove(source)
            else:
                samples.put(store, source, version)


def scenario(path):
    """Everything that writes: making a store, adding, updating, removing, compacting, mending."""
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
        next(path.glob("keys-*")).unlink()
        samples.put(store, "d", 9, count=2)
        yield store


def states(path):
    """What the store holds after each step of the scenario."""
    return [{}, *(samples.verify(store) for store in scenario(path))]


class Killer:
    """Kills this process at the n-th of the moments at which something is about to be written."""

    def __init__(self, moment):
        self.moment = moment
        self.write, self.fsync = keys._write, os.fsync

    def tick(self, *_):
        self.moment -= 1
        if self.moment == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def torn_write(self, file, data):
        self.tick()
        self.write(file, data[: len(data) // 2])
        self.tick()
        self.write(file, data[len(data) // 2 :])
        self.tick()

    def install(self):
        keys._write = self.torn_write
        keys.os.fsync = lambda handle: (self.tick(), self.fsync(handle))
        connect = sys.modules["store.database"].sqlite3.connect

        def traced(*arguments, **options):
            connection = connect(*arguments, **options)
            connection.set_trace_callback(self.tick)
            return connection

        sys.modules["store.database"].sqlite3.connect = traced


def pruning_scenario(path):
    """Every way to prune, undoing, and making it final."""
    with samples.create(path) as store:
        for number in range(4):
            pruned.fill(store, 1, first=number)
            yield store
        for strategy, left in (("merge", 5), ("random", 3)):
            store.prune(strategy, Target(number=left))
            yield store
        store.undo()
        yield store
        store.prune("average", Target(number=2))
        yield store
        store.forget_pruned()
        yield store


def pruned_state(store):
    """What is in the store, and how often something can be undone."""
    (undoable,) = store._connection.execute("SELECT count(*) FROM prunes").fetchone()
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
            found = samples.verify(store)
            assert found in allowed, (moment, found)
            # Dying never spoils the key file; it is missing only where the scenario deletes it.
            assert not store._key_block.damaged or found == allowed[-2], moment
            samples.put(store, "after", 1, count=2)
            assert samples.verify(store) == found | {"after": 1}
            assert len(list(path.glob("keys-*"))) <= 2


def kill_pruning(folder, stride):
    """Kill the pruning scenario at every `stride`-th moment, and check what is left each time."""
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
            store.prune("merge", Target(number=2))
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
    with Store.open(path) as store:
        print("ready", flush=True)
        rounds = 0
        while store.document("stop") is None:
            assert list(store.verify()) == []
            store.vacuum()
            rounds += 1
        print(rounds, flush=True)


if __name__ == "__main__":
    _, name, folder, *rest = sys.argv
    globals()[name](Path(folder), *rest)
