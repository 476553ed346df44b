"""The command line as a whole: help, start-up, errors, output. No networks: see conftest.py."""

from __future__ import annotations

import errno
import io
import json
import os
import re
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


# ingest


def test_ingest_tells_what_it_did(mac: Mac, work: Path, memory: FakeMemory) -> None:
    (work / "a.txt").write_text("One sentence.")
    (work / "b.txt").write_bytes("Über Straßen und Wälder.".encode("cp1252"))
    (work / "c.txt").touch()
    ran = mac("ingest", "a.txt", "b.txt", "c.txt", "d.txt")
    assert ran.code == 1
    assert ran.out.startswith("4 documents: 2 added, 2 failed. 2 chunks, 6 tokens, ")
    assert sorted(ran.err.splitlines()) == sorted(
        [
            "Error: d.txt: no such file or folder",
            "Error: c.txt: is empty",
            "Warning: b.txt is not UTF-8; read as cp1252 (else use --encoding)",
        ]
    )
    again = mac("ingest", "a.txt", "-v")
    assert again.code == 0
    assert again.out.startswith("1 document: 1 unchanged. Took ")
    assert again.err == "Unchanged a.txt\n"


def test_ingest_as_json(mac: Mac, work: Path, memory: FakeMemory) -> None:
    (work / "a.txt").write_text("One sentence.")
    report = mac("ingest", "a.txt", "--json").json
    assert report["added"] == report["chunks"] == 1
    assert report["tokens"] == 2
    assert report["documents"][0]["source"] == str(work / "a.txt")
    assert mac("ingest", "a.txt", "--quiet").out == ""


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_ingest_from_a_pipe(mac: Mac, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, "<html><title>T</title><p>Some text.")
    assert mac("ingest", "-", "--name", "page.html").code == 0
    document = mac("store", "show", "page.html", "--json").json
    assert (document["title"], document["pieces"][0]["text"]) == ("T", "Some text.")


def test_a_name_is_for_one_document(mac: Mac, work: Path, memory: FakeMemory) -> None:
    (work / "a.txt").write_text("One.")
    (work / "b.txt").write_text("Two.")
    ran = mac("ingest", "a.txt", "b.txt", "--name", "x")
    assert ran.code == 2
    assert "--name needs exactly one document, not 2." in ran.err


def test_an_interrupted_ingest_says_so(mac: Mac, work: Path, memory: FakeMemory) -> None:
    (work / "a.txt").write_text("One sentence.")

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    memory.before_amortize = interrupt
    ran = mac("ingest", "a.txt")
    assert ran.code == 130
    assert ran.err.splitlines() == [
        "Warning: interrupted; finished documents are kept. Run the same command again to go on."
    ]


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


# ask


def test_ask_writes_answer_and_sources(mac: Mac, stored: Path) -> None:
    ran = mac("ask", "Who", "opened", "the bridge?", "-k", "1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "An answer from 1.\n\nSources:\n"
        "  1.00  bridge.txt[19:55]  The bridge was opened by Ida Brandt.\n"
    )
    assert mac("ask", "Who opened the bridge?", "-k", "1", "--no-stream").out == ran.out
    assert mac("ask", "Who opened the bridge?", "--quiet").out == "An answer from 2.\n"
    timed = mac("ask", "Who opened the bridge?", "-v")
    assert timed.err.startswith("load 0.0") and "generate 0.0" in timed.err


def test_ask_as_json(mac: Mac, stored: Path) -> None:
    answer = mac("ask", "Who opened the bridge?", "--json", "--seed", "7").json
    assert list(answer) == [
        "question",
        "answer",
        "abstained",
        "sources",
        "prefix_tokens",
        "timings",
        "model",
        "seed",
    ]
    assert list(answer["sources"][0]) == ["source", "chunk", "start", "end", "weight", "text"]
    assert list(answer["timings"]) == ["load", "encode", "aggregate", "generate"]
    assert (answer["seed"], answer["abstained"]) == (7, False)


def test_an_adapter_is_exported_once(mac: Mac, stored: Path, memory: FakeMemory) -> None:
    question = "Who opened the bridge?"
    ran = mac("ask", question, "-k", "1", "--export-adapter", "adapter")
    assert (ran.code, ran.err) == (0, "The modulation is in adapter, as an adapter for peft.\n")
    assert ("export", 1) in memory.calls
    (stored / "adapter" / "mine.txt").touch()
    (stored / "file").touch()
    memory.calls.clear()
    for folder in ("adapter", "file"):
        ran = mac("ask", question, "--export-adapter", folder)
        assert ran.code == 2
        assert f"There is something in {folder} already." in ran.err
    assert memory.calls == []  # refused before the model is loaded
    for options in (("-",), (question, "--mode", "rag")):
        ran = mac("ask", *options, "--export-adapter", "other")
        assert ran.code == 2
        assert "--export-adapter is for one question with --mode mac." in ran.err
    assert mac("ask", "zebra okapi", "--export-adapter", "other").code == 3
    assert not (stored / "other").exists()


