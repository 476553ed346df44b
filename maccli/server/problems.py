"""What goes wrong, as one JSON error with a status, and without a path of this machine."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maccli.errors import NOTHING_FOUND, USAGE, MacError
from maccli.server.queue import Cancelled, QueueFull, Stopping
from maccli.server.responses import Json, whole

CLIENT_GONE = 499
"""Nobody reads this status; it is for the metrics."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_SOON = 5
"""Seconds after which to try again what another process is in the way of."""
_LONGEST = 500


class RequestError(HTTPException):
    """A request that cannot be answered. FastAPI lets it through as it is, from a body as well.

    Attributes:
        code: a word that programs can compare.
        message: one line for people.
        retry_after: in how many seconds to try again; None: the same request will not succeed.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(status, message)
        self.code = code
        self.message = message
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """Return the error in the shape that OpenAI's clients read."""
        kind = "server_error" if self.status_code >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status_code, kind)
        about = {"message": self.message, "type": kind, "param": None, "code": self.code}
        return {"error": about}

    def response(self) -> Response:
        """Return it as a response."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status_code == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Json(self.body(), self.status_code, headers)


_STORE_GONE = (404, "no_store", "There is no such store any more. An upload makes it.")
_UNAVAILABLE = (503, "model_unavailable", "The model cannot be used; see the server's messages.")
# By class name, from the most special class of an exception on, as in `maccli.errors`.
_KNOWN: dict[str, tuple[int, str, str]] = {
    "StoreNotFoundError": _STORE_GONE,
    "FingerprintMismatchError": (
        409,
        "other_model",
        "Another model than the server's wrote this store; mac store rebuild makes it this one's.",
    ),
    "StoreVersionError": (503, "store_version", "Another version of mac wrote this store."),
    "StoreCorruptError": (
        503,
        "store_damaged",
        "The store is damaged; mac store verify --repair on the server's machine may mend it.",
    ),
    "StoreBusyError": (503, "store_busy", "Another process is writing to the store."),
    "ChunksGoneError": (503, "store_busy", "Another process changed the document meanwhile."),
    "StoreError": (503, "store_unusable", "The store cannot be read or written."),
    "WeightsError": _UNAVAILABLE,
    "CheckpointError": _UNAVAILABLE,
    "UnsupportedModelError": _UNAVAILABLE,
    "ModelError": (
        400,
        "too_long",
        "The question and its passages are longer than the model can read; ask with a smaller k.",
    ),
    "OutOfMemoryError": (503, "out_of_memory", "There is not enough memory for this."),
    "MemoryError": (503, "out_of_memory", "There is not enough memory for this."),
    "Error": (503, "store_unusable", "The store cannot be read or written."),  # sqlite3's
    "OSError": (503, "file_trouble", "A file on the server cannot be read or written."),
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PATH = re.compile(r"(?<![\w/.])(?:~|[A-Za-z]:)?[/\\][^\s'\",;]+")


def problem_of(error: BaseException) -> RequestError | None:
    """Return what to tell a client about an exception; None if it is a fault of this program."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, QueueFull):
        message = "Too many requests are waiting; try again later."
        return RequestError(429, "queue_full", message, retry_after=error.retry_after)
    if isinstance(error, Stopping | KeyboardInterrupt):
        return RequestError(503, "stopping", "The server is stopping.", retry_after=_SOON)
    if isinstance(error, Cancelled | ClientDisconnect):
        return RequestError(CLIENT_GONE, "cancelled", "The request was cancelled.")
    if isinstance(error, MacError):
        return _mac_problem(error)
    if any(map(_is_full, _causes(error))):
        return RequestError(507, "disk_full", "The server's disk is full. Nothing stored is lost.")
    for name in (cls.__name__ for cls in type(error).__mro__):
        if name in _KNOWN:
            status, code, message = _KNOWN[name]
            soon = _SOON if code == "store_busy" else None
            return RequestError(status, code, message, retry_after=soon)
    return None


def without_paths(message: str) -> str:
    """Return a message on one line, not too long, with `…` for what looks like a path."""
    line = " ".join(whole(message).split())
    for folder in filter(None, (os.path.expanduser("~"), os.getcwd())):
        if folder != os.sep:
            line = line.replace(folder, os.sep + "…")
    return _PATH.sub("…", line)[:_LONGEST]


def _mac_problem(error: MacError) -> RequestError:
    if error.exit_code == NOTHING_FOUND:
        message = "There are no documents to answer from. Upload some: POST /v1/documents."
        return RequestError(404, "no_documents", message)
    if error.exit_code == USAGE:
        return RequestError(400, "invalid_request", without_paths(error.message))
    return RequestError(503, "failed", without_paths(error.message))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_full(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _FULL


class Faults:
    """Answers every exception of the application with a JSON error; the server goes on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except (Exception, asyncio.CancelledError) as error:
            if begun or scope["type"] != "http":
                raise
            # uvicorn cancels what has not come to its end long after the server was stopped.
            cause = Stopping() if isinstance(error, asyncio.CancelledError) else error
            await reported(cause).response()(scope, receive, send)


def reported(error: BaseException) -> RequestError:
    """Return what to tell a client; what only the server's owner can mend goes to stderr, too."""
    problem = problem_of(error)
    if problem is None:
        traceback.print_exception(error)
        return RequestError(500, "bug", "A bug in mac; the server's messages have the traceback.")
    if problem.status_code in (503, 507) and not isinstance(error, Stopping | KeyboardInterrupt):
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return problem


def of_validation(_: Request, error: Exception) -> Response:
    """Answer a request whose JSON, or a value in it, is not what the route takes."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "json_invalid":
        message = f"The body is not valid JSON: {first['ctx']['error']} at character {place}."
    else:
        said = first["msg"].removeprefix("Value error, ")
        message = f"{place or 'body'}: {said}"
    return RequestError(400, "invalid_request", without_paths(message)).response()


def of_http(_: Request, error: Exception) -> Response:
    """Answer what Starlette and FastAPI refuse by themselves, such as a route that is not there."""
    assert isinstance(error, HTTPException)
    if isinstance(error, RequestError):
        return error.response()
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    message = without_paths(str(error.detail)).removesuffix(".") + "."
    return RequestError(error.status_code, code, message).response()
