"""The peak memory of a piece of work."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@dataclass(slots=True)
class PeakMemory:
    """Bytes, known when the work is done.

    Attributes:
        process: the largest resident size of this process meanwhile; where the system cannot count
            anew (Linux can), since the process began.
        device: the most that was allocated on a CUDA device meanwhile; None on other devices.
    """

    process: int = 0
    device: int | None = None


@contextmanager
def peak_memory(cuda: bool = False) -> Iterator[PeakMemory]:
    """Measure the peak memory of a `with` block.

    Args:
        cuda: whether a CUDA device is used.
    """
    measured = PeakMemory()
    with suppress(OSError):
        _RESET.write_text("5")  # tells the kernel to count the peak from now on
    if cuda:
        import torch

        torch.cuda.reset_peak_memory_stats()
    try:
        yield measured
    finally:
        measured.process = _high_water()
        if cuda:
            measured.device = int(torch.cuda.max_memory_allocated())


def _high_water() -> int:
    with suppress(OSError):
        if match := re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text()):
            return int(match[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
