"""The plugin for `llm`, with the real package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import FakeMemory, FakeStream
from .conftest import BRIDGE, ROOT

pytest.importorskip("llm")

import llm

from maccli.plugins import llm as plugin

QUESTION = "Who opened the bridge?"


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin, and only this one, in a user folder of its own."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    monkeypatch.setattr("llm.plugins.LLM_LOAD_PLUGINS", "")
    llm.pm.register(plugin, "mac-under-test")
    yield
    llm.pm.unregister(plugin)


def test_the_model_answers_with_its_source(stored: Path) -> None:
    response = llm.get_model("mac").prompt(QUESTION, k=1)
    pieces = list(response)
    assert pieces[:3] == ["An", " answer", " from 1."]
    said, _, source = "".join(pieces).partition("\n\n")
    assert said == "An answer from 1."
    assert source == f"Source:\n  bridge.txt, line 1\n    {BRIDGE}"
    assert response.json()["outcome"] == "answer"
    assert response.json()["sources"][0]["text"] == "The bridge was opened by Ida Brandt."


def test_a_terminal_obeys_nothing_in_an_answer(
    stored: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = FakeStream([" ", "\x1b[2J", "\u202eevil"], [], 1)
    monkeypatch.setattr(memory, "answer", lambda *_, **__: stream)
    text = llm.get_model("mac").prompt(QUESTION).text()
    assert text.startswith("\ufffd[2Jevil\n\n")


def test_the_model_says_that_there_is_no_answer(stored: Path) -> None:
    text = llm.get_model("mac").prompt("Completely different words?").text()
    assert text.startswith("Nothing relevant found in 2 documents.\n\nNearest passage:\n  ")


def test_the_store_is_an_option(stored: Path, tmp_path: Path) -> None:
    model = llm.get_model("mac")
    with pytest.raises(llm.ModelError, match="There is no store in .*other. Ingest something"):
        model.prompt(QUESTION, store=str(tmp_path / "other")).text()
    store = str(tmp_path / "mac-home" / "store")
    assert "An answer from 2." in model.prompt(QUESTION, store=store).text()
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        model.prompt(QUESTION, k=0)


def test_fragments_are_the_passages(stored: Path) -> None:
    first, second = llm.get_fragment_loaders()["mac"](QUESTION)
    assert first.source == "mac:bridge.txt, line 1"
    assert second.source == 'mac:prize.md, "Prizes", line 3'
    head, _, quoted = first.partition("\n> ")
    assert head.startswith(f"Document: {stored / 'bridge.txt'}\nPlace: line 1 (score ")
    assert quoted == BRIDGE


def test_fragments_without_a_store(memory: FakeMemory) -> None:
    with pytest.raises(ValueError, match="There is no store in .* Ingest something first"):
        llm.get_fragment_loaders()["mac"](QUESTION)


def test_the_toolbox(stored: Path, tmp_path: Path) -> None:
    toolbox = llm.get_tools()["Mac"]
    tools = {tool.name: tool for tool in toolbox().tools()}
    assert set(tools) == {"Mac_search", "Mac_ask"}
    found = tools["Mac_search"].implementation(question=QUESTION)
    assert found.startswith("2 passages, the most relevant first.") and f"> {BRIDGE}" in found
    assert tools["Mac_ask"].implementation(question=QUESTION).startswith("Outcome: answer\n")
    for tool in toolbox(str(tmp_path / "other")).tools():
        said = tool.implementation(question=QUESTION)
        assert said.startswith(f"There is no store in {tmp_path / 'other'}.")


def test_a_model_calls_the_tools(stored: Path) -> None:
    class Larger(llm.Model):
        """Calls the tool it is given, then repeats what it said."""

        model_id = "larger"
        supports_tools = True

        def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Any:
            if prompt.tool_results:
                yield prompt.tool_results[0].output
                return
            call = llm.ToolCall("Mac_search", {"question": QUESTION})
            response.add_tool_call(call)
            yield ""

    chain = Larger().chain("Who?", tools=[llm.get_tools()["Mac"]()])
    assert f"> {BRIDGE}" in chain.text()


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> list[str]:
    """The command `llm` in a process that finds the plugin by its entry point."""
    folder = tmp_path / "installed" / "mac_under_test-0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mac-under-test\nVersion: 0\n")
    (folder / "entry_points.txt").write_text("[llm]\nmac = maccli.plugins.llm\n")
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder.parent)]),
        "LLM_LOAD_PLUGINS": "mac-under-test",
        "LLM_USER_PATH": str(tmp_path / "llm"),
    }
    return [sys.executable, "-m", "llm"]


def test_the_command(command: list[str], environment: dict[str, str], work: Path) -> None:
    def run(*args: str) -> str:
        done = subprocess.run(
            [*command, *args],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    store = str(Path(environment["MAC_HOME"]) / "store")
    options = ("-o", "store", store, "-o", "k", "1")
    said = run("-m", "mac", *options, "-f", f"mac:{QUESTION}", "Was it Ida Brandt?")
    assert said.partition("Source:\n  ")[2].startswith(("bridge.txt, line 1\n", "prize.md, "))
    listed = run("fragments", "list")
    assert "source: mac:bridge.txt, line 1" in listed and "source: mac:prize.md" in listed


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    code = (
        "import sys, llm, queue; before = set(sys.modules); import maccli.plugins.llm; "
        "print(sorted({n.partition('.')[0] for n in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "['maccli']\n"  # queue, which is light, may be loaded by others or not
