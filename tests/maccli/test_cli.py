"""The command line as a whole: help, start-up, errors, output. No networks: see conftest.py."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from maccli import cli, errors
from maccli.service import session
from store.bank import Store

from .conftest import FakeMemory, Ran

Mac = Callable[..., Ran]
ROOT = Path(__file__).parents[2]


def commands(
    command: click.Command = cli.cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, (*path, name))


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(mac: Mac, path: tuple[str, ...]) -> None:
    ran = mac(*path, "-h")
    assert ran.code == 0
    assert "Example" in ran.out
    assert f"mac {' '.join(path)}".rstrip() in ran.out.split("Example")[1]
    assert "..." not in (COMMANDS[path].get_short_help_str(60) if len(path) == 1 else "")
    assert mac(*path, "--help").out == ran.out


def test_the_promised_commands_are_there() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        "",
        "ingest",
        "ask",
        "store",
        *(f"store {name}" for name in ("ls", "show", "rm", "stats", "path")),
        *(f"store {name}" for name in ("verify", "vacuum", "export", "import", "copy", "rebuild")),
        *(f"store {name}" for name in ("prune", "undo", "index")),
        "model",
        *(f"model {name}" for name in ("pull", "ls", "show", "path", "convert", "default")),
        "train",
        "eval",
        "config",
        *(f"config {name}" for name in ("path", "show")),
    }


def python(code: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
        timeout=60,
    )


RUN = "import sys; from maccli.cli import run; code = run(sys.argv[1:]); "
HEAVY = "sorted({'torch', 'transformers', 'numpy', 'tqdm', 'zstandard'} & set(sys.modules))"


@pytest.mark.parametrize("command", [["--help"], ["store", "ls"], ["config", "show"]])
def test_start_up_imports_nothing_heavy(command: list[str], tmp_path: Path) -> None:
    Store.open(tmp_path / "store", fingerprint="f", key_size=4, latent_size=4, create=True).close()
    ran = python(
        f"{RUN} print({HEAVY}, file=sys.stderr)", *command, MAC_STORE=str(tmp_path / "store")
    )
    assert ran.stderr.splitlines()[-1] == "[]", ran.stderr


@pytest.mark.parametrize("command", [["--help"], ["store", "ls"]])
def test_start_up_is_quick(command: list[str]) -> None:
    def seconds() -> float:
        # Processor time, so that a busy machine fails nothing; benchmarks/ takes the clock
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python("from maccli.cli import main; main()", *command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.4


def test_completion_knows_the_commands() -> None:
    ran = python(
        "from maccli.cli import main; main()",
        _MAC_COMPLETE="bash_complete",
        COMP_WORDS="mac store s",
        COMP_CWORD="2",
    )
    assert ran.stdout.split() == ["plain,show", "plain,stats"]


def test_the_version_is_told(mac: Mac) -> None:
    ran = mac("--version")
    assert ran.code == 0
    assert ran.out.startswith("mac")


@pytest.mark.parametrize(
    "args", [("frob",), ("ingest",), ("ask",), ("ask", "--frob", "x"), ("ask", "-k", "0", "x")]
)
def test_wrong_usage_is_exit_code_2(mac: Mac, args: tuple[str, ...]) -> None:
    ran = mac(*args)
    assert (ran.code, ran.out) == (2, "")
    assert "Usage: mac" in ran.err


class OutOfMemoryError(RuntimeError):
    """As torch.cuda's."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "x"),
            "Error: The disk is full.\nHint: W",
        ),
        (PermissionError(13, "Permission denied", "/x"), "Error: /x: Permission denied\nHint: Che"),
        (MemoryError(), "Error: Not enough memory.\nHint: "),
        (OutOfMemoryError("CUDA\nlong"), "Error: CUDA\nHint: Use the processor"),
        (
            ModuleNotFoundError("x", name="matplotlib"),
            "Error: matplotlib is not installed.\nHint: ",
        ),
        (RuntimeError("oops"), "Error: Unexpected RuntimeError: oops\nHint: This is a bug in mac."),
        (errors.MacError("No.", exit_code=1), "Error: No.\n"),
        (KeyboardInterrupt(), "Error: Interrupted.\n"),
    ],
)
def test_every_error_is_one_line_and_a_hint(
    mac: Mac,
    memory: FakeMemory,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    expected: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(session, "_load_memory", fail)
    ran = mac("ask", "Who?")
    assert ran.code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert ran.err.lstrip().startswith(expected)
    assert len(ran.err.strip().splitlines()) <= 2


def test_debugging_shows_the_traceback(memory: FakeMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr(session, "_load_memory", fail)
    monkeypatch.setenv("MAC_DEBUG", "1")
    with pytest.raises(RuntimeError, match="oops"):
        cli.run(["ask", "Who?"])


def test_a_reader_that_goes_away_is_no_news() -> None:
    code = "from maccli.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "train", "-h"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == errors.FAILED


def test_a_store_of_another_model_is_refused(
    mac: Mac, work: Path, memory: FakeMemory, tmp_path: Path
) -> None:
    (work / "a.txt").write_text("One sentence.")
    mac("ingest", "a.txt")
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"others")
    for command in (("ingest", "a.txt"), ("ask", "Who?")):
        ran = mac(*command)
        assert ran.code == 1
        assert ran.err.startswith("Error: ") and "\nHint: " in ran.err
    assert mac("store", "ls").code == 0


def test_a_checkpoint_that_is_not_there(mac: Mac) -> None:
    ran = mac("ask", "Who?", "-m", "nowhere")
    assert ran.code == 1
    assert ran.err.startswith("Error: no checkpoint 'nowhere'")


def test_a_damaged_index(mac: Mac, work: Path, memory: FakeMemory, tmp_path: Path) -> None:
    (work / "a.txt").write_text("One sentence.")
    mac("ingest", "a.txt", "--store", str(tmp_path / "s"))
    for file in (tmp_path / "s").glob("index.db*"):
        file.unlink()
    (tmp_path / "s" / "index.db").write_bytes(b"no database" * 1000)
    for command in (("store", "ls"), ("ask", "Who?"), ("ingest", "a.txt")):
        ran = mac(*command, "--store", str(tmp_path / "s"))
        assert ran.code == 1
        assert len(ran.err.splitlines()) == 2
        assert "damaged" in ran.err


# model


def test_model_show_path_and_default(mac: Mac, memory: FakeMemory, tmp_path: Path) -> None:
    folder = str(tmp_path / "checkpoint")
    assert mac("model", "path").out == f"{folder}\n"
    assert mac("model", "show", "--json").json["base_lm"] == "fake-lm"
    assert "base_lm          fake-lm\n" in mac("model", "show").out
    ran = mac("model", "default", folder)
    assert ran.err.startswith(f"The default model is now {folder}.\nWarning: MAC_MODEL is set")
    assert "checkpoint" in mac("model", "ls").out
    assert mac("model", "ls", "--json").json[-1]["default"] is True
    assert mac("model", "default", "nowhere").code == 1


def test_without_weights_or_network_there_is_a_way_on(
    mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.errors import WeightsError
    from models.weights import resolve as weights

    def unreachable(*_: object, **__: object) -> Path:
        raise WeightsError("nothing can be reached", "connect to a network")

    monkeypatch.setattr(weights, "resolve", unreachable)
    ran = mac("model", "pull")
    assert (ran.code, ran.err) == (
        1,
        "Error: nothing can be reached\nHint: connect to a network\n",
    )
