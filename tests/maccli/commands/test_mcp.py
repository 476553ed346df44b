"""`mac mcp` up to where the SDK is needed; the rest is in tests/maccli/plugins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from ..conftest import FakeMemory, Ran

Mac = Callable[..., Ran]


def test_wrong_usage(mac: Mac, memory: FakeMemory) -> None:
    for option in (("--port", "80"), ("--host", "localhost")):
        ran = mac("mcp", *option)
        assert ran.code == 2 and "--host and --port need --http." in ran.err
    ran = mac("mcp", "--http", "--writable", "--host", "0.0.0.0")
    assert ran.code == 2 and "--writable is for this machine only" in ran.err


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import sys; from maccli.cli import run; {code}"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def test_without_the_sdk_the_extra_is_named() -> None:
    ran = _run("sys.modules['mcp'] = None; sys.exit(run(['mcp']))")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("Error: mcp is not installed.\nHint: ")
    assert "'maccli[mcp]'" in ran.stderr


def test_help_loads_nothing_heavy() -> None:
    heavy = ("mcp", "pydantic", "torch", "numpy")
    ran = _run(f"run(['mcp', '--help']); print([n for n in {heavy} if n in sys.modules])")
    assert ran.stdout.endswith("\n[]\n") and "mac mcp --http" in ran.stdout
