"""A server in this process, on the model without networks, or on tiny ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import pytest
from fastapi.testclient import TestClient

from maccli import Mac
from maccli.server.app import create_app
from maccli.server.engine import Engine
from maccli.server.safety import Access

from ..conftest import FakeMemory

ADDRESS = "http://127.0.0.1:8642"
BRIDGE = "Varnholt is small. The bridge was opened by Ida Brandt."
PRIZE = "# Prizes\n\nThe poetry prize went to Tomas Reyl."
QUESTION = "Who opened the bridge?"

Serve = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for sockets, whose path is short enough for them, in place of the user's."""
    with TemporaryDirectory() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server on the store `notes`, and return a client."""
    with ExitStack() as stack:

        def start(
            also: Sequence[str] = (), queue: int = 16, access: Access | None = None
        ) -> TestClient:
            mac = stack.enter_context(Mac("notes"))
            others = {name: Path(name).absolute() for name in also}
            engine = Engine(mac, others, queue=queue)
            engine.load()
            app = create_app(engine, access or Access())
            client = TestClient(app, base_url=ADDRESS, raise_server_exceptions=False)
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(memory: FakeMemory, serve: Serve) -> TestClient:
    """A client of a server without documents."""
    return serve()


@pytest.fixture
def filled(client: TestClient) -> TestClient:
    """A client of a server with two documents."""
    assert upload(client, "bridge.txt", BRIDGE).status_code == 201
    assert upload(client, "prize.md", PRIZE, tags=["poetry"]).status_code == 201
    return client


def upload(client: TestClient, file: str, content: str | bytes, **fields: Any) -> Any:
    """Send a file in a form."""
    data = content.encode() if isinstance(content, str) else content
    return client.post("/v1/documents", files={"file": (file, data)}, data=fields)


def problem(response: Any, status: int, code: str) -> str:
    """Check that a response is one JSON error without a path of this machine; return its words."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}
    assert str(Path.cwd()) not in response.text and "/tmp" not in response.text
    message: str = error["message"]
    assert message and "\n" not in message
    return message


class Gate:
    """Holds the model up: it waits before each answer until `open` is set."""

    def __init__(self, memory: FakeMemory) -> None:
        self.entered = Event()
        self.open = Event()
        self._answer = memory.answer
        memory.answer = self._wait  # type: ignore[method-assign]

    def _wait(self, *args: Any, **kwargs: Any) -> Any:
        self.entered.set()
        assert self.open.wait(60)
        return self._answer(*args, **kwargs)


@pytest.fixture
def gate(memory: FakeMemory) -> Iterator[Gate]:
    made = Gate(memory)
    yield made
    made.open.set()
