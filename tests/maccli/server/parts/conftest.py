"""A server on a free port in a thread, with the key that clients must show."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import uvicorn

from maccli.api import Mac
from maccli.server.app import create_app
from maccli.server.engine import Engine
from maccli.server.safety import Access
from maccli.server.sockets import tcp

Started = Callable[..., str]


@contextmanager
def serving(stores: Mapping[str, Path], key: str | None = None) -> Iterator[str]:
    """Serve stores, the first of which counts where none is named; no model is loaded."""
    first, *others = stores.values()
    with Mac(first) as mac, tcp.listening("127.0.0.1", 0) as listener:
        engine = Engine(mac, {folder.name: folder for folder in others}, queue=1)
        config = uvicorn.Config(create_app(engine, Access(key=key)), log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def started() -> Iterator[Started]:
    """Serve folders of stores, and return the address."""
    with ExitStack() as stack:

        def start(*folders: Path, key: str | None = None) -> str:
            stores = {folder.name: folder for folder in folders}
            return stack.enter_context(serving(stores, key))

        yield start
