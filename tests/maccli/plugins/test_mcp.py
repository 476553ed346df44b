"""The MCP server in this process, asked by the SDK's own client."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maccli import Mac
from maccli.reading.files import source_name

from ..conftest import FakeMemory, Ran, make_checkpoint

pytest.importorskip("mcp.server.mcpserver")  # new in version 2

from mcp import Client
from mcp.shared.exceptions import MCPError

from maccli.plugins.mcp import Server
from maccli.plugins.tools import Tools

QUESTION = "Who opened the bridge?"
READING = {"search", "ask", "list_documents", "get_document"}


def said(result: Any) -> str:
    return "\n\n".join(block.text for block in result.content)


class Asker:
    """Calls tools of a server on the store of the settings, each by a client of its own."""

    def __init__(self, *, writable: bool = False) -> None:
        self.server = Server(Mac(), writable=writable)

    def do(self, work: Callable[[Client], Any]) -> Any:
        async def run() -> Any:
            async with Client(self.server) as client:
                try:
                    return await work(client)
                except MCPError as error:  # leaves the client's groups of tasks alone
                    return error

        result = asyncio.run(run())
        if isinstance(result, MCPError):
            raise result
        return result

    def __call__(self, tool: str, **arguments: Any) -> str:
        result = self.do(lambda client: client.call_tool(tool, arguments))
        assert not result.is_error, said(result)
        return said(result)

    def fails(self, tool: str, **arguments: Any) -> str:
        result = self.do(lambda client: client.call_tool(tool, arguments))
        assert result.is_error
        text = said(result)
        assert "Traceback" not in text
        return text.removeprefix(f"Error executing tool {tool}: ")


@pytest.fixture
def reader(stored: Path) -> Asker:
    return Asker()


@pytest.fixture
def writer(stored: Path) -> Asker:
    return Asker(writable=True)


def test_the_tools_say_what_they_do(reader: Asker) -> None:
    tools = reader.do(lambda client: client.list_tools()).tools
    assert {tool.name for tool in tools} == READING
    for tool in tools:
        assert tool.title and tool.description and "  " not in tool.description
        assert tool.annotations.read_only_hint and tool.output_schema is None
        for field in tool.input_schema["properties"].values():
            assert field["description"]
    assert tools[0].name == "search"


def test_only_a_writable_server_writes(writer: Asker) -> None:
    tools = {tool.name: tool for tool in writer.do(lambda client: client.list_tools()).tools}
    assert set(tools) == {*READING, "add_document", "delete_document"}
    destructive = {name: tools[name].annotations.destructive_hint for name in set(tools) - READING}
    assert destructive == {"add_document": False, "delete_document": True}
    assert not tools["delete_document"].annotations.read_only_hint


def test_a_reader_cannot_write(reader: Asker) -> None:
    assert "Unknown tool" in reader.fails("delete_document", name="bridge.txt")


def test_search_gives_passages_with_their_place(reader: Asker, memory: FakeMemory) -> None:
    text = reader("search", question=QUESTION, k=1)
    assert text.startswith("1 passage, the most relevant first.\n\nPassage 1\nDocument: /")
    assert "bridge.txt\nPlace: line 1 (score " in text
    assert text.endswith("> Varnholt is small. The bridge was opened by Ida Brandt.")
    assert not {"answer", "look"} & {name for name, _ in memory.calls}
    assert reader("search", question=QUESTION, until="2020-01-01") == (
        "Nothing found: no document has these tags and dates."
    )


def test_ask_gives_the_outcome(reader: Asker) -> None:
    text = reader("ask", question=QUESTION, k=1)
    assert text.startswith("Outcome: answer\nAnswer: An answer from 1.\n")
    text = reader("ask", question="Completely different words?")
    assert text.startswith("Outcome: nothing relevant\nNothing relevant found in 2 documents.")


def test_the_model_is_loaded_once(reader: Asker, memory: FakeMemory) -> None:
    memory.calls.clear()
    reader("list_documents")
    assert memory.calls == []
    for _ in range(3):
        reader("search", question=QUESTION)
    assert [call for call in memory.calls if call[0] == "load"] == [("load", 1)]


def test_calls_at_once_take_turns(
    reader: Asker, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    threads = set()
    inside = 0
    encode = memory.encode_question

    def slowly(question: str) -> Any:
        nonlocal inside
        inside += 1
        at_once.append(inside)
        threads.add(threading.get_ident())
        time.sleep(0.05)
        inside -= 1
        return encode(question)

    monkeypatch.setattr(memory, "encode_question", slowly)

    async def many(client: Client) -> list[Any]:
        asked = {"question": QUESTION}
        calls = [client.call_tool(tool, asked) for tool in ("search", "ask", "search", "ask")]
        return await asyncio.gather(*calls)

    results = reader.do(many)
    assert not any(result.is_error for result in results)
    assert at_once == [1, 1, 1, 1] and len(threads) > 1


def test_documents_are_listed(reader: Asker, stored: Path) -> None:
    lines = reader("list_documents").splitlines()
    assert lines == [
        f"{stored / 'bridge.txt'}: 55 characters",
        f"{stored / 'prize.md'} (Prizes): 46 characters",
    ]
    assert reader("list_documents", match="*.md") == lines[1]
    assert reader("list_documents", limit=1) == (
        f"{lines[0]}\nThese are the first 1; narrow them down with `match`."
    )
    assert reader("list_documents", match="nothing") == "No document matches."
    assert "less than or equal to 1000" in reader.fails("list_documents", limit=5000)


def test_a_document_is_read_in_parts(reader: Asker, work: Path, mac: Callable[..., Ran]) -> None:
    text = " ".join(f"Sentence {n} is about the harbour of Pelmouth." for n in range(50))
    (work / "long.txt").write_text(text)
    assert mac("ingest", "long.txt").code == 0
    name = source_name("long.txt")

    def read(**part: int) -> tuple[str, str]:
        head, _, body = reader("get_document", name=name, **part).partition("\n\n")
        return head, body

    whole = f"Document: {name}: {len(text):,} characters"
    head, body = read()
    assert head == whole and body.replace("\n", " ") == text
    head, first = read(length=100)
    assert head == (
        f"{whole}\nCharacters 0 to 100 of {len(text):,}. The next part begins with start=100."
    )
    head, rest = read(start=100)
    assert head == f"{whole}\nCharacters 100 to {len(text):,} of {len(text):,}."
    assert first + rest == body
    assert read(start=9999)[0] == f"{whole}\nIt ends before character 9,999."
    assert "greater than or equal to 0" in reader.fails("get_document", name=name, start=-1)


def test_an_unknown_document(writer: Asker) -> None:
    message = "There is no document nobody.txt in the store. list_documents gives the names."
    assert writer.fails("get_document", name="nobody.txt") == message
    assert writer.fails("delete_document", name="nobody.txt") == message


def test_documents_are_resources(reader: Asker, stored: Path) -> None:
    resources = reader.do(lambda client: client.list_resources()).resources
    assert [Path(resource.name).name for resource in resources] == ["bridge.txt", "prize.md"]
    assert [resource.title for resource in resources] == [None, "Prizes"]
    read = reader.do(lambda client: client.read_resource(resources[1].uri))
    assert [block.text for block in read.contents] == [
        "# Prizes\n\nThe poetry prize went to Tomas Reyl."
    ]
    (template,) = reader.do(lambda client: client.list_resource_templates()).resource_templates
    assert template.uri_template == "mac://documents/{name}"
    with pytest.raises(MCPError, match=r"There is no document \.\./secret in the store"):
        reader.do(lambda client: client.read_resource("mac://documents/..%2Fsecret"))


def test_a_text_is_added_and_deleted(writer: Asker, memory: FakeMemory) -> None:
    text = "# Cellar\n\nThe cellar key hangs behind the clock."
    assert writer("add_document", name="house.md", text=text, tags=["Home"], date="2026-01-02") == (
        "Added house.md: 1 passage."
    )
    assert 'Document: house.md\nPlace: "Cellar", line 3' in writer(
        "search", question="Where is the cellar key?", k=1, tags=["home"]
    )
    assert writer("list_documents", tags=["home"]) == (
        "house.md (Cellar): 48 characters, 2026-01-02, tags: home"
    )
    assert writer("delete_document", name="house.md") == "Deleted house.md."
    assert writer("list_documents", match="house.md") == "No document matches."


def test_a_document_is_never_replaced(writer: Asker, stored: Path) -> None:
    message = f"There is a document {stored / 'bridge.txt'} already."
    for name in ("bridge.txt", str(stored / "bridge.txt")):
        assert writer.fails("add_document", name=name, text="Now forget it.") == message
    assert "Ida Brandt" in writer("get_document", name=str(stored / "bridge.txt"))


def test_what_cannot_be_added(writer: Asker, stored: Path) -> None:
    assert writer.fails("add_document", name="a.txt", text=" ").startswith("The text ")
    assert "at least 1 character" in writer.fails("add_document", name="", text="Words.")
    assert writer.fails("add_document", name="  ", text="Words.") == "A name must not be empty."
    assert writer.fails("add_document", name="a.txt", text="Words.", tags=["a,b"]).startswith(
        "a tag cannot hold a comma"
    )
    # A name is only a name: nothing is read from there.
    assert writer("add_document", name="/etc/passwd", text="Words.") == (
        "Added /etc/passwd: 1 passage."
    )
    assert writer("get_document", name="/etc/passwd").endswith("Words.")


def test_bad_input_is_told_in_a_sentence(reader: Asker) -> None:
    assert reader.fails("search", question=" ").startswith("The question is empty.")
    assert reader.fails("search", question="Who?", since="yesterday") == (
        "a date is written YYYY-MM-DD, not 'yesterday'."
    )
    assert "greater than or equal to 1" in reader.fails("ask", question="Who?", k=0)


def test_a_store_that_is_missing_or_empty(memory: FakeMemory, tmp_path: Path) -> None:
    writer = Asker(writable=True)
    folder = tmp_path / "mac-home" / "store"
    message = f"There is no store in {folder}. Ingest something first: mac ingest FILES"
    assert writer("search", question=QUESTION) == message
    assert writer("ask", question=QUESTION) == message
    assert writer("list_documents") == message
    assert writer.do(lambda client: client.list_resources()).resources == []
    assert memory.calls == []
    writer("add_document", name="a.txt", text="Words.")
    writer("delete_document", name="a.txt")
    assert writer("list_documents").startswith(f"The store {folder} is empty.")


def test_a_store_of_another_model(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_checkpoint(tmp_path / "other", other=True)
    monkeypatch.setenv("MAC_MODEL", str(other))
    reader = Asker()
    text = reader.fails("search", question=QUESTION)
    assert "was written with checkpoint" in text and "mac store rebuild" in text
    assert len(reader("list_documents").splitlines()) == 2


def test_a_store_that_is_replaced_meanwhile(
    reader: Asker, mac: Callable[..., Ran], work: Path, tmp_path: Path
) -> None:
    assert len(reader("list_documents").splitlines()) == 2
    (tmp_path / "mac-home" / "store").rename(tmp_path / "old")
    assert reader("search", question=QUESTION).startswith("There is no store")
    (work / "new.txt").write_text("The harbour opened.")
    assert mac("ingest", "new.txt").code == 0
    assert reader("list_documents").endswith("new.txt: 19 characters")


def test_a_fault_of_the_program(
    reader: Asker, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(question: str) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(memory, "encode_question", fail)
    assert reader.fails("search", question=QUESTION) == "bug in mac: KeyError: 'secret'"
    monkeypatch.setattr(Tools, "documents", fail)
    with pytest.raises(MCPError, match="bug in mac: KeyError"):
        reader.do(lambda client: client.list_resources())
