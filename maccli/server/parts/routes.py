"""The routes for other machines, which ask a store of this one together with their own.

They compute with the index alone: no model is needed, and no question waits for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from maccli.server.engine import Engine
from maccli.server.parts import shapes
from maccli.server.problems import RequestError
from maccli.server.requests import ERRORS, StoreName, TheEngine
from maccli.server.responses import Json
from maccli.server.shapes import Day, Tags
from store import near
from store.errors import ChunksGoneError, StoreNotFoundError
from store.labels import Within
from store.remote.server import from_text, to_text
from store.store import Store

router = APIRouter(prefix="/v1", responses=ERRORS, default_response_class=Json)


@router.get("/store", responses={200: {"model": shapes.StoreAbout}}, summary="Describe a store")
def about(
    engine: TheEngine,
    store: StoreName,
    tags: Annotated[Tags, Query()] = [],  # noqa: B006  # FastAPI reads the default only
    since: Annotated[Day | None, Query()] = None,
    until: Annotated[Day | None, Query()] = None,
) -> Json:
    """Return which model wrote the store, and the number of its documents."""
    with _opened(engine, store) as opened:
        names = ("model", "fingerprint", "key_size", "latent_size")
        fields = {name: getattr(opened, name) for name in names}
        documents = opened.count(Within(tuple(tags), since, until))
    return Json({"object": "store", "name": store, **fields, "documents": documents})


@router.post(
    "/select",
    responses={200: {"model": shapes.Selected}},
    summary="Rank chunks beside those of other stores",
)
def select(body: shapes.SelectRequest, engine: TheEngine, store: StoreName) -> Json:
    """Return what several stores that are asked as one need of this one to rank its chunks.

    The scores of BM25 depend on all stores, so counts are returned; relevance is the product of
    query and key.
    """
    found: dict[str, Any] = dict.fromkeys(shapes.Selected.model_fields)
    with _opened(engine, store) as opened, opened.snapshot():
        index = opened.text_index
        if body.known is not None:
            found["known"] = index.known(body.known)
        if body.similar is not None:
            found["similar"] = index.similar(body.similar)
        if (matches := body.matches) is not None:
            found["matches"] = asdict(index.matches(matches.words, matches.limit, body.within))
        if (coverage := body.coverage) is not None:
            found["coverage"] = asdict(index.coverage(coverage.words, coverage.ids))
        if body.keys is not None:
            found["keys"] = _nearest(opened, body.keys, body.within)
    return Json(found)


@router.post("/chunks", responses={200: {"model": shapes.ChunkList}}, summary="Read chunks")
def chunks(body: shapes.ChunksRequest, engine: TheEngine, store: StoreName) -> Json:
    """Return chunks with their texts and what is known of their places."""
    with _opened(engine, store) as opened, opened.snapshot():
        if body.document is not None:
            rows = opened.chunks(body.document)
        elif body.sharing is not None:
            rows = opened.sharing(body.sharing, body.limit)
        elif body.text is not None:
            rows = opened.chunk_rows(opened.same_text(body.text, body.within, body.limit))
        else:
            rows = opened.chunk_rows(body.ids or [])
    return Json({"object": "list", "data": list(map(asdict, rows))})


@router.post(
    "/modulations", responses={200: {"model": shapes.ModulationList}}, summary="Read modulations"
)
def modulations(body: shapes.ModulationsRequest, engine: TheEngine, store: StoreName) -> Json:
    """Return the modulations of chunks, for a language model on another machine."""
    with _opened(engine, store) as opened:
        stored = opened.modulations(body.ids)
    data = [
        {
            "id": chunk_id,
            "latents": to_text(each.latents),
            "scales": to_text(each.scales),
            "rows": None if each.rows is None else each.rows.tolist(),
        }
        for chunk_id, each in zip(body.ids, stored, strict=True)
    ]
    return Json({"object": "list", "data": data})


@contextmanager
def _opened(engine: Engine, name: str) -> Iterator[Store]:
    """Provide a store of the engine.

    Raises:
        StoreNotFoundError: nothing was stored in it yet.
        RequestError: a chunk that the request names is not in it.
    """
    with engine.open(name) as mac:
        if mac.store is None:
            raise StoreNotFoundError(name)
        try:
            yield mac.store
        except ChunksGoneError:
            message = "One of the chunks is not in the store."
            raise RequestError(404, "no_chunk", message) from None


def _nearest(store: Store, wanted: shapes.NearestKeys, within: Within) -> dict[str, Any]:
    try:
        query = from_text(wanted.query, "<f4", store.key_size)
    except ValueError:
        message = f"query: must be base64 of {store.key_size} finite float32 numbers."
        raise RequestError(400, "invalid_request", message) from None
    ids, keys = near.nearest(store, query, wanted.number, wanted.extra_ids, within)
    return {"ids": ids.tolist(), "keys": to_text(keys)}
