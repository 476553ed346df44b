"""Runs what is measured in a process of its own, so that time and peak memory are its alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# Linux counts to a process the memory that its parent took when it started it. So the process is
# started by one that takes hardly any.
_LAUNCHER = """
import os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen([sys.executable, *sys.argv[2:]])
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - begun
with open(sys.argv[1], "w") as file:
    print(seconds, usage.ru_maxrss, file=file)
sys.exit(0 if status == 0 else 1)
"""


class Measured(NamedTuple):
    """What a process wrote to stdout, how long it took, and its peak memory."""

    output: str
    seconds: float
    megabytes: float


def run(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Run Python with these arguments, and measure it.

    Args:
        arguments: of the interpreter.
        environment: added to this process's.

    Raises:
        SystemExit: it failed; the message holds what it wrote to stderr.
    """
    with tempfile.TemporaryDirectory(prefix="mac-measured-") as folder:
        figures = Path(folder, "figures")
        process = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(figures), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        if process.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed: {process.stderr}")
        seconds, peak = figures.read_text().split()
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on a Mac, KiB elsewhere
    return Measured(process.stdout, float(seconds), int(peak) * unit / 2**20)
