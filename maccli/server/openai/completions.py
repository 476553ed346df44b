"""`/v1/models`, `/v1/chat/completions` and `/v1/embeddings`."""

from __future__ import annotations

import asyncio
import base64
import struct
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from maccli import config
from maccli.server.engine import Engine, Passages, Reply
from maccli.server.openai import chat, shapes
from maccli.server.problems import RequestError, reported
from maccli.server.queue import Job
from maccli.server.requests import ERRORS, TheEngine, leave, result_of
from maccli.server.responses import DONE, KEEP_ALIVE, Json, event
from maccli.server.shapes import (
    MAX_ANSWER,
    Answering,
    ChatRequest,
    EmbeddingRequest,
    Selection,
)

router = APIRouter(prefix="/v1", responses=ERRORS, default_response_class=Json)

SEARCH = ":search"
_FIRST_SECONDS = 0.5
"""What fails in this time is answered with its own status, before a stream has begun."""
_QUIET_SECONDS = 5.0
"""After so long without a piece of the answer a comment is sent."""
_STREAM: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}


@router.get("/models", responses={200: {"model": shapes.ModelList}}, summary="List the stores")
def models(request: Request, engine: TheEngine) -> Json:
    """Return each store as a model: `mac` is the first, `mac/NAME` any; `:search` searches it."""
    names = ["mac", *(f"mac/{store}" for store in engine.stores)]
    created = request.app.state.started
    data = [
        {"id": f"{name}{ending}", "object": "model", "created": created, "owned_by": "mac"}
        for name in names
        for ending in ("", SEARCH)
    ]
    return Json({"object": "list", "data": data})


@router.post(
    "/chat/completions",
    responses={200: {"model": shapes.Completion, "content": _STREAM}},
    summary="Answer the last message",
)
async def completions(body: ChatRequest, request: Request, engine: TheEngine) -> Response:
    """Answer the conversation's last question; with `stream` as events that end in `[DONE]`.

    A follow-up is answered after the questions before it.

    An answer is chosen among several, so it is known at its end, and streamed then; comments come
    before it. With `free` the words come as they are made.
    """
    pieces = _Pieces()
    job = _begin(body, engine, pieces)
    completion = _Completion(body)
    if not body.stream:
        return Json(completion.whole(await result_of(job, request)))
    job.future.add_done_callback(lambda _: pieces.put(None))
    with suppress(TimeoutError):
        await asyncio.wait_for(pieces.first(), _FIRST_SECONDS)
    if job.future.done():
        job.future.result()  # raises what went wrong
    # If the client has left already, the events are never asked for: hence the second `leave`.
    return StreamingResponse(
        _events(job, pieces, completion, engine),
        media_type="text/event-stream",
        background=BackgroundTask(leave, job, engine),
    )


@router.post(
    "/embeddings",
    responses={200: {"model": shapes.EmbeddingList}},
    summary="Embed texts",
)
async def embeddings(body: EmbeddingRequest, request: Request, engine: TheEngine) -> Json:
    """Return the sentence encoder's vector of each text, of unit length."""
    if body.model != engine.encoder_name:
        _store_of(engine, body.model.removesuffix(SEARCH))
    texts = [body.input] if isinstance(body.input, str) else body.input
    embedded = await result_of(engine.embed(texts), request)
    size = len(embedded.vectors[0])
    if body.dimensions not in (None, size):
        raise RequestError(400, "invalid_request", f"dimensions: the vectors have {size} numbers.")
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, body.encoding_format)}
        for index, vector in enumerate(embedded.vectors)
    ]
    tokens = {"prompt_tokens": embedded.prompt_tokens, "total_tokens": embedded.prompt_tokens}
    model = engine.encoder_name
    return Json({"object": "list", "data": data, "model": model, "usage": tokens})


def _begin(body: ChatRequest, engine: Engine, pieces: _Pieces) -> Job[Any]:
    """Let the question be answered, or searched for, with what the request says of how."""
    question, history = chat.conversation(body.messages)
    store = _store_of(engine, body.model.removesuffix(SEARCH))
    if body.model.endswith(SEARCH):
        how = body.model_dump(include=set(Selection.model_fields))
        return engine.search(store, question, {**how, "history": history})
    how = body.model_dump(include=set(Answering.model_fields))
    how |= {"max_new_tokens": _answer_tokens(body), "history": history}
    return engine.ask(store, question, how, pieces.put if body.stream else None)


