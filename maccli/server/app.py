"""The application: the routes, and what stands before them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import Response

from maccli.server import page, routes
from maccli.server.engine import UPLOADS, Engine
from maccli.server.metrics import Sample
from maccli.server.openai import completions
from maccli.server.parts import routes as parts
from maccli.server.problems import Faults, of_http, of_validation
from maccli.server.requests import ERRORS, TheEngine
from maccli.server.responses import Json
from maccli.server.safety import Access, Guard
from maccli.server.shapes import Health

_ABOUT = """Answers from your own documents. What a document says is never obeyed.

Documents have names; a name that came from a file of the server is its path there."""

router = APIRouter(responses=ERRORS, default_response_class=Json)
counters = APIRouter(responses=ERRORS)


def create_app(engine: Engine, access: Access) -> FastAPI:
    """Return the application.

    Args:
        engine: its stores and the loaded model.
        access: who may ask.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.stop()
        await asyncio.to_thread(engine.join)

    app = FastAPI(
        title="mac",
        version="1",
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,  # the pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.engine = engine
    app.state.started = int(time.time())
    app.state.uploads = asyncio.Semaphore(UPLOADS + 1)
    # For the OpenAPI document; Guard checks the key.
    key = [] if access.key is None else [Security(HTTPBearer(auto_error=False))]
    for guarded in (completions.router, routes.router, parts.router, counters):
        app.include_router(guarded, dependencies=key)
    app.include_router(router)
    app.include_router(page.router)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_http)
    app.add_middleware(Faults)
    app.add_middleware(
        Guard,
        access=access,
        on_status=lambda status: engine.metrics.add("mac_responses_total", status=str(status)),
    )
    return app


@router.get("/healthz", responses={200: {"model": Health}}, summary="Whether the server answers")
async def health() -> Json:
    """Answer at once; no key is needed."""
    return Json({"status": "ok"})


@counters.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Counters for Prometheus",
)
def metrics(engine: TheEngine) -> Response:
    """Return questions, seconds of each step, documents and the queue."""
    workers = {"questions": engine.questions, "uploads": engine.ingests}

    def of_each(value: str) -> list[Sample]:
        return [({"queue": name}, float(getattr(it, value))) for name, it in workers.items()]

    text = engine.metrics.text(
        {
            "mac_documents": [({"store": name}, engine.count(name)) for name in engine.stores],
            "mac_queue_waiting": of_each("waiting"),
            "mac_queue_running": of_each("running"),
            "mac_queue_limit": of_each("limit"),
        }
    )
    return Response(text, media_type="text/plain; version=0.0.4")
