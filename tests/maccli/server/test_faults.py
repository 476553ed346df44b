"""What goes wrong beneath the server: it says so in one line, loses nothing, and goes on."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maccli import Mac
from maccli.server.problems import Faults
from maccli.service.session import Session
from models.errors import CheckpointError, ModelError, WeightsError
from store.errors import (
    FingerprintMismatchError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreVersionError,
)
from store.store import Store

from ..conftest import FakeMemory
from .conftest import BRIDGE, QUESTION, problem, upload

ASK = {"question": QUESTION}
CHAT = {"model": "mac", "messages": [{"role": "user", "content": QUESTION}]}


def test_a_store_that_is_deleted_and_made_again(filled: TestClient, work: Path) -> None:
    (document, _) = filled.get("/v1/documents").json()["data"]
    shutil.rmtree(work / "notes")
    for path, body in (("ask", ASK), ("search", ASK), ("chat/completions", CHAT)):
        problem(filled.post(f"/v1/{path}", json=body), 404, "no_documents")
    problem(filled.get(f"/v1/documents/{document['id']}"), 404, "no_document")
    problem(filled.delete(f"/v1/documents/{document['id']}"), 404, "no_document")
    assert filled.get("/v1/documents").json()["data"] == []
    assert 'mac_documents{store="notes"} 0' in filled.get("/metrics").text
    assert upload(filled, "bridge.txt", BRIDGE).status_code == 201
    assert filled.post("/v1/ask", json=ASK).status_code == 200


def test_a_store_that_is_deleted_while_it_is_written(
    filled: TestClient, memory: FakeMemory, work: Path
) -> None:
    memory.before_amortize = lambda _: shutil.rmtree(work / "notes")
    problem(upload(filled, "a.txt", "It rained."), 409, "store_gone")
    memory.before_amortize = lambda _: None
    assert upload(filled, "a.txt", "It rained.").status_code == 201


def test_a_store_that_is_replaced_by_rubbish(filled: TestClient, work: Path) -> None:
    for file in (work / "notes").iterdir():
        file.write_bytes(b"rubbish" * 1000)
    for response in (
        filled.post("/v1/ask", json=ASK),
        filled.post("/v1/chat/completions", json={**CHAT, "stream": True}),
        filled.get("/v1/documents"),
        filled.get("/v1/documents/1"),
        upload(filled, "a.txt", "It rained."),
    ):
        problem(response, 503, "store_damaged")
    assert filled.get("/healthz").status_code == filled.get("/metrics").status_code == 200


def test_a_store_of_another_model(filled: TestClient, work: Path) -> None:
    with sqlite3.connect(work / "notes" / "index.db") as connection:
        connection.execute("UPDATE meta SET value = 'f' WHERE key = 'fingerprint'")
    connection.close()
    problem(filled.post("/v1/ask", json=ASK), 409, "other_model")
    problem(upload(filled, "a.txt", "It rained."), 409, "other_model")
    assert len(filled.get("/v1/documents").json()["data"]) == 2


def test_a_checkpoint_that_is_deleted_under_it(filled: TestClient, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "checkpoint")
    assert filled.post("/v1/ask", json=ASK).status_code == 200
    assert upload(filled, "a.txt", "It rained.").status_code == 201


def test_a_config_that_becomes_wrong(filled: TestClient, tmp_path: Path) -> None:
    (tmp_path / "mac-home").mkdir(exist_ok=True)
    (tmp_path / "mac-home" / "config.toml").write_text("k = = 1")
    problem(filled.post("/v1/ask", json=ASK), 400, "invalid_request")


def test_a_full_disk(filled: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    for cause in (full, OSError(errno.ENOSPC, "No space left on device", "/srv/notes")):

        def put(*_: Any, cause: Exception = cause, **__: Any) -> None:
            raise StoreError("No space left on the disk of the store /srv/notes") from cause

        with monkeypatch.context() as patch:
            patch.setattr(Store, "put", put)
            message = problem(upload(filled, "a.txt", "It rained."), 507, "disk_full")
        assert message == "The server's disk is full. Nothing stored is lost."
    assert filled.post("/v1/ask", json=ASK).status_code == 200
    assert len(filled.get("/v1/documents").json()["data"]) == 2
    assert upload(filled, "a.txt", "It rained.").status_code == 201


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreBusyError("/srv/notes"), 503, "store_busy"),
        (StoreCorruptError("/srv/notes"), 503, "store_damaged"),
        (StoreVersionError("/srv/notes"), 503, "store_version"),
        (StoreError("/srv/notes"), 503, "store_unusable"),
        (FingerprintMismatchError("/srv/notes"), 409, "other_model"),
        (WeightsError("/srv/weights"), 503, "model_unavailable"),
        (CheckpointError("/srv/checkpoint"), 503, "model_unavailable"),
        (ModelError("9 positions"), 400, "too_long"),
        (MemoryError(), 503, "out_of_memory"),
        (PermissionError(13, "Permission denied", "/srv/notes"), 503, "file_trouble"),
        (sqlite3.OperationalError("/srv/notes"), 503, "store_unusable"),
        (RuntimeError("/srv/bug"), 500, "bug"),
    ],
)
def test_every_failure_is_one_json_error(
    filled: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Session, "require_store", fail)
        patch.setattr(Mac, "documents", fail)
        responses = [
            filled.post("/v1/ask", json=ASK),
            filled.post("/v1/search", json=ASK),
            filled.post("/v1/chat/completions", json=CHAT),
            filled.post("/v1/chat/completions", json={**CHAT, "stream": True}),
            filled.get("/v1/documents"),
        ]
    for response in responses:
        assert "/srv" not in response.text
        problem(response, status, code)
        assert ("retry-after" in response.headers) == (code == "store_busy")
    assert filled.post("/v1/ask", json=ASK).status_code == 200


def test_routes_that_are_not_there(client: TestClient) -> None:
    problem(client.get("/v1/nothing"), 404, "not_found")
    problem(client.get("/docs"), 404, "not_found")
    problem(client.put("/v1/documents"), 405, "method_not_allowed")
    problem(client.options("/v1/ask"), 405, "method_not_allowed")


def test_what_the_server_gives_up_at_its_end_is_told_so() -> None:
    async def app(*_: Any) -> None:
        raise asyncio.CancelledError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Faults(app)({"type": "http"}, send, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 503 and b'"stopping"' in sent[1]["body"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        *("question", "k", "retriever", "tags", "since", "until", "fast", "mode", "free", "text"),
        *("name", "date", "model", "messages", "stream", "n", "max_tokens", "input"),
    ]
)
ROUTES = ("ask", "search", "chat/completions", "embeddings", "documents")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(ROUTES), st.dictionaries(FIELDS, JSON), st.data())
def test_no_json_gives_a_500(
    filled: TestClient, route: str, body: dict[str, Any], data: st.DataObject
) -> None:
    good: dict[str, Any] = {
        "ask": ASK,
        "search": ASK,
        "chat/completions": CHAT,
        "documents": {"text": "It rained.", "name": "rain"},
    }.get(route, {})
    content = json.dumps({**good, **body})
    headers = {"content-type": "application/json"}
    response = filled.post(f"/v1/{route}", content=content, headers=headers)
    assert response.status_code < 500, (content, response.text)
    if response.status_code >= 400:
        assert response.json()["error"]["message"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["documents", "ask"]),
    st.sampled_from(
        [
            "multipart/form-data; boundary=x",
            "application/json",
            "multipart/form-data",
            "\xe9/;=",
            "",
        ]
    ),
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                *(b"--x", b"--", b"\r\n", b"\n", b'Content-Disposition: form-data; name="file"'),
                *(b'; filename="a"', b"name", b":", b"text", b"\xff"),
            ]
        ),
        max_size=14,
    ).map(b"".join),
)
def test_no_bytes_give_a_500(filled: TestClient, route: str, kind: str, body: bytes) -> None:
    headers = {"content-type": kind.encode("latin-1")}
    response = filled.post(f"/v1/{route}", content=body, headers=headers)
    assert response.status_code < 500, response.text


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=x",
        "after=x",
        "tags=a,b",
        "since=x",
        "match=%00",
        "match=%ff",
        "match=" + "*" * 5000,
        "store=%00",
        "after=" + "9" * 50,
        "&&&==",
    ],
)
def test_no_query_gives_a_500(filled: TestClient, query: str) -> None:
    assert filled.get(f"/v1/documents?{query}").status_code < 500
