"""`mac serve`: what it refuses before it serves. The rest is in tests/maccli/server."""

from __future__ import annotations

import builtins
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..conftest import FakeMemory, Ran

Mac = Callable[..., Ran]
KEY = "correct-horse-battery"


def test_without_the_extra_it_says_which(mac: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "uvicorn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(name, *args, **kwargs)

    for module in [name for name in sys.modules if name.startswith("maccli.server")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", missing)
    ran = mac("serve")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "Error: uvicorn is not installed.\nHint: Install the extra: pip install "
        "'maccli[serve]' (in a clone: pip install '.[serve]')\n"
    )


def test_help_does_not_load_fastapi() -> None:
    code = (
        "import sys\nfrom maccli.cli import run\nrun(['serve', '-h'])\n"
        "print(sorted({'fastapi', 'uvicorn', 'torch', 'numpy'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_need_a_key(mac: Mac, memory: FakeMemory, host: str) -> None:
    ran = mac("serve", "--host", host, "--port", "0")
    assert ran.code == 2
    assert ran.err.startswith(f"Error: Other machines reach {host}, so a key is needed.\nHint: ")
    assert memory.calls == []


@pytest.mark.parametrize("key", ["short", "k" * 15, "with space " + KEY, KEY + "é", ""])
def test_a_weak_key_is_refused(
    mac: Mac, memory: FakeMemory, work: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (work / "key").write_text(f"{key}\n")
    ran = mac("serve", "--key-file", "key", "--port", "0")
    assert ran.code == 2
    assert ran.err.startswith("Error: The key in key must have at least 16 characters")
    if key:
        monkeypatch.setenv("MAC_SERVER_KEY", key)
        assert mac("serve", "--port", "0").code == 2
    assert memory.calls == []


def test_a_key_file_that_is_not_there(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("serve", "--key-file", "nowhere")
    assert (ran.code, ran.err) == (1, "Error: nowhere: No such file or directory\n")


def test_an_address_that_cannot_be_had(mac: Mac, memory: FakeMemory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = mac("serve", "--port", str(taken.getsockname()[1]))
        assert ran.code == 1
        assert ran.err.startswith("Error: Cannot listen at 127.0.0.1, port ")
        assert "already in use" in ran.err and "\nHint: Choose another --port" in ran.err
    ran = mac("serve", "--host", "no.such.host.invalid")
    assert (ran.code, ran.err) == (
        2,
        "Error: no.such.host.invalid is no address of this machine.\n",
    )
    for wrong in (("--port", "70000"), ("--queue", "0"), ("extra",)):
        assert mac("serve", *wrong).code == 2


def test_stores_have_names_of_their_own(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("serve", "--store", "a/notes", "--also", "b/notes", "--port", "0")
    assert ran.code == 2
    assert ran.err.startswith("Error: Two stores are called 'notes': ")


def test_weights_that_are_missing_are_told_of(
    mac: Mac, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maccli.service import session
    from models.errors import WeightsError

    def fail(*_: Any, **__: Any) -> Any:
        raise WeightsError("the weights are not there")

    monkeypatch.setattr(session, "load_model", fail)
    ran = mac("serve", "--port", "0")
    assert ran.code == 1
    assert ran.err.startswith("Error: the weights are not there\nHint: ")
