"""The command line as a whole: help, start-up, errors, output. No networks: see conftest.py."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import indent

import click
import pytest

from maccli import cli, errors
from maccli.service import session
from models.errors import MissingPackageError, ModelError, WeightsError
from store.errors import (
    ExportFormatError,
    FingerprintMismatchError,
    StoreBusyError,
    StoreError,
)
from store.pruning.target import TargetError
from store.store import Store

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
    assert "..." not in COMMANDS[path].get_short_help_str(66)
    assert mac(*path, "--help").out == ran.out


def test_the_commands_are_listed_in_the_order_in_which_they_are_needed(mac: Mac) -> None:
    listed = mac("--help").out.partition("Commands:\n")[2]
    assert [line.split()[0] for line in listed.splitlines()] == [
        *("ingest", "ask", "chat", "search", "log", "serve", "mcp", "store", "model", "train"),
        *("eval", "study", "config", "train-judge", "train-rival"),
    ]


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (("ls",), "mac store ls"),
        (("aks",), "mac ask"),
        (("serach",), "mac search"),
        (("pull",), "mac model pull"),
        (("undo",), "mac store prune --undo"),
        (("store", "ask"), "mac ask"),
        (("store", "lst"), "mac store ls"),
        (("model", "prune"), "mac store prune"),
        (("model", "shwo"), "mac model show"),
        (("config", "pull"), "mac model pull"),
    ],
)
def test_an_unknown_command_suggests_what_was_meant(
    mac: Mac, args: tuple[str, ...], meant: str
) -> None:
    ran = mac(*args)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == (
        f"Error: No such command {args[-1]!r}. Did you mean {meant}?"
    )


def test_nothing_is_suggested_for_a_word_that_is_like_no_command(mac: Mac) -> None:
    assert mac("frobnicate").err.splitlines()[-1] == "Error: No such command 'frobnicate'."


def test_an_unknown_option_suggests_what_was_meant(mac: Mac) -> None:
    assert mac("ask", "--jsn", "x").err.splitlines()[-1] == (
        "Error: No such option '--jsn'. Did you mean '--json'?"
    )
    assert mac("--store", "x", "ls").err.splitlines()[-1] == (
        "Error: No such option '--store' here. Write options after the command: mac COMMAND --store"
    )


def test_the_promised_commands_are_there() -> None:
    names = {" ".join(path) for path in COMMANDS if path[:1] != ("study",)}
    assert names == {
        *("", "ingest", "ask", "chat", "search", "log", "serve", "mcp", "store", "model", "train"),
        *("eval", "config", "train-judge", "train-rival"),
        *(f"store {name}" for name in ("ls", "show", "rm", "stats", "path")),
        *(f"store {name}" for name in ("verify", "vacuum", "export", "import", "copy", "rebuild")),
        *(f"store {name}" for name in ("prune", "index")),
        *(f"model {name}" for name in ("pull", "ls", "show", "path", "convert", "default")),
        "model export",
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
HEAVY = """
names = {"torch", "transformers", "numpy", "tqdm", "zstandard", "constriction", "huggingface_hub"}
print(sorted(names & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "command", [["--help"], ["store", "ls"], ["store", "-h"], ["ask", "-h"], ["config", "show"]]
)
def test_start_up_imports_nothing_heavy(command: list[str], tmp_path: Path) -> None:
    Store.open(tmp_path / "store", fingerprint="f", key_size=4, latent_size=4, create=True).close()
    ran = python(f"{RUN}\n{HEAVY}", *command, MAC_STORE=str(tmp_path / "store"))
    assert ran.stderr.splitlines()[-1] == "[]", ran.stderr


def complete(line: str, **environment: str) -> list[str]:
    """What a shell offers for the last word of a line; nothing heavy is imported for it."""
    words = line.split(" ")
    ran = python(
        "import sys\ntry:\n    from maccli.cli import main\n    main()\n"
        f"finally:\n{indent(HEAVY, '    ')}",
        _MAC_COMPLETE="bash_complete",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        **environment,
    )
    assert ran.stderr == "[]\n"
    return ran.stdout.split()


def test_completion_knows_the_commands() -> None:
    assert complete("mac store s") == ["plain,show", "plain,stats"]
    assert complete("mac se") == ["plain,search", "plain,serve"]


def test_completion_knows_documents_tags_and_checkpoints(mac: Mac, stored: Path) -> None:
    mac("ingest", "prize.md", "--tag", "poetry", "--tag", "2026")
    environment = {"MAC_HOME": os.environ["MAC_HOME"]}
    names = [f"plain,{stored}/{name}" for name in ("bridge.txt", "prize.md")]
    assert complete(f"mac store show {stored}/", **environment) == names
    assert complete(f"mac store rm {stored}/b", **environment) == names[:1]
    store = str(stored.parent / "mac-home" / "store")
    assert complete(f"mac store show --store {store} {stored}/p", MAC_HOME="/no") == names[1:]
    assert complete("mac ask --tag ", **environment) == ["plain,2026", "plain,poetry"]
    assert complete("mac search --tag p", **environment) == ["plain,poetry"]
    assert complete("mac ask --tag x", **environment) == []
    assert complete("mac ask -m sm")[0] == "plain,smollm2-135m"
    assert complete("mac model show smollm2-135m")[0] == "plain,smollm2-135m"
    assert complete("mac ask --retriever d") == ["plain,dense"]
    assert complete("mac ingest no") == ["file,no"]
    assert complete("mac ask --store no") == ["dir,no"]


def test_completion_without_a_store_or_with_a_wrong_config_is_silent(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert complete("mac store show x", MAC_HOME=str(home)) == []
    home.mkdir()
    (home / "config.toml").write_text("k = = 1")
    assert complete("mac store show x", MAC_HOME=str(home)) == []
    assert complete("mac ask --tag x", MAC_HOME=str(home)) == []


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
        (OutOfMemoryError("CUDA\nlong"), "Error: CUDA\nHint: Compute on the processor"),
        (
            ModuleNotFoundError("x", name="matplotlib"),
            "Error: matplotlib is not installed.\n"
            "Hint: Install the extra: pip install 'maccli[plot]'",
        ),
        (StoreBusyError("Busy"), "Error: Busy\nHint: Another mac is writing"),
        (StoreBusyError("Busy", hint="Wait."), "Error: Busy\nHint: Wait.\n"),
        (ExportFormatError("x is no export"), "Error: x is no export\nHint: `mac store export"),
        (FingerprintMismatchError("Other"), "Error: Other\nHint: Use the model that wrote"),
        (StoreError("Odd"), "Error: Odd\n"),
        (WeightsError("No weights"), "Error: No weights\nHint: Run `mac model pull` once"),
        (ModelError("Wrong size", "Try 3."), "Error: Wrong size\nHint: Try 3.\n"),
        (MissingPackageError("peft is missing", "pip"), "Error: peft is missing\nHint: pip\n"),
        (TargetError("no share"), "Error: no share\n"),
        (sqlite3.OperationalError("database or disk is full"), "Error: The disk is full.\nHint: "),
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

    monkeypatch.setattr(session, "load_model", fail)
    ran = mac("ask", "Who?", "--mode", "closed-book")
    assert ran.code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert ran.err.lstrip().startswith(expected)
    assert len(ran.err.strip().splitlines()) <= 2


def test_debugging_shows_the_traceback(memory: FakeMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr(session, "load_model", fail)
    monkeypatch.setenv("MAC_DEBUG", "1")
    with pytest.raises(RuntimeError, match="oops"):
        cli.run(["ask", "Who?", "--mode", "closed-book"])


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
    for command in (("store", "ls"), ("ask", "Who?"), ("ingest", "a.txt"), ("search", "x")):
        ran = mac(*command, "--store", str(tmp_path / "s"))
        assert ran.code == 1
        assert len(ran.err.splitlines()) == 2
        assert "damaged" in ran.err


COLORS = "\x1b["


@pytest.mark.parametrize("args", [("ask", "Who?", "-m", "nowhere"), ("frob",), ("store", "verify")])
def test_colors_are_for_terminals_that_want_them(
    mac: Mac, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    for name in ("NO_COLOR", "CLICOLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert COLORS not in mac(*args).err
    for value in (("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb"), None):
        with monkeypatch.context() as patch:
            if value:
                patch.setenv(*value)
            terminal = Terminal()
            patch.setattr(sys, "stderr", terminal)
            assert cli.run(args) != 0
            colored = COLORS in terminal.getvalue()
            assert colored == (value is None and args != ("frob",))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# what the terminal must not obey, and what is not UTF-8


def obeyed(text: str) -> set[str]:
    return {c for c in text if not c.isprintable() and c != "\n"}


HOSTILE = "\x1b]0;owned\x07\x1b[31m \x9b2J\u202e\u200b\x7f"


def test_no_command_writes_what_a_terminal_would_obey(
    mac: Mac, work: Path, memory: FakeMemory
) -> None:
    folder = work / f"d{HOSTILE.replace('/', '')}"
    folder.mkdir()
    (folder / f"a{HOSTILE}\n.md").write_text(f"# Title {HOSTILE}\n\nThe bridge of {HOSTILE} Ulm.\n")
    (folder / f"b{HOSTILE}\n.md").write_bytes(bytes(range(256)) * 9)
    name = str(folder / f"a{HOSTILE}\n.md")
    for args, code in (
        (("ingest", str(folder), "-v"), 0),
        (("ingest", str(folder), "-v", "--tag", f"t{HOSTILE}"), 2),
        (("ingest", str(folder), "-v", "--tag", "t\u202ex"), 0),
        (("ingest", f"{folder}/none"), 1),
        (("ingest", str(folder), f"--{HOSTILE}"), 2),
        (("store", "ls"), 0),
        (("store", "show", name), 0),
        (("store", "rm", name, "--dry-run"), 0),
        (("store", "rm", HOSTILE, "--yes"), 1),
        (("ask", f"Where is the bridge of Ulm? {HOSTILE}", "-v"), 0),
        (("search", f"bridge of Ulm {HOSTILE}"), 0),
        (("search", "bridge of Ulm", "--json"), 0),
        (("ask", "bridge of Ulm", "-m", HOSTILE), 1),
        (("ask", "-k", HOSTILE, "x"), 2),
        ((HOSTILE,), 2),
    ):
        ran = mac(*args)
        assert (ran.code, obeyed(ran.out + ran.err)) == (code, set()), args


NOT_UTF8 = os.fsdecode(b"caf\xe9")


def test_texts_that_are_not_utf8_are_read_as_in_a_pipe(
    mac: Mac, work: Path, memory: FakeMemory
) -> None:
    (work / "a.txt").write_text("The bridge was opened by Ida Brandt.")
    assert mac("ingest", "a.txt", "--tag", NOT_UTF8, "--name", NOT_UTF8).code == 0
    (row,) = mac("store", "ls", "--json").json
    assert (row["source"], row["tags"]) == ("caf\ufffd", ["caf\ufffd"])
    for args in (("ask", "--tag", NOT_UTF8), ("ask",), ("search",)):
        ran = mac(*args, f"Who opened the bridge? {NOT_UTF8}")
        assert (ran.code, ran.err) == (0, "")
    answer = mac("ask", f"Who opened the bridge? {NOT_UTF8}", "--json").json
    assert answer["question"] == "Who opened the bridge? caf\ufffd"
    for args in (("store", "ls", NOT_UTF8), ("store", "show", NOT_UTF8), ("store", "rm", NOT_UTF8)):
        assert "bug" not in mac(*args).err
    assert mac("ingest", "a.txt", "--encoding", NOT_UTF8).code == 1


def test_a_current_folder_that_was_removed(
    mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored / "gone").mkdir()
    monkeypatch.chdir(stored / "gone")
    (stored / "gone").rmdir()
    ran = mac("ask", "Who opened the bridge?")
    assert (ran.code, ran.err) == (0, "")
    assert f"{stored}/bridge.txt" in ran.out
    assert mac("search", "bridge").code == mac("store", "ls").code == 0
    assert mac("store", "show", f"{stored}/bridge.txt").code == 0
    assert mac("ingest", f"{stored}/bridge.txt").code == 0
    for args in (("ingest", "a.txt"), ("store", "ls", "--store", "x"), ("store", "show", "x")):
        ran = mac(*args)
        assert ran.code == 1 and len(ran.err.splitlines()) <= 2 and "bug" not in ran.err
    assert mac("store", "ls", "--store", "x").err.startswith(
        "Error: The current folder does not exist any more.\n"
    )


def test_libraries_find_a_current_folder_if_it_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.stacks.load_model", lambda *_, **__: os.getcwd())
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    found: object = session.load_model(tmp_path, device="cpu", progress=None, tell=None)
    assert found == str(tmp_path)