def test_without_documents_there_is_no_adapter(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("ask", "Who?", "--export-adapter", "adapter")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("Error: There is no modulation to export")


def test_nothing_relevant_is_exit_code_3(mac: Mac, stored: Path) -> None:
    ran = mac("ask", "zebra okapi")
    assert ran.code == 3
    assert ran.out.startswith("Nothing relevant found in 2 documents.\n\nNearest sources:\n")
    ran = mac("ask", "zebra okapi", "--json")
    assert (ran.code, ran.json["abstained"], ran.json["answer"]) == (3, True, "")


def test_an_empty_store_is_told(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("ask", "Who?")
    assert (ran.code, ran.out) == (0, "An answer from 0.\n")
    assert "is empty: this is the base model's own answer." in ran.err


@pytest.mark.parametrize("question", ["", "  ", "why so " * 10_000])
def test_questions_that_cannot_be_asked(mac: Mac, stored: Path, question: str) -> None:
    ran = mac("ask", question)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 2


def test_many_questions_load_the_model_once(
    mac: Mac, stored: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.calls.clear()
    pipe(monkeypatch, "Who opened the bridge?\n\n  \nWho won the poetry prize?")
    lines = mac("ask", "-", "--nl", "-k", "1").out.splitlines()
    assert [json.loads(line)["sources"][0]["chunk"] for line in lines] == [0, 0]
    assert memory.calls.count(("load", 1)) == 1
    pipe(monkeypatch, "Who opened the bridge?\nzebra okapi")
    ran = mac("ask", "-", "--json")
    assert ([answer["abstained"] for answer in ran.json], ran.code) == ([False, True], 0)
    pipe(monkeypatch, "")
    assert mac("ask", "-", "--json").json == []
    pipe(monkeypatch, "zebra okapi\n")
    assert mac("ask", "-").code == 3


def test_a_question_that_cannot_be_asked_does_not_stop_the_others(
    mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, f"{'why so ' * 9000}\nWho opened the bridge?\n")
    ran = mac("ask", "-", "-q")
    assert ran.code == 1
    assert ran.out.endswith("> Who opened the bridge?\nAn answer from 2.\n\n")
    assert ran.err.startswith("Error: The question has 62,999 characters")


# store


def test_store_ls(mac: Mac, stored: Path) -> None:
    lines = mac("store", "ls").out.splitlines()
    assert lines[0].split() == ["chunks", "tokens", "memory", "updated", "document"]
    assert [line.split()[-1] for line in lines[1:]] == ["bridge.txt", "prize.md"]
    assert [d["title"] for d in mac("store", "ls", "--json").json] == [None, "Prizes"]
    assert len(mac("store", "ls", "--nl").out.splitlines()) == 2
    assert len(mac("store", "ls", "*.md", "--json").json) == 1
    assert len(mac("store", "ls", "-n", "1", "--json").json) == 1
    assert mac("store", "ls", "zebra", "--json").json == []


def test_an_empty_store_is_an_empty_list(mac: Mac, tmp_path: Path) -> None:
    assert mac("store", "ls").err == "The store is empty.\n"
    assert mac("store", "ls", "--json").out == "[]\n"
    assert mac("store", "ls", "--nl").out == ""
    missing = mac("store", "ls", "--store", str(tmp_path / "typo"))
    assert missing.code == 1
    assert missing.err.startswith("Error: ")


def test_store_show_and_stats(mac: Mac, stored: Path) -> None:
    shown = mac("store", "show", "bridge.txt").out
    assert "[0:55] 10 tokens" in shown and "Varnholt is small." in shown
    assert mac("store", "show", str(stored / "bridge.txt")).out == shown
    unknown = mac("store", "show", "zebra.txt")
    assert (unknown.code, unknown.out) == (1, "")
    stats = mac("store", "stats", "--json").json
    assert (stats["documents"], stats["chunks"]) == (2, 2)
    shown = mac("store", "stats").out
    assert "documents    2\n" in shown
    for name in ("text", "modulations", "keys"):
        assert re.search(rf"^{name} +[\d.]+ k?B, [\d.]+ k?B a chunk$", shown, re.M)


def test_store_rm(mac: Mac, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mac("store", "rm", "*.md", "--dry-run").out == "Would remove prize.md\n"
    refused = mac("store", "rm", "*.md")
    assert refused.code == 2 and "--yes" in refused.err
    assert len(mac("store", "ls", "--json").json) == 2
    ran = mac("store", "rm", "*.md", "zebra.txt", "--yes")
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "Error: zebra.txt: no such document in the store",
        "Removed 1 document.",
    ]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *a, **k: True)
    assert mac("store", "rm", "bridge.txt").code == 0
    assert mac("store", "ls", "--json").json == []


def test_an_end_of_a_path_is_enough_if_it_is_the_only_one(mac: Mac, stored: Path) -> None:
    for name in ("x/deep.txt", "y/deep.txt"):
        (stored / name).parent.mkdir()
        (stored / name).write_text(f"Deep {name}.")
    mac("ingest", "-r", "x", "y")
    assert mac("store", "show", "x/deep.txt").code == 0
    for command in (("show",), ("rm", "--yes")):
        ran = mac("store", *command, "deep.txt")
        assert ran.code == 1 and "could be several documents" in ran.err


def test_store_path_follows_the_settings(
    mac: Mac, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mac("store", "path").out == f"{tmp_path}/mac-home/store\n"
    monkeypatch.setenv("MAC_STORE", str(tmp_path / "b"))
    assert mac("store", "path").out == f"{tmp_path}/b\n"
    assert mac("store", "path", "--store", str(tmp_path / "c")).out == f"{tmp_path}/c\n"


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
    from models import weights
    from models.errors import WeightsError

    def unreachable(*_: object, **__: object) -> Path:
        raise WeightsError("nothing can be reached", "connect to a network")

    monkeypatch.setattr(weights, "resolve", unreachable)
    ran = mac("model", "pull")
    assert (ran.code, ran.err) == (
        1,
        "Error: nothing can be reached\nHint: connect to a network\n",
    )
