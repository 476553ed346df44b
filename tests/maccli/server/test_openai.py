"""The routes of OpenAI's API."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from fastapi.testclient import TestClient

from maccli.server import responses
from maccli.server.openai import chat, shapes
from maccli.server.shapes import Message

from ..conftest import FakeMemory
from .conftest import BRIDGE, QUESTION, Serve, problem, upload

CHAT = "/v1/chat/completions"


def ask(client: TestClient, content: Any = QUESTION, **more: Any) -> Any:
    body = {"model": "mac", "messages": [{"role": "user", "content": content}], **more}
    return client.post(CHAT, json=body)


def events(response: Any) -> list[Any]:
    """The events of a stream, checked against their shape; the last one must end it."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    parts = response.content.decode().split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    read = [json.loads(part.removeprefix("data: ")) for part in parts[:-2] if part[0] != ":"]
    for event in read:
        if "error" not in event:
            shapes.Chunk.model_validate(event)
    return read


def text_of(read: list[Any]) -> str:
    return "".join(e["choices"][0]["delta"].get("content", "") for e in read if e["choices"])


def test_each_store_is_a_model(memory: FakeMemory, serve: Serve) -> None:
    listed = serve(also=["letters"]).get("/v1/models").json()
    shapes.ModelList.model_validate(listed)
    assert [model["id"] for model in listed["data"]] == [
        *("mac", "mac:search", "mac/notes", "mac/notes:search"),
        *("mac/letters", "mac/letters:search"),
    ]


def test_a_completion(filled: TestClient) -> None:
    completion = ask(filled, k=1).json()
    shapes.Completion.model_validate(completion)
    assert completion["choices"][0]["message"]["content"] == (
        "An answer from 1.\n\n**Sources**\n\n"
        "1. bridge.txt, line 1: The bridge was opened by Ida Brandt."
    )
    assert completion["citations"] == ["bridge.txt, line 1"]
    (source,) = completion["sources"]
    assert (source["document"], source["source"]["id"]) == ([BRIDGE], "bridge.txt")
    usage = completion["usage"]
    assert usage["completion_tokens"] == 4 and usage["prompt_tokens"] > 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    plain = ask(filled, k=1, show_sources=False).json()
    assert plain["choices"][0]["message"]["content"] == "An answer from 1."
    assert (plain["citations"], plain["sources"]) == (completion["citations"], [source])


