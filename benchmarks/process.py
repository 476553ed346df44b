"""Runs what is measured in a process of its own, so that time and peak memory are its alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


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
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    # `communicate` would lose the memory figure. Reading one pipe after the other is enough for
    # commands that write little to stderr.
    assert process.stdout is not None and process.stderr is not None
    output, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}: {errors}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return Measured(output, seconds, usage.ru_maxrss * unit / 2**20)
