"""Documents over HTTP: sent, listed, shown, removed, and what is refused."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from maccli import Mac
from maccli.server import safety, shapes

from ..conftest import FakeMemory
from .conftest import BRIDGE, PRIZE, Serve, problem, upload

FORM = {"content-type": "multipart/form-data; boundary=x"}


def test_a_file_is_added_updated_and_left_alone(client: TestClient) -> None:
    added = upload(client, "bridge.txt", BRIDGE, tags=["Town", "news"], date="2026-03-14")
    assert added.status_code == 201
    shapes.Upload.model_validate(added.json())
    document = added.json()
    assert (document["name"], document["status"]) == ("bridge.txt", "added")
    assert (document["tags"], document["date"]) == (["news", "town"], "2026-03-14")
    same = upload(client, "bridge.txt", BRIDGE)
    assert (same.status_code, same.json()["status"]) == (200, "unchanged")
    changed = upload(client, "bridge.txt", "The bridge is closed.")
    assert (changed.status_code, changed.json()["status"]) == (200, "updated")
    assert changed.json()["id"] == document["id"]
    with Mac("notes") as mac:
        assert [d.source for d in mac.documents()] == ["bridge.txt"]


def test_a_text_is_a_document(client: TestClient) -> None:
    sent = client.post("/v1/documents", json={"text": PRIZE, "name": "prize.md", "tags": ["A"]})
    assert sent.status_code == 201
    assert (sent.json()["title"], sent.json()["media_type"]) == ("Prizes", "text/markdown")
    unnamed = client.post("/v1/documents", json={"text": "It rained. \U0001f600"}).json()
    assert unnamed["name"].startswith("text-") and unnamed["name"].endswith(".txt")
    halved = '{"text": "Half of \\ud800 a character.", "name": "half"}'
    sent = client.post(
        "/v1/documents", content=halved, headers={"content-type": "application/json"}
    )
    assert sent.status_code == 201
    shown = client.get(f"/v1/documents/{sent.json()['id']}").json()
    assert shown["pieces"][0]["text"] == "Half of \ufffd a character."


def test_the_form_may_name_the_document(client: TestClient) -> None:
    sent = upload(client, "C:\\files\\x.md", PRIZE, name="autumn prizes").json()
    assert (sent["name"], sent["title"]) == ("autumn prizes", "Prizes")
    assert upload(client, "../../etc/passwd", BRIDGE).json()["name"] == "passwd"


def test_documents_are_listed_in_pages(client: TestClient) -> None:
    assert client.get("/v1/documents").json() == {"object": "list", "data": [], "has_more": False}
    for name in "abcde":
        upload(
            client, f"{name}.txt", f"The text of {name}.", tags=["vowel"] if name in "ae" else []
        )
    seen: list[str] = []
    after: int | None = None
    for _ in range(3):
        params = {"limit": 2} | ({"after": after} if after else {})
        page = client.get("/v1/documents", params=params).json()
        shapes.DocumentList.model_validate(page)
        seen += [document["name"] for document in page["data"]]
        after = page["data"][-1]["id"]
    assert seen == [f"{name}.txt" for name in "abcde"] and not page["has_more"]

    def names(**params: Any) -> list[str]:
        listed = client.get("/v1/documents", params=params).json()["data"]
        return [document["name"] for document in listed]

    assert names(tags="vowel") == ["a.txt", "e.txt"]
    assert names(match="b.*") == ["b.txt"]
    assert names(until="2020-01-01") == [] and names(since="2020-01-01", limit=1) == ["a.txt"]
    assert names(after=12345) == []
    for unknown in (-1, 1 << 63):
        assert client.get("/v1/documents", params={"after": unknown}).status_code == 400


def test_a_document_is_shown_and_removed(filled: TestClient) -> None:
    document = filled.get("/v1/documents", params={"match": "prize"}).json()["data"][0]
    shown = filled.get(f"/v1/documents/{document['id']}").json()
    shapes.WholeDocument.model_validate(shown)
    assert {key: shown[key] for key in document} == document
    assert "Tomas Reyl" in shown["pieces"][-1]["text"]
    removed = filled.delete(f"/v1/documents/{document['id']}")
    assert removed.json() == {"object": "document", "id": document["id"], "deleted": True}
    for method in ("GET", "DELETE"):
        problem(filled.request(method, f"/v1/documents/{document['id']}"), 404, "no_document")


def test_documents_of_files_have_an_id_too(filled: TestClient, work: Path) -> None:
    (work / "night.txt").write_text("The night was long.")
    with Mac("notes") as mac:
        mac.ingest("night.txt")
    listed = filled.get("/v1/documents", params={"match": "night"}).json()["data"]
    assert [document["name"] for document in listed] == [str(work / "night.txt")]
    assert filled.delete(f"/v1/documents/{listed[0]['id']}").status_code == 200
    assert (work / "night.txt").exists()


@pytest.mark.parametrize("document_id", ["0", "-1", "x", "1.5", str(1 << 63), "9" * 5000, "%00"])
def test_what_is_no_id_is_refused(filled: TestClient, document_id: str) -> None:
    problem(filled.get(f"/v1/documents/{document_id}"), 400, "invalid_request")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", b"", "x.txt is empty"),
        ("x.txt", b"\x00\x01\x02" * 100, "x.txt is a binary file"),
        ("x.pdf", b"%PDF-1.7\nnot really", "x.pdf "),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    client: TestClient, name: str, content: bytes, reason: str
) -> None:
    assert problem(upload(client, name, content), 422, "unreadable").startswith(reason)
    assert client.get("/v1/documents").json()["data"] == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"text"),
        ({"content-type": "text/plain"}, b"text"),
        ({"content-type": "application/x-www-form-urlencoded"}, b"text=a"),
    ],
)
def test_other_bodies_are_refused(client: TestClient, headers: dict[str, str], body: bytes) -> None:
    problem(client.post("/v1/documents", content=body, headers=headers), 415, "wrong_media_type")


PART = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'


def form(*parts: tuple[bytes, bytes, bytes]) -> bytes:
    return b"".join(PART % part for part in parts) + b"--x--\r\n"


FILE = (b"file", b'; filename="a.txt"', b"text")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b""),
        (FORM, b"--y\r\n"),
        (FORM, b"--x\r\nno header\r\n\r\n"),
        (FORM, PART % FILE),
        (FORM, form(FILE)[:-4]),
        (FORM, PART % FILE + PART % (b"name", b"", b"unfin")),
        (FORM, form()),
        (FORM, form((b"file", b"", b"a field that is no file"))),
        (FORM, form((b"file", b'; filename=""', b""))),
        (FORM, form((b"other", b'; filename="a.txt"', b"text"))),
        (FORM, form(FILE, FILE)),
        (FORM, form(FILE, (b"colour", b"", b"red"))),
        (FORM, form(FILE, (b"date", b"", b"tomorrow"))),
        (FORM, form(FILE, (b"tags", b"", b"a,b"))),
        (FORM, form(FILE, (b"name", b"", b"x" * 20_000))),
        (FORM, form(*[(b"tags", b"", b"%d" % n) for n in range(200)], FILE)),
        ({"content-type": "multipart/form-data"}, form(FILE)),
        ({"content-type": "multipart/form-data; boundary=" + "x" * 300}, form(FILE)),
        ({"content-type": "multipart/form-data; charset=undefined; boundary=x"}, form(FILE)),
        ({"content-type": "multipart/form-data; charset=undefined; boundary=x"}, b"--x\xff"),
    ],
)
def test_a_wrong_form_is_refused(client: TestClient, headers: dict[str, str], body: bytes) -> None:
    response = client.post("/v1/documents", content=body, headers=headers)
    problem(response, 400, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"text": 1}',
        b'{"text": " "}',
        b'{"text": "a", "tags": "b"}',
        b'{"text": "a", "colour": "red"}',
        b'{"text": "a", "date": "2026-02-30"}',
        b"[" * 100_000,
        b'{"text": ' + b"9" * 10_000 + b"}",
    ],
)
def test_wrong_json_is_refused(client: TestClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    response = client.post("/v1/documents", content=body, headers=headers)
    problem(response, 400, "invalid_request")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "~/x", "C:\\x", "\\\\host\\x", "a\nb", "a\u202eb", "x" * 501, "\x00"]
)
def test_a_name_is_no_path_and_can_be_shown(client: TestClient, name: str) -> None:
    sent = client.post("/v1/documents", json={"text": "It rained.", "name": name})
    problem(sent, 400, "invalid_request")


def test_uploads_are_written_nowhere_but_into_the_store(
    client: TestClient, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile, "_mkstemp_inner", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    text = "The river rose. " * 200_000  # 3 MB: more than Starlette keeps in memory by itself
    data = (text.encode(), b"")[0]
    monkeypatch.setattr("maccli.reading.loaders.MAX_BYTES", 1000)  # it need not be amortized
    response = upload(client, "river.txt", data)
    problem(response, 422, "unreadable")
    assert sorted(path.name for path in work.iterdir()) == []


def test_a_document_that_is_too_large_is_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safety, "MAX_UPLOAD", 1000)
    problem(upload(client, "a.txt", b"x" * 2000), 413, "too_large")

    def parts() -> Any:
        for _ in range(10):
            yield b"x" * 200

    headers = {"content-type": "application/json"}
    chunked = client.post("/v1/documents", content=parts(), headers=headers)
    problem(chunked, 413, "too_large")


def test_each_store_has_its_own_documents(memory: FakeMemory, serve: Serve) -> None:
    client = serve(also=["letters"])
    sent = client.post(
        "/v1/documents", params={"store": "letters"}, json={"text": BRIDGE, "name": "b"}
    )
    assert sent.status_code == 201
    assert client.get("/v1/documents").json()["data"] == []
    listed = client.get("/v1/documents", params={"store": "letters"}).json()["data"]
    assert [document["name"] for document in listed] == ["b"]
    problem(client.get("/v1/documents", params={"store": "nowhere"}), 404, "no_store")


def test_bytes_in_a_document_come_out_as_valid_json(client: TestClient) -> None:
    awkward = 'Tab\there. \x85 \u2028 \x7f \x1b[31m \ufeff <script> \\ " and \U0001f600.'
    sent = upload(client, "a.txt", awkward)
    assert sent.status_code == 201, sent.text
    raw = client.get(f"/v1/documents/{sent.json()['id']}").content
    assert b"\xc2\x85" not in raw and b"\xe2\x80\xa8" not in raw
    assert "<script>" in json.loads(raw)["pieces"][0]["text"]
