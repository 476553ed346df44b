"""A store that another process can read, with a checkpoint that it can load."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..conftest import Ran

ROOT = Path(__file__).parents[3]
MAC = (sys.executable, "-m", "maccli")
BRIDGE = "Varnholt is small. The bridge was opened by Ida Brandt."


@pytest.fixture
def environment(work: Path, tiny: Any, mac: Callable[..., Ran]) -> dict[str, str]:
    """The environment of a process that has the tiny checkpoint and two documents."""
    (work / "bridge.txt").write_text(BRIDGE)
    (work / "prize.md").write_text("# Prizes\n\nThe poetry prize went to Tomas Reyl.")
    assert mac("ingest", "bridge.txt", "prize.md").code == 0
    names = ("MAC_HOME", "MAC_MODEL", "HF_HUB_OFFLINE")
    given = {name: os.environ[name] for name in names}
    return {**given, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