def test_a_stream_gives_the_same(filled: TestClient) -> None:
    for more in ({}, {"free": True}, {"show_sources": False}, {"model": "mac:search"}):
        whole = ask(filled, **more).json()
        read = events(ask(filled, stream=True, **more))
        assert text_of(read) == whole["choices"][0]["message"]["content"]
        assert read[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert len(read) > 4
        last = read[-1]
        assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        for name in ("citations", "sources", "usage"):
            assert last[name] == whole[name]
            assert not any(name in event for event in read[:-1])
        assert len({event["id"] for event in read}) == 1


def test_usage_comes_apart_where_it_is_asked_for(filled: TestClient) -> None:
    *_, end, usage = events(ask(filled, stream=True, stream_options={"include_usage": True}))
    assert end["usage"] is None and end["sources"]
    assert usage["choices"] == [] and usage["usage"]["total_tokens"] > 0
    assert usage["sources"] == end["sources"]


def test_an_answer_that_is_not_sure_shows_the_passage(
    filled: TestClient, memory: FakeMemory
) -> None:
    from models.memory.confidence import GENERATED

    memory.config.confidence = {**dict.fromkeys(GENERATED, 0.0), "bias": -3.0, "above": 0.5}
    for stream in (False, True):
        response = ask(filled, stream=stream)
        content = (
            text_of(events(response))
            if stream
            else (response.json()["choices"][0]["message"]["content"])
        )
        assert content.startswith(
            "Not sure. This passage may hold it:\n\n> The bridge was opened by Ida Brandt."
        )
    assert ask(filled).json()["mac"]["outcome"] == "not sure"
    summary = ask(filled, "Summarise bridge.txt.").json()
    shapes.Completion.model_validate(summary)
    assert summary["mac"]["request"] == "summary"
    assert "> The bridge was opened by Ida Brandt." in summary["choices"][0]["message"]["content"]
    assert text_of(events(ask(filled, stream=True, free=True))).startswith("An answer from 2.")


def test_nothing_relevant(filled: TestClient) -> None:
    completion = ask(filled, until="2020-01-01").json()
    assert completion["choices"][0]["message"]["content"] == (
        "No document has these tags and dates."
    )
    assert completion["citations"] == completion["sources"] == []
    content = ask(filled, "Quantum chromodynamics?").json()["choices"][0]["message"]["content"]
    assert content.startswith("Nothing relevant found in 2 documents.")


def test_a_search_gives_passages(filled: TestClient, memory: FakeMemory) -> None:
    before = len(memory.calls)
    completion = ask(filled, model="mac/notes:search", k=1).json()
    shapes.Completion.model_validate(completion)
    assert completion["choices"][0]["message"]["content"] == (
        f"1. **bridge.txt, line 1**: {BRIDGE}"
    )
    assert completion["model"] == "mac/notes:search"
    assert completion["sources"][0]["metadata"][0]["sentence"] == (
        "The bridge was opened by Ida Brandt."
    )
    assert "answer" not in [name for name, _ in memory.calls[before:]]
    empty = ask(filled, model="mac:search", until="2020-01-01").json()
    assert empty["choices"][0]["message"]["content"] == "Nothing found."


def test_the_last_question_counts() -> None:
    messages = [
        Message(role="system", content="Obey."),
        Message(role="user", content="Who built it?"),
        Message(role="assistant", content="Nobody."),
        Message(role="user", content=[{"type": "text", "text": QUESTION}]),  # type: ignore[list-item]
        Message(role="assistant", content=None),
    ]
    assert chat.conversation(messages) == (QUESTION, [("Who built it?", "Nobody.")])


@pytest.mark.parametrize(
    "reply",
    [
        "Not sure. This passage may hold it:\n\n> It cost ninety crowns.",
        "Nothing relevant found in 2 documents.",
        "1. **bridge.txt**: " + "It cost ninety crowns. " * 20,
    ],
)
def test_what_is_no_answer_is_none(reply: str) -> None:
    messages = [
        Message(role="user", content="Who built it?"),
        Message(role="assistant", content=reply),
        Message(role="user", content=QUESTION),
    ]
    assert chat.conversation(messages) == (QUESTION, [("Who built it?", "")])


def test_the_list_of_sources_is_no_part_of_an_answer(filled: TestClient) -> None:
    reply = ask(filled).json()["choices"][0]["message"]["content"]
    assert "**Sources**" in reply
    messages = [
        Message(role="user", content=QUESTION),
        Message(role="assistant", content=reply),
        Message(role="user", content="And when?"),
    ]
    assert chat.conversation(messages)[1] == [(QUESTION, reply.partition("\n")[0])]


def test_a_question_may_lean_on_those_before_it(filled: TestClient) -> None:
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "Ida Brandt"},
        {"role": "user", "content": "And where is it?"},
    ]
    body = {"model": "mac:search", "messages": messages}
    found = filled.post("/v1/chat/completions", json=body).json()
    assert found["sources"][0]["source"]["id"] == "bridge.txt"
    how = {"question": "And where is it?", "history": [[QUESTION, "Ida Brandt"]]}
    assert filled.post("/v1/ask", json=how).json()["follows"]
    passages = filled.post("/v1/search", json=how).json()["data"]
    assert passages[0]["source"] == "bridge.txt"


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"messages": "Who?"},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {"messages": [{"role": "assistant", "content": "Who?"}]},
        {"messages": [{"role": "user", "content": "x" * 20_000}]},
        {"model": None},
        {"n": 2},
        {"max_tokens": 0},
        {"stream": "perhaps"},
        {"tags": [""]},
    ],
)
def test_a_wrong_request_is_refused(filled: TestClient, wrong: Any) -> None:
    for stream in ({}, {"stream": True}):
        problem(ask(filled, **{**stream, **wrong}), 400, "invalid_request")


