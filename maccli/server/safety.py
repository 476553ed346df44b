"""Who may ask: the key, Host and Origin, and how large and how slow a request may be."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maccli.reading.loaders import MAX_BYTES
from maccli.server.problems import RequestError

OPEN_PATHS = frozenset({"/", "/healthz", "/openapi.json"})
PAGE = "/page/"
"""These, and what is below the last, are read without a key: nothing of a store stands there."""
UPLOAD_PATH = "/v1/documents"
MAX_UPLOAD = MAX_BYTES + (1 << 20)
"""Bytes of an upload: the largest file that is read, and the form around it."""
MAX_BODY = 1 << 20
"""Bytes of any other request."""
UPLOAD_SECONDS = 600.0
BODY_SECONDS = 30.0
"""Seconds in which a request must have arrived."""
LOCAL = "local"
"""In the state of a request that came through a Unix socket, which only the user can open."""
_READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        key: what a client must show; None: no key is needed.
        hosts: names of this server, in lower case. Its addresses count without being named, since
            a foreign web page can only rebind a name (DNS rebinding).
    """

    key: str | None = None
    hosts: frozenset[str] = frozenset({"localhost"})


class Guard:
    """Refuses requests that may not come in, and ends those that are too large or too slow.

    Args:
        app: the application behind it.
        access: who may ask.
        on_status: called with the status of each response.
    """

    def __init__(self, app: ASGIApp, access: Access, on_status: Callable[[int], None]) -> None:
        self.app = app
        self._access = access
        self._on_status = on_status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it with an error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._on_status(message["status"])
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        upload = scope["path"] == UPLOAD_PATH
        body = _Body(
            receive,
            MAX_UPLOAD if upload else MAX_BODY,
            UPLOAD_SECONDS if upload else BODY_SECONDS,
        )
        try:
            headers = Headers(scope=scope)
            if not is_local(scope):
                self._check_host(headers)
                self._check_origin(headers, scope["method"])
                if scope["path"] not in OPEN_PATHS and not scope["path"].startswith(PAGE):
                    self._check_key(headers)
            body.check_length(headers.get("content-length"))
        except RequestError as error:
            await error.response()(scope, receive, sending)
            return
        await self.app(scope, body.receive, sending)

    def _check_host(self, headers: Headers) -> None:
        host = _host(headers.get("host", ""))
        if host is None or not (_is_address(host) or host in self._access.hosts):
            message = "This server does not go by this name; mac serve --allow-host NAME adds one."
            raise RequestError(403, "wrong_host", message)

    def _check_origin(self, headers: Headers, method: str) -> None:
        """Refuse what a browser sends for a page that another server has made."""
        origin = headers.get("origin")
        foreign = method not in _READING and headers.get("sec-fetch-site") in (
            "cross-site",
            "same-site",
        )
        if origin is not None:
            foreign = not _same(origin, headers.get("host", ""))
        if foreign:
            message = "Requests from pages of other servers are refused."
            raise RequestError(403, "wrong_origin", message)

    def _check_key(self, headers: Headers) -> None:
        key = self._access.key
        if key is None:
            return
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode(), key.encode())
        if scheme.lower() != "bearer" or not right:
            message = "A valid key is needed: Authorization: Bearer KEY."
            raise RequestError(401, "invalid_api_key", message)


def is_local(scope: Scope) -> bool:
    """Return whether a request came through a Unix socket: the server says so, no client can."""
    return LOCAL in scope.get("state", ())


class _Body:
    """The body of a request as it comes in, of bounded size and duration."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive = receive
        self._most = most
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._size = 0
        self._complete = False

    def check_length(self, length: str | None) -> None:
        """Refuse a body that says itself that it is too large."""
        if length is not None and (not length.isdecimal() or int(length) > self._most):
            raise self._too_large()

    async def receive(self) -> Message:
        """Return the next part, or after the last one that the client is gone.

        Raises:
            RequestError: the body is too large, or takes too long.
        """
        if self._complete:
            return await self._receive()
        left = self._deadline - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.01))
        except TimeoutError:
            text = f"The request did not arrive within {self._seconds:.0f} s."
            raise RequestError(408, "too_slow", text) from None
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise self._too_large()
        self._complete = not message.get("more_body", False)
        return message

    def _too_large(self) -> RequestError:
        text = f"The request is larger than {self._most / (1 << 20):.0f} MB."
        return RequestError(413, "too_large", text)


def _host(header: str) -> str | None:
    """Return the name or address in a Host header, in lower case; None if it is none."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _same(origin: str, host: str) -> bool:
    """Return whether a page from `origin` comes from the server that goes by `host`."""
    try:
        page, here = urlsplit(origin), urlsplit(f"{urlsplit(origin).scheme}://{host}")
        default = {"http": 80, "https": 443}.get(page.scheme)
        mine = (here.hostname, here.port or default)
        return page.hostname is not None and (page.hostname, page.port or default) == mine
    except ValueError:
        return False
