"""What the routes need of a request: the engine, the store it names, and when its client leaves."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request

from maccli.server.engine import Engine
from maccli.server.problems import RequestError
from maccli.server.queue import Cancelled, Job
from maccli.server.shapes import Error

T = TypeVar("T")

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Error, "description": "The request cannot be answered as it is."},
    "5XX": {"model": Error, "description": "The server cannot answer now."},
}
"""The responses that every route may give besides its own, for the OpenAPI document."""


def engine_of(request: Request) -> Engine:
    """Return the engine of the application that the request came to."""
    engine: Engine = request.app.state.engine
    return engine


TheEngine = Annotated[Engine, Depends(engine_of)]


def store_of(
    engine: TheEngine,
    store: Annotated[
        str | None, Query(description="A store's name, as in its model mac/NAME; else the first.")
    ] = None,
) -> str:
    """Return the name of the store that a request means.

    Raises:
        RequestError: the server has no such store.
    """
    if store is None:
        return next(iter(engine.stores))
    if store not in engine.stores:
        raise RequestError(404, "no_store", "The server has no store of this name.")
    return store


StoreName = Annotated[str, Depends(store_of)]


async def result_of(job: Job[T], request: Request) -> T:
    """Wait for a job, and return its result.

    Raises:
        Cancelled: the client went away first; the job is cancelled.
        Exception: what the job raised.
    """
    leaving = asyncio.ensure_future(_leaves(request))
    result = asyncio.wrap_future(job.future)
    either: set[asyncio.Future[Any]] = {leaving, result}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            raise Cancelled
        return result.result()
    finally:
        leave(job, engine_of(request))
        leaving.cancel()
        result.cancel()


def leave(job: Job[Any], engine: Engine) -> None:
    """Cancel a job for which nobody waits any more; nothing happens if it is done."""
    if job.cancel():
        engine.metrics.add("mac_cancelled_total")


async def _leaves(request: Request) -> None:
    """Wait until the client of a request, whose body was read, is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
