"""Keys, hosts, origins, and limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi.testclient import TestClient

from maccli.server import safety
from maccli.server.problems import without_paths
from maccli.server.safety import Access

from ..conftest import FakeMemory
from .conftest import ADDRESS, QUESTION, Serve, problem

KEY = "correct-horse-battery"


@pytest.mark.parametrize(
    "shown",
    ["", KEY, f"Basic {KEY}", "Bearer", "Bearer x", f"Bearer {KEY}x", "Bearer " + "\xe9" * 9],
)
def test_without_the_key_nothing_is_told(memory: FakeMemory, serve: Serve, shown: str) -> None:
    client = serve(access=Access(KEY))
    headers = {"authorization": shown.encode("latin-1")} if shown else {}
    for method, path in (
        ("GET", "/v1/models"),
        ("POST", "/v1/ask"),
        ("GET", "/v1/documents"),
        ("POST", "/v1/documents"),
        ("DELETE", "/v1/documents/1"),
        ("GET", "/metrics"),
        ("GET", "/nowhere"),
    ):
        response = client.request(method, path, headers=headers)
        problem(response, 401, "invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/healthz", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_the_key_opens(memory: FakeMemory, serve: Serve) -> None:
    client = serve(access=Access(KEY))
    for shown in (f"Bearer {KEY}", f"bearer  {KEY} "):
        response = client.get("/v1/models", headers={"authorization": shown})
        assert response.status_code == 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8642", "127.0.0.1", "[::1]:8642", "localhost", "LOCALHOST:1", "192.0.2.7"]
)
def test_addresses_and_localhost_are_this_server(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8642",
        "127.0.0.1.evil.example",
        "",
        "[::1",
        "a@b",
        "localhost.",
    ],
)
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    """DNS rebinding: a page's own name leads to this machine."""
    problem(client.get("/healthz", headers={"host": host}), 403, "wrong_host")


def test_a_name_can_be_allowed(memory: FakeMemory, serve: Serve) -> None:
    client = serve(access=Access(hosts=frozenset({"mac.example"})))
    assert client.get("/healthz", headers={"host": "Mac.example:80"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://localhost:8642"},
        {"origin": "file://"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_others_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    """CSRF: a page that a browser shows sends a request here."""
    for body in ({"content": b"text", "headers": headers}, {"json": {}, "headers": headers}):
        problem(client.post("/v1/documents", **body), 403, "wrong_origin")


def test_pages_of_this_server_may_ask(client: TestClient) -> None:
    for headers in (
        {"origin": ADDRESS, "sec-fetch-site": "same-origin"},
        {"origin": "https://mac.example", "host": "mac.example"},
        {"sec-fetch-site": "none"},
    ):
        allowed = client.post("/v1/ask", json={"question": QUESTION}, headers=headers)
        if "host" in headers:
            problem(allowed, 403, "wrong_host")
        else:
            problem(allowed, 404, "no_documents")
    assert safety._same("https://mac.example", "mac.example")
    assert not safety._same("https://mac.example:444", "mac.example")


def test_bodies_are_limited(client: TestClient) -> None:
    large = b'{"question": "' + b"x" * (2 << 20) + b'"}'
    headers = {"content-type": "application/json"}
    for content in (large, iter([large[:1000], large[1000:]])):
        response = client.post("/v1/ask", content=content, headers=headers)
        problem(response, 413, "too_large")
    problem(client.get("/v1/models", headers={"content-length": "x"}), 413, "too_large")


def test_a_slow_body_is_given_up(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "BODY_SECONDS", 0.2)
    sent: list[Any] = []
    parts = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> Any:
        for part in parts:
            return part
        return await asyncio.sleep(3600)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/ask",
        "raw_path": b"/v1/ask",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": headers,
    }
    asyncio.run(client.app(scope, receive, send))
    assert sent[0]["status"] == 408
    assert b'"too_slow"' in sent[1]["body"]


def test_responses_are_not_kept_and_not_guessed_at(client: TestClient) -> None:
    response = client.get("/v1/models")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("/home/ida/notes: No such file", "… No such file"),
        ("cannot read '/srv/x y/z'.", "cannot read '… y/z'."),
        ("C:\\Users\\ida is full", "… is full"),
        ("~/.config/mac is wrong", "… is wrong"),
        ("yes and/or no, 3/4", "yes and/or no, 3/4"),
        ("a\nb" + "\ud800", "a b\ufffd"),
    ],
)
def test_paths_are_taken_out_of_messages(message: str, said: str) -> None:
    assert without_paths(message) == said
