"""`mac mcp` as clients start it: over standard input and output, and over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..conftest import FakeMemory, Ran
from .conftest import BRIDGE, MAC

pytest.importorskip("mcp.server.mcpserver")  # new in version 2

from mcp import Client, StdioServerParameters

# The networks are random, so nobody knows which of the two documents is found first.
QUESTION = {"question": "Who opened the bridge?", "k": 2}
Mac = Callable[..., Ran]


async def use(target: Any) -> list[str]:
    """Use every tool once; return what they said."""
    async with Client(target) as client:
        assert [tool.name for tool in (await client.list_tools()).tools][:2] == ["search", "ask"]
        calls = [
            ("search", QUESTION),
            ("ask", QUESTION),
            ("add_document", {"name": "new.md", "text": "# New\n\nA new thing."}),
            ("list_documents", {}),
            ("get_document", {"name": "new.md"}),
            ("delete_document", {"name": "new.md"}),
        ]
        results = [await client.call_tool(name, given) for name, given in calls]
        resources = (await client.list_resources()).resources
        assert [Path(resource.name).name for resource in resources] == ["bridge.txt", "prize.md"]
        text = (await client.read_resource(resources[0].uri)).contents[0]
        assert getattr(text, "text", "") == BRIDGE
    assert not any(result.is_error for result in results), results
    return ["\n".join(block.text for block in result.content) for result in results]


def check(texts: list[str]) -> None:
    search, ask, added, listed, got, deleted = texts
    assert search.startswith("2 passages") and f"> {BRIDGE}" in search
    assert ask.startswith("Outcome: ") and "\n> " in ask
    assert added == "Added new.md: 1 passage."
    assert listed.splitlines()[-1] == "new.md (New): 19 characters"
    assert got.endswith("\n# New\n\nA new thing.")
    assert deleted == "Deleted new.md."


def test_over_standard_input_and_output(environment: dict[str, str], work: Path) -> None:
    command, *arguments = [*MAC, "mcp", "--writable"]
    server = StdioServerParameters(command=command, args=arguments, env=environment, cwd=str(work))
    check(asyncio.run(use(server)))


def test_nothing_but_the_protocol_is_on_standard_output(
    environment: dict[str, str], work: Path
) -> None:
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    with subprocess.Popen(
        [*MAC, "mcp"],
        cwd=work,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin and server.stdout and server.stderr

        def send(method: str, number: int | None = None, **parameters: Any) -> Any:
            assert server.stdin and server.stdout
            message = {"jsonrpc": "2.0", "method": method, "params": parameters}
            named = message if number is None else {**message, "id": number}
            server.stdin.write(json.dumps(named) + "\n")
            server.stdin.flush()
            return None if number is None else json.loads(server.stdout.readline())

        begun = send("initialize", 1, **hello)
        assert begun["result"]["serverInfo"]["name"] == "mac"
        assert "they are data" in begun["result"]["instructions"]
        send("notifications/initialized")
        for number, tool in enumerate(("search", "ask"), 2):
            answered = send("tools/call", number, name=tool, arguments=QUESTION)
            assert answered["id"] == number and not answered["result"]["isError"]
        server.stdin.close()
        assert server.stdout.read() == ""
        assert server.stderr.read() == ""
    assert server.returncode == 0


@pytest.fixture
def served(environment: dict[str, str], work: Path) -> Iterator[str]:
    """The address of a server; it is stopped with Ctrl-C, and that is no failure."""
    with subprocess.Popen(
        [*MAC, "mcp", "--http", "--port", "0", "--writable"],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as server:
        assert server.stdout and server.stderr
        try:
            first = server.stderr.readline()
            assert first.startswith("Serving http://127.0.0.1:"), first + server.stderr.read()
            yield first.split()[1].rstrip(";")
        finally:
            server.send_signal(signal.SIGINT)
        assert server.stderr.read().endswith("Stopped.\n") and server.stdout.read() == ""
    assert server.returncode == 0


def status(url: str, **headers: str) -> int:
    """Call a tool with these headers; return the HTTP status."""
    parts = urlsplit(url)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    needed = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.request("POST", parts.path, json.dumps(call), {**needed, **headers})
    code = connection.getresponse().status
    connection.close()
    return code


def test_over_http(served: str) -> None:
    check(asyncio.run(use(served)))
    assert status(served) == 200
    for host in ("localhost", "[::1]:80", "127.0.0.1:9000"):
        assert status(served, Host=host) == 200
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80"):
        assert status(served, Host=host) == 421
    assert status(served, Origin="http://localhost:3000") == 200
    for origin in ("http://evil.example", "http://localhost.evil.example", "null"):
        assert status(served, Origin=origin) == 403


def test_a_port_that_is_taken(mac: Mac, memory: FakeMemory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = mac("mcp", "--http", "--port", str(port))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"Error: Cannot listen at 127.0.0.1, port {port}: address already in use.\n"
        "Hint: Choose another --port, or --port 0 for any that is free.\n"
    )


def test_an_address_that_others_reach_is_warned_of(mac: Mac, memory: FakeMemory) -> None:
    ran = mac("mcp", "--http", "--host", "203.0.113.1", "--port", "0")
    assert ran.code == 1 and "Cannot listen at 203.0.113.1, port 0" in ran.err
    assert "Warning: Whoever reaches 203.0.113.1 can read the store" in ran.err
