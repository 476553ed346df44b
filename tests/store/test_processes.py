import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from store import Store
from tests.store import samples
from tests.store.samples import put, verify


@contextmanager
def worker(name, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.workers", name, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def finish(process):
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_chosen_moments(tmp_path):
    with worker("kill_everywhere", tmp_path, 20) as process:
        kills = int(finish(process))
    assert kills >= 20


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_random_moments(path):
    chance = random.Random(0)
    seen = {}
    for seed in range(60):
        if seed >= 15 and len(seen) > 4:  # a slow machine writes less before it is killed
            break
        with worker("churn", path, seed) as process:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            time.sleep(chance.uniform(0, 0.06))
            process.send_signal(signal.SIGKILL)
            process.wait()
        with Store.open(path) as store:
            versions = verify(store)
            assert not store._key_block.damaged
            # Every change in the history is whole: the last one of each source is what is there.
            last = {}
            for change in store.history(limit=10**9):
                last.setdefault(change.source, change)
            there = {source for source, change in last.items() if change.action != "removed"}
            assert there == set(versions)
            seen |= versions
    assert len(seen) > 4


def test_two_writers_queue_while_others_ask_verify_and_vacuum(path):
    with samples.create(path) as store:
        put(store, "first")
    number = 40
    with (
        worker("ingest", path, "x", number) as x,
        worker("ingest", path, "y", number) as y,
        worker("follow", path) as reader,
        worker("look", path) as verifier,
    ):
        for process in (x, y, reader, verifier):
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        for process in (x, y):
            process.stdin.write("go\n")
            process.stdin.flush()
        finish(x)
        finish(y)
        with Store.open(path) as store:
            put(store, "stop")
        assert int(finish(reader)) > 0
        assert int(finish(verifier)) > 0
    with Store.open(path) as store:
        versions = verify(store)
        assert not store._key_block.damaged
        actions = [change.action for change in store.history(limit=1000)]
    own = {f"{name}-{n}": n for name in "xy" for n in range(number)}
    assert versions == own | {"first": 1, "stop": 1, "shared": number - 1}
    assert actions.count("updated") == 2 * number - 1
