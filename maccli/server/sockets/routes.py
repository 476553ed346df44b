"""What `client` asks through a Unix socket: answers are exact, and errors those of a terminal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from maccli.errors import MacError
from maccli.server.engine import Engine, Passages, Reply
from maccli.server.problems import RequestError, reported
from maccli.server.queue import Job
from maccli.server.requests import TheEngine, leave
from maccli.server.safety import is_local
from maccli.server.sockets.client import PATH, settings

_BEAT_SECONDS = 1.0
"""After so long without a word the client is told that the server still works."""
_BEAT = b"\n"


def _only_local(request: Request) -> None:
    if not is_local(request.scope):
        raise RequestError(404, "not_found", "Not Found.")


router = APIRouter(prefix=PATH[:-1], include_in_schema=False, dependencies=[Depends(_only_local)])


class Asked(BaseModel):
    """A question as `client` sends it.

    Attributes:
        identity: see `client.identity`.
        settings: see `client.settings`.
        store: the store's folder.
        question: the question.
        how: the other arguments of `Mac.ask` or `Mac.search`.
        streams: whether the pieces of the answer are wanted as they are made.
    """

    identity: dict[str, Any]
    settings: dict[str, Any]
    store: str
    question: str
    how: dict[str, Any]
    streams: bool


@router.post("/{verb}")
async def answer(
    verb: Literal["ask", "search"], body: Asked, request: Request, engine: TheEngine
) -> StreamingResponse:
    """Answer in lines of JSON: `text` as it is made, then `result` or `error`.

    Empty lines between them say that the server works. Where none of the two comes, the client has
    to help itself.
    """
    store = _store_of(engine, body.store)
    same = (body.identity, body.settings) == (request.app.state.identity, settings())
    if store is None or not same:
        raise RequestError(409, "other_model", "The server has another store, model or setting.")
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def put(piece: str | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server has stopped
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

    job: Job[Reply] | Job[Passages]
    if verb == "ask":
        job = engine.ask(store, body.question, body.how, put if body.streams else None)
    else:
        job = engine.search(store, body.question, body.how)
    job.future.add_done_callback(lambda _: put(None))
    # If the client has left already, the lines are never asked for: hence the second `leave`.
    return StreamingResponse(
        _lines(job, pieces, engine, (str(engine.stores[store]), body.store)),
        media_type="application/x-ndjson",
        background=BackgroundTask(leave, job, engine),
    )


def _store_of(engine: Engine, folder: str) -> str | None:
    """Return the name of the store in a folder; None if the server has none there."""
    wanted = Path(folder).resolve()
    names = (name for name, path in engine.stores.items() if path.resolve() == wanted)
    return next(names, None)


async def _lines(
    job: Job[Any], pieces: asyncio.Queue[str | None], engine: Engine, folders: tuple[str, str]
) -> AsyncIterator[bytes]:
    """Yield the lines of an answer, and cancel the job if the client goes away before its end.

    Args:
        job: makes the answer.
        pieces: of the answer, and None at its end.
        engine: counts what is cancelled.
        folders: what the server and what the client calls the store's folder.
    """
    try:
        yield _BEAT
        while True:
            try:
                piece = await asyncio.wait_for(pieces.get(), _BEAT_SECONDS)
            except TimeoutError:
                yield _BEAT
                continue
            if piece is None:
                break
            yield _line({"text": piece})
        yield _last_line(job, folders)
    finally:
        leave(job, engine)


def _last_line(job: Job[Any], folders: tuple[str, str]) -> bytes:
    try:
        result: Reply | Passages = job.future.result()
    except MacError as error:
        message = error.message.replace(*folders)
        return _line(
            {"error": {"message": message, "hint": error.hint, "exit_code": error.exit_code}}
        )
    except Exception as error:  # of the server; without one the question may well be answered
        reported(error)
        return _BEAT
    if isinstance(result, Reply):
        return _line({"result": asdict(result.answer)})
    return _line({"result": [asdict(passage) for passage in result.passages]})


def _line(value: dict[str, Any]) -> bytes:
    """Return a value on a line. Escapes keep names that are no Unicode as they are."""
    return json.dumps(value).encode() + b"\n"