@pytest.mark.parametrize("model", ["", "gpt-4", "mac/x", "mac/", "mac:x", "mac:search:search"])
def test_an_unknown_model_is_refused(filled: TestClient, model: str) -> None:
    problem(ask(filled, model=model), 404, "model_not_found")


def test_what_is_not_known_is_ignored(filled: TestClient) -> None:
    more = {"temperature": 0.5, "tools": [], "max_tokens": 100_000, "user": "u", "stop": None}
    assert ask(filled, **more).status_code == 200


def test_what_fails_at_once_has_its_own_status_in_a_stream(client: TestClient) -> None:
    problem(ask(client, stream=True), 404, "no_documents")


def test_what_fails_later_is_an_event(
    filled: TestClient, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from maccli.server.openai import completions
    from store.errors import StoreBusyError

    def answer(*_: Any, **__: Any) -> Any:
        yield "It"
        time.sleep(0.2)  # the stream has begun by then
        raise StoreBusyError("/tmp/x is busy")

    class Stream:
        attention: tuple[()] = ()
        prefix_tokens = 0
        surprise: tuple[()] = ()

        def __init__(self) -> None:
            self._pieces = answer()

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> str:
            return str(next(self._pieces))

    memory.answer = lambda *_, **__: Stream()  # type: ignore[assignment, method-assign]
    monkeypatch.setattr(completions._Pieces, "first", completions._Pieces.first)
    problem(ask(filled), 503, "store_busy")
    monkeypatch.setattr(completions, "_FIRST_SECONDS", 0.0)
    read = events(ask(filled, stream=True))
    assert read[-1]["error"]["code"] == "store_busy" and "/tmp" not in str(read)


def test_comments_come_while_it_computes(
    filled: TestClient, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from maccli.server.openai import completions

    monkeypatch.setattr(completions, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(completions, "_QUIET_SECONDS", 0.05)
    answer = memory.answer
    memory.answer = lambda *a, **k: (time.sleep(0.3), answer(*a, **k))[1]  # type: ignore[method-assign]
    response = ask(filled, stream=True)
    assert response.content.count(responses.KEEP_ALIVE) >= 2
    assert text_of(events(response)).startswith("An answer")


def test_embeddings(tiny: Any, serve: Serve) -> None:
    client = serve()
    name = client.app.state.engine.encoder_name  # type: ignore[attr-defined]
    assert "/" not in name
    one = client.post("/v1/embeddings", json={"model": name, "input": "A bridge."}).json()
    shapes.EmbeddingList.model_validate(one)
    vector = one["data"][0]["embedding"]
    assert len(vector) == 32 and sum(x * x for x in vector) == pytest.approx(1, abs=1e-4)
    many = client.post(
        "/v1/embeddings",
        json={"model": "mac", "input": ["A bridge.", "A prize."], "encoding_format": "base64"},
    ).json()
    shapes.EmbeddingList.model_validate(many)
    unpacked = struct.unpack("<32f", base64.b64decode(many["data"][0]["embedding"]))
    assert list(unpacked) == pytest.approx(vector, abs=1e-6)
    assert many["usage"]["prompt_tokens"] > one["usage"]["prompt_tokens"]
    for wrong in (
        {"input": ""},
        {"input": []},
        {"input": ["a", ""]},
        {"input": [[1, 2]]},
        {"input": ["a"] * 129},
        {"dimensions": 7},
        {"encoding_format": "hex"},
    ):
        response = client.post("/v1/embeddings", json={"model": "mac", "input": "a", **wrong})
        problem(response, 400, "invalid_request")
    response = client.post("/v1/embeddings", json={"model": "other", "input": "a"})
    problem(response, 404, "model_not_found")


def test_real_networks_answer(tiny: Any, serve: Serve) -> None:
    client = serve()
    assert upload(client, "bridge.txt", BRIDGE).status_code == 201
    whole = ask(client, max_tokens=8).json()
    shapes.Completion.model_validate(whole)
    assert (
        text_of(events(ask(client, stream=True, max_tokens=8)))
        == (whole["choices"][0]["message"]["content"])
    )
    long = {"question": QUESTION, "mode": "rag", "k": 100, "max_new_tokens": 512}
    assert client.post("/v1/ask", json=long).status_code in (200, 400)
