"""The routes of `mac` itself: documents, ask and search."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from maccli.api import Document, Mac, Outcome
from maccli.server import shapes, uploads
from maccli.server.engine import Engine
from maccli.server.problems import RequestError, without_paths
from maccli.server.queue import QueueFull, Stopping
from maccli.server.requests import ERRORS, StoreName, TheEngine, result_of
from maccli.server.responses import Json
from maccli.server.shapes import MAX_ID, Day, Tags
from store.marks import mark_at

router = APIRouter(prefix="/v1", responses=ERRORS, default_response_class=Json)

_UPLOAD_PAUSE = 10
"""Seconds after which a client may try again that found no place for its upload."""

Id = Annotated[int, Path(ge=1, le=MAX_ID, description="As in the list of documents.")]
LastId = Annotated[
    int | None, Query(ge=0, le=MAX_ID, description="The id of the last one that is known.")
]


@router.post("/ask", responses={200: {"model": shapes.Answer}}, summary="Answer a question")
async def ask(
    body: shapes.AskRequest, request: Request, engine: TheEngine, store: StoreName
) -> Json:
    """Answer as `mac ask --json` does."""
    how = body.model_dump(exclude={"question"})
    reply = await result_of(engine.ask(store, body.question, how), request)
    return Json(reply.answer.as_dict())


@router.post("/search", responses={200: {"model": shapes.PassageList}}, summary="Find passages")
async def search(
    body: shapes.SearchRequest, request: Request, engine: TheEngine, store: StoreName
) -> Json:
    """Return the passages that the question would be answered from, the most relevant first."""
    how = body.model_dump(exclude={"question"})
    found = await result_of(engine.search(store, body.question, how), request)
    return Json({"object": "list", "data": [passage.as_dict() for passage in found.passages]})


@router.post(
    "/documents",
    status_code=201,
    summary="Add a document",
    responses={
        200: {"model": shapes.Upload, "description": "It was stored before: updated or unchanged."},
        201: {"model": shapes.Upload, "description": "It is new."},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": uploads.FORM},
                "application/json": {"schema": shapes.TextDocument.model_json_schema()},
            },
        }
    },
)
async def add(request: Request, engine: TheEngine, store: StoreName) -> Json:
    """Read a file or a text into the store; questions are answered meanwhile.

    The response comes when all of it is stored. A document of the same name is brought up to date.
    """
    places = request.app.state.uploads
    if places.locked():
        raise QueueFull(_UPLOAD_PAUSE)
    async with places:  # taken before the body is read, so that few are in memory at once
        sent = await uploads.read(request)
        job = engine.add(store, sent.name, sent.content, sent.labels)
        outcome = await result_of(job, request)
    _check(outcome, sent.name)
    document = await run_in_threadpool(_stored, engine, store, sent.name)
    status = 201 if outcome.status == "added" else 200
    result = {"status": outcome.status, "remark": outcome.remark}
    return Json({**_entry(document), **result}, status)


@router.get("/documents", responses={200: {"model": shapes.DocumentList}}, summary="List documents")
def list_documents(
    engine: TheEngine,
    store: StoreName,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: LastId = None,
    match: Annotated[
        str | None, Query(description="A part of the name or title; or a glob.")
    ] = None,
    tags: Annotated[Tags, Query()] = [],  # noqa: B006  # FastAPI reads the default only
    since: Annotated[Day | None, Query()] = None,
    until: Annotated[Day | None, Query()] = None,
) -> Json:
    """Return the documents in the order of their names; none if there is no store yet."""
    with engine.open(store) as mac:
        last = mac.document(after) if after is not None else None
        listed = []
        if after is None or last is not None:
            documents = mac.documents(
                match=match,
                limit=limit + 1,
                tags=tags,
                since=since,
                until=until,
                after=last.source if last else None,
            )
            listed = list(documents)
    data = [_entry(document) for document in listed[:limit]]
    return Json({"object": "list", "data": data, "has_more": len(listed) > limit})


@router.get(
    "/documents/{document_id}",
    responses={200: {"model": shapes.WholeDocument}},
    summary="Show a document",
)
def show(document_id: Id, engine: TheEngine, store: StoreName) -> Json:
    """Return a document with its text, in the pieces that it was cut into."""
    with engine.open(store) as mac:
        document = _find(mac, document_id)
        pieces = [
            {
                **{name: getattr(chunk, name) for name in ("position", "start", "end", "tokens")},
                "heading": (mark := mark_at(chunk.marks, chunk.text, 0)).heading,
                "place": mark.place,
                "text": chunk.text,
            }
            for chunk in mac.chunks(document)
        ]
    return Json({**_entry(document), "pieces": pieces})


@router.delete(
    "/documents/{document_id}",
    responses={200: {"model": shapes.Deleted}},
    summary="Remove a document",
)
def remove(document_id: Id, engine: TheEngine, store: StoreName) -> Json:
    """Remove a document from the store; a file that it came from stays where it is."""
    with engine.open(store) as mac:
        document = _find(mac, document_id)
        if not mac.remove(document.source):
            raise _no_document()
    return Json({"object": "document", "id": document_id, "deleted": True})


@router.get("/log", responses={200: {"model": shapes.Log}}, summary="List the questions asked")
def list_questions(
    engine: TheEngine,
    store: StoreName,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: LastId = None,
) -> Json:
    """Return questions, answers and sources, the newest first; none if there is no store yet."""
    with engine.open(store) as mac:
        entries = mac.log(limit=limit + 1, before=before)
    data = [asdict(entry) for entry in entries[:limit]]
    return Json({"object": "list", "data": data, "has_more": len(entries) > limit})


@router.delete("/log", responses={200: {"model": shapes.LogCleared}}, summary="Empty the log")
def clear_log(engine: TheEngine, store: StoreName) -> Json:
    """Remove all questions from the log."""
    with engine.open(store) as mac:
        removed = mac.clear_log()
    return Json({"object": "log", "deleted": removed})


def _find(mac: Mac, document_id: int) -> Document:
    """Return the document with this id.

    Raises:
        RequestError: there is none.
    """
    if (found := mac.document(document_id)) is None:
        raise _no_document()
    return found


def _no_document() -> RequestError:
    return RequestError(404, "no_document", "There is no document with this id.")


def _check(outcome: Outcome, name: str) -> None:
    """Refuse to call an upload stored that is not, or not whole."""
    if outcome.status == "partial":
        raise Stopping
    if outcome.status in ("failed", "skipped"):
        reason = without_paths(outcome.reason or "cannot be read")
        raise RequestError(422, "unreadable", f"{name} {reason}.")


def _stored(engine: Engine, store: str, name: str) -> Document:
    """Return a document from the store as it is on the disk now.

    Raises:
        RequestError: it is not there, for the store was removed while it was written.
    """
    with engine.open(store) as mac:
        document = mac.document(name)
    if document is None or document.source != name:
        message = "The store, or the document, was removed meanwhile; send it again."
        raise RequestError(409, "store_gone", message)
    return document


def _entry(document: Document) -> dict[str, Any]:
    fields = asdict(document)
    shown = {name: fields[name] for name in shapes.Document.model_fields if name in fields}
    return {"object": "document", **shown, "name": document.source, "tags": list(document.tags)}
