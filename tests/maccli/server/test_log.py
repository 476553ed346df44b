"""The log over HTTP: `GET` and `DELETE /v1/log`."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from maccli.server import shapes
from maccli.server.safety import Access

from ..conftest import FakeMemory
from .conftest import BRIDGE, QUESTION, Serve, problem, upload


def listed(client: TestClient, **params: Any) -> Any:
    response = client.get("/v1/log", params=params)
    assert response.status_code == 200, response.text
    shapes.Log.model_validate(response.json())
    return response.json()


def test_questions_of_every_route_are_kept(filled: TestClient) -> None:
    said = filled.post("/v1/ask", json={"question": QUESTION, "k": 1}).json()
    chat = {"model": "mac", "messages": [{"role": "user", "content": "Who won the poetry prize?"}]}
    assert filled.post("/v1/chat/completions", json=chat).status_code == 200
    streamed = {**chat, "stream": True, "messages": [{"role": "user", "content": "A bridge?"}]}
    assert filled.post("/v1/chat/completions", json=streamed).text.endswith("data: [DONE]\n\n")
    assert filled.post("/v1/search", json={"question": QUESTION}).status_code == 200
    passages = {**chat, "model": "mac:search"}
    assert filled.post("/v1/chat/completions", json=passages).status_code == 200
    log = listed(filled)
    assert [entry["question"] for entry in log["data"]] == [
        *("A bridge?", "Who won the poetry prize?", QUESTION)
    ]
    entry = log["data"][-1]
    assert (entry["answer"], entry["outcome"]) == (said["answer"], "answer")
    assert [source["source"] for source in entry["sources"]] == ["bridge.txt"]
    assert entry["sources"][0]["place"] == "line 1" and "passage" not in entry["sources"][0]


def test_it_comes_in_pages(filled: TestClient) -> None:
    assert listed(filled) == {"object": "list", "data": [], "has_more": False}
    for n in range(5):
        filled.post("/v1/ask", json={"question": f"Who opened bridge {n}?"})
    seen: list[str] = []
    params: dict[str, int] = {"limit": 2}
    for more in (True, True, False):
        page = listed(filled, **params)
        seen += [entry["question"] for entry in page["data"]]
        assert page["has_more"] == more
        params["before"] = page["data"][-1]["id"]
    assert seen == [f"Who opened bridge {n}?" for n in range(4, -1, -1)]
    assert listed(filled, before=0)["data"] == []


def test_it_is_cleared(filled: TestClient) -> None:
    filled.post("/v1/ask", json={"question": QUESTION})
    cleared = filled.delete("/v1/log")
    shapes.LogCleared.model_validate(cleared.json())
    assert (cleared.status_code, cleared.json()) == (200, {"object": "log", "deleted": 1})
    assert listed(filled)["data"] == []
    assert filled.delete("/v1/log").json()["deleted"] == 0


def test_each_store_has_its_own(memory: FakeMemory, serve: Serve) -> None:
    client = serve(also=["other"])
    for store in ("notes", "other"):
        path = f"/v1/documents?store={store}"
        assert client.post(path, json={"text": BRIDGE, "name": "a.txt"}).status_code == 201
    client.post("/v1/ask?store=other", json={"question": QUESTION})
    assert listed(client)["data"] == []
    assert len(listed(client, store="other")["data"]) == 1
    assert client.delete("/v1/log").json()["deleted"] == 0
    assert client.delete("/v1/log?store=other").json()["deleted"] == 1
    problem(client.get("/v1/log?store=none"), 404, "no_store")


def test_a_server_without_a_store(client: TestClient) -> None:
    assert listed(client)["data"] == []
    assert client.delete("/v1/log").json()["deleted"] == 0


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "before=-1", f"before={1 << 63}"]
)
def test_what_is_refused(filled: TestClient, query: str) -> None:
    problem(filled.get(f"/v1/log?{query}"), 400, "invalid_request")


def test_it_is_off_if_the_setting_says_so(
    filled: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAC_LOG", "off")
    assert filled.post("/v1/ask", json={"question": QUESTION}).status_code == 200
    assert listed(filled)["data"] == []


def test_a_stranger_reads_and_clears_nothing(memory: FakeMemory, serve: Serve) -> None:
    client = serve(access=Access(key="secret"))
    key = {"Authorization": "Bearer secret"}
    client.headers.update(key)
    upload(client, "bridge.txt", BRIDGE)
    client.post("/v1/ask", json={"question": QUESTION})
    del client.headers["Authorization"]
    for method in ("GET", "DELETE"):
        problem(client.request(method, "/v1/log"), 401, "invalid_api_key")
        page = {**key, "Origin": "https://elsewhere.example"}
        if method == "DELETE":
            problem(client.request(method, "/v1/log", headers=page), 403, "wrong_origin")
    assert len(client.get("/v1/log", headers=key).json()["data"]) == 1
