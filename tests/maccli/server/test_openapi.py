"""The OpenAPI document tells the truth. That responses have its shapes is tested beside them."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from maccli.server.safety import Access

from ..conftest import FakeMemory
from .conftest import Serve

ROUTES = {
    ("get", "/v1/models"),
    ("post", "/v1/chat/completions"),
    ("post", "/v1/embeddings"),
    ("post", "/v1/ask"),
    ("post", "/v1/search"),
    ("post", "/v1/documents"),
    ("get", "/v1/documents"),
    ("get", "/v1/documents/{document_id}"),
    ("delete", "/v1/documents/{document_id}"),
    ("get", "/v1/store"),
    ("post", "/v1/select"),
    ("post", "/v1/chunks"),
    ("post", "/v1/modulations"),
    ("get", "/v1/log"),
    ("delete", "/v1/log"),
    ("get", "/healthz"),
    ("get", "/metrics"),
}


def operations(document: Any) -> dict[tuple[str, str], Any]:
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_is_in_it(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(operations(document)) == ROUTES
    for operation in operations(document).values():
        assert operation["summary"] and operation["description"]
        assert "422" not in operation["responses"]
        error = {"$ref": "#/components/schemas/Error"}
        for status in ("4XX", "5XX"):
            content = operation["responses"][status]["content"]
            assert content == {"application/json": {"schema": error}}


@pytest.mark.parametrize("key", [None, "s3cret"])
def test_a_key_is_asked_for_where_there_is_one(
    memory: FakeMemory, serve: Serve, key: str | None
) -> None:
    document = serve(access=Access(key=key)).get("/openapi.json").json()
    for (_, path), operation in operations(document).items():
        assert bool(operation.get("security")) == (key is not None and path != "/healthz")


def test_days_are_dates(client: TestClient) -> None:
    parameters = operations(client.get("/openapi.json").json())["get", "/v1/documents"]
    [until] = [each for each in parameters["parameters"] if each["name"] == "until"]
    assert "date" in [form.get("format") for form in until["schema"]["anyOf"]]


def test_every_reference_leads_somewhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [ref for inner in value.values() for ref in references(inner)]
        if isinstance(value, list):
            return [ref for inner in value for ref in references(inner)]
        return []

    found = references(document)
    assert len(found) > 20
    for reference in found:
        at = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_an_upload_has_both_bodies(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    content = operations(document)["post", "/v1/documents"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    assert content["application/json"]["schema"]["required"] == ["text"]
    stream = operations(document)["post", "/v1/chat/completions"]["responses"]["200"]["content"]
    assert set(stream) == {"application/json", "text/event-stream"}
    assert set(operations(document)["get", "/metrics"]["responses"]["200"]["content"]) == {
        "text/plain"
    }


def test_nothing_stands_beside_a_reference(client: TestClient) -> None:
    # It would be asked of the value, too: {"$ref": Log, "type": "string"} is met by nothing.
    for operation in operations(client.get("/openapi.json").json()).values():
        for response in operation["responses"].values():
            for content in response.get("content", {}).values():
                assert "$ref" not in content["schema"] or len(content["schema"]) == 1
