"""`mac serve`: the sockets, the key, and a server that runs until it is told to stop."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from maccli.api import Mac
from maccli.errors import USAGE, MacError
from maccli.server.app import create_app
from maccli.server.engine import Engine
from maccli.server.safety import LOCAL, Access
from maccli.server.sockets import routes, tcp, unix
from maccli.server.sockets.client import identity
from maccli.service.session import KEY_VARIABLE

_LEAST_KEY = 16
_REQUEST_SECONDS = 30
"""A connection must have sent its first request's head in so many seconds."""
_END_SECONDS = 35
"""What runs when the server is told to stop may take so many more."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to serve.

    Attributes:
        host: a name or an address of this machine.
        port: 0 for any that is free.
        key_file: a file with the key; None: the key is in the environment, if there is one.
        allow_hosts: further names that clients may call the server by.
        also: folders of further stores.
        queue: so many questions may wait.
    """

    host: str
    port: int
    key_file: Path | None
    allow_hosts: Sequence[str]
    also: Sequence[Path]
    queue: int


def serve(mac: Mac, settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; what runs then comes to its end.

    Args:
        mac: the first store, and the model.
        settings: how to serve.
        on_ready: called with the address, such as "http://127.0.0.1:8642", once it answers.

    Raises:
        MacError: the address, the key or a store cannot be used.
        WeightsError: the base weights cannot be downloaded or read.
        ModelError: the model cannot be used.
    """
    key = read_key(settings.key_file)
    others = named_stores(mac.folder, settings.also)
    with (
        tcp.listening(settings.host, settings.port) as listener,
        unix.listening([mac.folder, *others.values()]) as local_listeners,
    ):
        address, port = listener.getsockname()[:2]
        if key is None and not ipaddress.ip_address(address).is_loopback:
            raise MacError(
                f"Other machines reach {settings.host}, so a key is needed.",
                f"Write one into a file (--key-file FILE) or into {KEY_VARIABLE}: "
                "openssl rand -hex 32",
                USAGE,
            )
        names = {"localhost", settings.host, *settings.allow_hosts}
        engine = Engine(mac, others, queue=settings.queue)
        engine.load()
        app = create_app(engine, Access(key, frozenset(map(str.lower, names))))
        app.state.identity = identity(mac.session)
        app.include_router(routes.router)
        server = _Server(_config(app), engine)
        host = f"[{address}]" if ":" in address else address
        server.when_started(lambda: on_ready(f"http://{host}:{port}"))
        server.run([listener, *local_listeners])


def read_key(file: Path | None) -> str | None:
    """Return the key that clients must show; None if none was set.

    Raises:
        MacError: it is short, or cannot stand in a request.
        OSError: the file cannot be read.
    """
    if file is not None:
        key, where = file.read_text("utf-8", "replace").strip(), str(file)
    else:
        key, where = os.environ.get(KEY_VARIABLE, "").strip(), KEY_VARIABLE
        if not key:
            return None
    if len(key) < _LEAST_KEY or not (key.isascii() and key.isprintable()) or " " in key:
        raise MacError(
            f"The key in {where} must have at least {_LEAST_KEY} characters, all of them ASCII "
            "and none a space.",
            "This makes one: openssl rand -hex 32",
            USAGE,
        )
    return key


def named_stores(first: Path, others: Sequence[Path]) -> dict[str, Path]:
    """Return further stores by their names, those of their folders.

    Raises:
        MacError: two stores have the same name.
    """
    stores = {first.name: first}
    for folder in others:
        if folder.name in stores:
            raise MacError(
                f"Two stores are called {folder.name!r}: {stores[folder.name]} and {folder}.",
                "A store is called as its folder; rename one.",
                USAGE,
            )
        stores[folder.name] = folder
    del stores[first.name]
    return stores


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_END_SECONDS,
    )


class _Protocol(H11Protocol):
    """HTTP, on a connection that is closed if no request comes."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        if transport.get_extra_info("socket").family == getattr(socket, "AF_UNIX", None):
            self.app_state = {**self.app_state, LOCAL: True}
        self.loop.call_later(_REQUEST_SECONDS, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    """A server that tells the engine to stop when it is itself told to, and then returns."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine
        self._on_start: Callable[[], None] = lambda: None

    def when_started(self, call: Callable[[], None]) -> None:
        """Call this once requests are answered."""
        self._on_start = call

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._on_start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals meanwhile; unlike the base class, do not raise them again at the end."""
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Take no more requests; the second Ctrl-C does not wait for those that run."""
        super().handle_exit(sig, frame)
        self._engine.stop()