class _Pieces:
    """The pieces of an answer on their way from the model's thread; None stands for its end."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._arrived = asyncio.Event()

    def put(self, piece: str | None) -> None:
        """Add a piece; called in any thread."""
        with suppress(RuntimeError):  # the loop is closed: the server has stopped
            self._loop.call_soon_threadsafe(self._put, piece)

    async def first(self) -> None:
        """Wait until something has arrived."""
        await self._arrived.wait()

    async def get(self) -> str | None:
        """Take the next piece.

        Raises:
            TimeoutError: there is none yet.
        """
        return await asyncio.wait_for(self._queue.get(), _QUIET_SECONDS)

    def _put(self, piece: str | None) -> None:
        self._queue.put_nowait(piece)
        self._arrived.set()


class _Completion:
    """The response to a request for a completion, whole or in chunks."""

    def __init__(self, request: ChatRequest) -> None:
        self._show_sources = request.show_sources
        options = request.stream_options
        self.usage_apart = options is not None and options.include_usage
        self._model = request.model
        self._id = f"chatcmpl-{uuid4().hex}"
        self._created = int(time.time())

    def whole(self, result: Reply | Passages) -> dict[str, Any]:
        """Return the whole completion."""
        message = {"role": "assistant", "content": "".join(self.texts(result))}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = self._head("chat.completion", [choice])
        return {**head, "usage": self._usage(result), **self._found(result)}

    def texts(self, result: Reply | Passages) -> tuple[str, str]:
        """Return the answer and the list of its sources that stands behind it."""
        if isinstance(result, Passages):
            return chat.passages_text(result.passages), ""
        sources = chat.sources_text(result.answer.sources) if self._show_sources else ""
        return chat.answer_text(result.answer), sources

    def chunk(self, **delta: str) -> dict[str, Any]:
        """Return a piece of the text."""
        return self._head(
            "chat.completion.chunk", [{"index": 0, "delta": delta, "finish_reason": None}]
        )

    def last(self, result: Reply | Passages) -> list[dict[str, Any]]:
        """Return the chunks at the end; the usage comes in one of its own if that was asked for."""
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        end = {**self._head("chat.completion.chunk", [choice]), **self._found(result)}
        usage = self._usage(result)
        if not self.usage_apart:
            return [{**end, "usage": usage}]
        return [
            {**end, "usage": None},
            {**self._head("chat.completion.chunk", []), "usage": usage, **self._found(result)},
        ]

    def _head(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self._id, "object": kind, "created": self._created, "model": self._model}
        return {**head, "choices": choices}

    def _usage(self, result: Reply | Passages) -> dict[str, int]:
        prompt = result.prompt_tokens
        said = result.completion_tokens if isinstance(result, Reply) else 0
        total = prompt + said
        return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": total}

    def _found(self, result: Reply | Passages) -> dict[str, Any]:
        if isinstance(result, Passages):
            return {**chat.cited(result.passages), "mac": None}
        answer = result.answer.as_dict()
        verdict = {name: answer[name] for name in shapes.Verdict.model_fields}
        return {**chat.cited(result.answer.sources), "mac": verdict}


async def _events(
    job: Job[Any], pieces: _Pieces, completion: _Completion, engine: Engine
) -> AsyncIterator[bytes]:
    """Yield the events of a stream, and cancel the job if the client goes away before its end."""
    made = sent = ""
    try:
        yield event(completion.chunk(role="assistant", content=""))
        while True:
            try:
                piece = await pieces.get()
            except TimeoutError:
                yield KEEP_ALIVE
                continue
            if piece is None:
                break
            made += piece
            ready = made.strip()  # what stands at its end may be none of the answer
            for part in chat.pieces(ready[len(sent) :]):
                yield event(completion.chunk(content=part))
            sent = ready
        result = job.future.result()
        text, sources = completion.texts(result)
        for part in filter(None, [*chat.pieces(text[len(sent) :]), sources]):
            yield event(completion.chunk(content=part))
        for chunk in completion.last(result):
            yield event(chunk)
    except Exception as error:
        yield event(reported(error).body())
    finally:
        leave(job, engine)
    yield DONE


def _store_of(engine: Engine, model: str) -> str:
    """Return the name of the store that a model answers from.

    Raises:
        RequestError: there is no such model.
    """
    names = {"mac": next(iter(engine.stores)), **{f"mac/{store}": store for store in engine.stores}}
    if model not in names:
        raise RequestError(404, "model_not_found", "There is no such model; see GET /v1/models.")
    return names[model]


def _answer_tokens(request: ChatRequest) -> int | None:
    """Return the longest answer that was asked for, None for the usual.

    Clients name a limit that suits a chat model. Here it can make an answer shorter, and longer
    only in the language model's own words: beyond a few words the others would not get better.
    """
    limit = request.max_completion_tokens or request.max_tokens
    if limit is None:
        return None
    return min(limit, MAX_ANSWER if request.free else config.number("max_new_tokens") or 1)


def _encoded(vector: list[float], encoding: str) -> list[float] | str:
    if encoding == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
