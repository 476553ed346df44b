"""A few of the kills that `python -m benchmarks.kill` does by the hundred."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_of_everything_that_writes():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kill", "--kills", "36", "--seed", "1"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = [line for line in done.stdout.splitlines() if line.endswith(" kills, 0 losses")]
    assert len(kinds) == 18
    assert sum(int(line.split(" kills")[0].split()[-1]) for line in kinds) >= 36
