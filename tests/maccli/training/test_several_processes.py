"""`mac train` in two processes, as `accelerate launch` or torchrun start them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from models.latent import objective
from models.training.state import FILE

from ..conftest import Ran

ROOT = Path(__file__).parents[3]
CODES = ["qz", "zq", "xq", "qx", "jq", "qj", "xz", "zx"]
"""Answers of equally many tokens: the mean of two halves' losses is the mean over the whole."""


def _state(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / FILE)


def _apart(one: dict[str, Tensor], other: dict[str, Tensor], end: str) -> float:
    """The distance of all tensors whose names end like this, relative to their size."""
    names = [name for name in one if name.endswith(end)]
    assert names
    off = sum(float((one[n] - other[n]).square().sum()) for n in names)
    return (off / sum(float(one[n].square().sum()) for n in names)) ** 0.5


EXACT = """
import models.latent.objective
models.latent.objective.as_rounded = lambda z, rounding: z
from maccli.cli import main
main()
"""
"""`mac` without rounding, which makes a step of the smallest difference."""


def test_two_processes_learn_what_one_does_from_twice_the_batch(
    mac: Callable[..., Ran],
    work: Path,
    tiny_llama: Path,
    tiny_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objective, "as_rounded", lambda z, rounding: z)
    rows = [
        {"doc": f"Box number {i} of the town holds {code}.", "question": f"What is in box {i}?",
         "answers": [code]}
        for i, code in enumerate(CODES)
    ]  # fmt: skip
    (work / "boxes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def options(out: str, batch: int) -> tuple[str, ...]:
        return (
            *("train", "--data", "boxes.jsonl", "--out", out),
            *("--base", str(tiny_llama), "--encoder", str(tiny_encoder), "--device", "cpu"),
            *("--rank", "16", "--steps", "2", "--batch", str(batch), "--documents", "2"),
        )

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", EXACT, *options("two", 4)],
            env={**os.environ, **world, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    for name, batch in (("one", 8), ("half", 4)):
        ran = mac(*options(name, batch))
        assert ran.code == 0, ran.err
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert [out for out, _ in said] == ["two\n", ""]  # one of them talks

    two, one, half = (_state(work / name) for name in ("two", "one", "half"))
    for end in (".exp_avg", ".weight"):  # the gradients' running mean; what was learned
        assert _apart(one, two, end) < 0.1 * _apart(one, half, end)
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in (work / "two" / "log.jsonl").read_text().splitlines()
    ]
    assert [(line["step"], line["examples"]) for line in lines] == [(1, 8), (2, 16)]


@pytest.mark.parametrize("launcher", ["accelerate", "torchrun"])
def test_the_launchers_leave_our_options_alone(launcher: str) -> None:
    given = ["train", "--data", "a", "--out", "b", "--config", "d", "-q"]
    parser: Any
    if launcher == "accelerate":
        from accelerate.commands.launch import launch_command_parser

        parser = launch_command_parser()
    else:
        from torch.distributed.run import get_args_parser

        parser = get_args_parser()
    parsed = parser.parse_args(["-m", "--", "maccli", *given])
    assert (parsed.module, parsed.training_script) == (True, "maccli")
    assert parsed.training_script_args == given
