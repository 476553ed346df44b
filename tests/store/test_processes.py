import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
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
    seen = set()
    last = {}
    for seed in range(60):
        if seed >= 15 and len(seen) > 4:  # a slow machine writes less before it is killed
            break
        with worker("churn", path, seed) as process:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            time.sleep(chance.uniform(0, 0.06))
            process.send_signal(signal.SIGKILL)
            output = process.stdout.read()
            process.wait()
        begun = {}
        for line in output.splitlines(keepends=True):
            if not line.endswith("\n"):  # killed while it was written
                break
            kind, source, version = line.split()
            if kind == "done":
                last[source] = version
                begun = {}
            else:
                begun = {source: version}
        with Store.open(path) as store:
            versions = {source: str(version) for source, version in verify(store).items()}
            # What was said to be done is done; what was begun is done or not.
            allowed = [
                {source: version for source, version in states.items() if version != "None"}
                for states in (last, last | begun)
            ]
            assert versions in allowed
            last = dict(versions)
            seen |= set(versions)
    assert len(seen) > 4


def test_four_writers_queue_while_others_ask_verify_and_vacuum(path):
    with samples.create(path) as store:
        put(store, "first")
    number = 20
    with ExitStack() as stack:
        writers = [stack.enter_context(worker("ingest", path, name, number)) for name in "wxyz"]
        reader = stack.enter_context(worker("follow", path))
        verifier = stack.enter_context(worker("look", path))
        for process in (*writers, reader, verifier):
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        for process in writers:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in writers:
            finish(process)
        with Store.open(path) as store:
            put(store, "stop")
        assert int(finish(reader)) > 0
        assert int(finish(verifier)) > 0
    with Store.open(path) as store:
        versions = verify(store)
    own = {f"{name}-{n}": n for name in "wxyz" for n in range(number)}
    assert versions == own | {"first": 1, "stop": 1, "shared": number - 1}
