"""A store on another machine: asked as one of here, and what goes wrong on the way is one line."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store import Within
from store.errors import FingerprintMismatchError, StoreError, StoreNotFoundError
from store.remote.server import from_text, to_text
from store.remote.store import MOST_KEYS, RemoteStore
from tests.store import samples
from tests.store.samples import chunk

from ...conftest import FakeMemory, Ran
from .conftest import Started

QUERY = np.ones(samples.E, np.float32)
Mac = Callable[..., Ran]
Remote = Callable[..., RemoteStore]


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Any]:
    with samples.create(tmp_path / "bank") as store:
        for n, text in enumerate(("The ferry sails.", "A ledger of salt.", "The ferry sails.")):
            store.put(f"doc-{n}", content_hash="", chunking="", chunks=[chunk(n, text)])
        yield store


@pytest.fixture
def remote() -> Iterator[Callable[..., RemoteStore]]:
    with ExitStack() as stack:

        def opened(url: str, key: str | None = None, fingerprint: str = "fp-1") -> RemoteStore:
            store = RemoteStore(url, key=key, fingerprint=fingerprint)
            stack.callback(store.close)
            return store

        yield opened


# asked


@pytest.fixture
def notes(memory: FakeMemory, work: Path, mac: Mac) -> Path:
    (work / "a.txt").write_text("The bridge was opened by Ida Brandt in the year 1934.")
    (work / "b.txt").write_text("The poetry prize went to Tomas Reyl in the year 1951.")
    for name in ("a", "b"):
        assert mac("ingest", f"{name}.txt", "--store", name).code == 0
    assert mac("ingest", "a.txt", "b.txt", "--store", "whole").code == 0
    return work


@pytest.mark.parametrize("ask", [("ask",), ("search", "-k", "2")])
def test_stores_here_and_there_are_asked_as_one(
    notes: Path, mac: Mac, started: Started, ask: tuple[str, ...]
) -> None:
    question = "To whom went the prize for poetry?"
    expected = mac(*ask, question, "--store", "whole", "--local", "--json")
    found = mac(*ask, question, "--store", "a", "--store", started(notes / "b"), "--json")
    assert found.code == expected.code == 0, found.err
    assert told(found.json) == told(expected.json)


def told(answer: Any) -> Any:
    """What does not depend on the clock or the order in which documents came."""
    return answer if isinstance(answer, list) else {**answer, "timings": None}


def test_only_a_store_there(notes: Path, mac: Mac, started: Started) -> None:
    url = started(notes / "a", notes / "b")
    ran = mac("ask", "Who won the poetry prize?", "--store", f"{url}/b", "--json")
    assert ran.code == 0 and ran.json["sources"][0]["source"].endswith("b.txt")
    assert not (notes / "home" / "store").exists()


def test_the_setting_may_be_an_address(
    notes: Path, mac: Mac, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAC_STORE", started(notes / "a"))
    assert mac("search", "the bridge", "--json").json[0]["source"].endswith("a.txt")
    ran = mac("ingest", "a.txt")
    assert ran.code == 2 and "this needs a folder" in ran.err


def test_nothing_is_there_yet(notes: Path, mac: Mac, started: Started) -> None:
    ran = mac("ask", "Who?", "--store", started(notes / "empty"))
    assert ran.code == 1 and "There is no such store" in ran.err


def test_python_cannot_write_there(notes: Path, started: Started) -> None:
    from maccli import Mac as Library
    from maccli.errors import MacError

    with Library(started(notes / "a")) as library, pytest.raises(MacError, match="only be asked"):
        library.ingest("a.txt")


# the key


def test_a_key_is_shown(bank: Any, started: Started, remote: Remote) -> None:
    url = started(bank.path, key="0123456789abcdef")
    assert remote(url, "0123456789abcdef").count() == 3
    for key in (None, "another"):
        with pytest.raises(StoreError, match="wants to see its key") as caught:
            remote(url, key)
        assert "MAC_SERVER_KEY" in (caught.value.hint or "")


def test_each_server_is_shown_its_own_key(
    notes: Path, mac: Mac, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = started(notes / "a", key="key-of-the-first"), started(notes / "b", key="other")
    both = ("search", "Who opened the bridge?", "--store", first, "--store", f"{second}/b")
    monkeypatch.setenv("MAC_SERVER_KEY", "key-of-the-first")
    assert f"{second}/b wants to see its key" in mac(*both).err
    monkeypatch.setenv("MAC_SERVER_KEYS", f"{second.upper()}=other")
    assert "Ida Brandt" in mac(*both).out  # the first is shown that of MAC_SERVER_KEY
    monkeypatch.delenv("MAC_SERVER_KEY")
    assert f"{first} wants to see its key" in mac(*both).err
    monkeypatch.setenv("MAC_SERVER_KEYS", f" {first}=key-of-the-first\n{second}/=other")
    assert "Ida Brandt" in mac(*both).out


def test_a_wrong_address_is_one_line_whatever_the_keys_are(
    notes: Path, mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAC_SERVER_KEYS", "http://[nas=secret")
    ran = mac("search", "Who?", "--store", "http://[archive")
    assert ran.code == 1 and "http://[archive" in ran.err and "secret" not in ran.err


@pytest.mark.parametrize(
    "keys", ["secret", "http://nas:8642", "http://nas:8642=", "nas:8642=secret"]
)
def test_keys_in_another_form_are_refused(
    notes: Path, mac: Mac, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    monkeypatch.setenv("MAC_SERVER_KEYS", keys)
    ran = mac("search", "Who?", "--store", "http://nas:8642")
    assert ran.code == 1 and "MAC_SERVER_KEYS needs URL=KEY" in ran.err
    assert "secret" not in ran.err


# what is told


def test_another_model_and_another_store(bank: Any, started: Started, remote: Remote) -> None:
    url = started(bank.path)
    with pytest.raises(FingerprintMismatchError, match="Another model wrote"):
        remote(url, fingerprint="fp-2")
    with pytest.raises(StoreNotFoundError, match="no store of this name"):
        remote(f"{url}/other")


def test_copies_and_the_rest_of_a_document(bank: Any, started: Started, remote: Remote) -> None:
    store = remote(started(bank.path))
    [row] = store.chunk_rows([1])
    assert store.same_text(row.text, Within(), 5) == [1, 3]
    assert store.same_text(row.text, Within(), 1) == [1]
    assert store.chunks(row.document_id) == [row] == bank.chunk_rows([1])
    assert store.sharing([1]) == store.sharing([]) == store.chunks(99) == []


def test_merged_modulations_keep_their_rows(bank: Any, started: Started, remote: Remote) -> None:
    from store.pruning.prune import prune
    from store.pruning.target import Target

    prune(bank, "nn-average", Target.parse("1"))
    store = remote(started(bank.path))
    ids = [row.id for document in bank.documents() for row in bank.chunks(document.id)]
    for ours, theirs in zip(store.modulations(ids), bank.modulations(ids), strict=True):
        np.testing.assert_array_equal(ours.latents, theirs.latents)
        np.testing.assert_array_equal(ours.scales, theirs.scales)
        np.testing.assert_array_equal(ours.spread()[0], theirs.spread()[0])
    assert [row.id for row in store.sharing(ids[:1])] == [row.id for row in bank.sharing(ids[:1])]


def test_only_the_nearest_keys_are_sent(bank: Any, started: Started, remote: Remote) -> None:
    store = remote(started(bank.path))
    [(everything, keys)] = bank.keys()
    best = everything[np.lexsort((everything, -(keys.astype(np.float32) @ QUERY)))]
    for number in range(4):
        ids, sent = store.nearest(QUERY, number)
        assert ids.tolist() == sorted(best[:number].tolist())
        np.testing.assert_array_equal(sent, keys[np.isin(everything, ids)])
    ids, _ = store.nearest(QUERY, 1, [int(best[-1])])
    assert ids.tolist() == sorted([int(best[0]), int(best[-1])])
    ids, _ = store.nearest(QUERY, 10 * MOST_KEYS)
    assert len(ids) == 3


def test_a_chunk_that_is_gone(bank: Any, started: Started, remote: Remote) -> None:
    store = remote(started(bank.path))
    for read in (store.chunk_rows, store.modulations):
        with pytest.raises(StoreError, match="not in the store"):
            read([1, 99])


def test_a_connection_that_was_closed_is_made_again(
    bank: Any, started: Started, remote: Remote
) -> None:
    store = remote(started(bank.path))
    store._server._connection.sock.shutdown(socket.SHUT_RDWR)
    assert store.count() == 3


# what goes wrong


@pytest.mark.parametrize(
    "url",
    ["http://", "http://host:port", "http://host/a/b", "http://u:p@host", "http://host/a?b=c"],
)
def test_no_address(url: str, remote: Remote) -> None:
    with pytest.raises(StoreError, match="no address"):
        remote(url)


def test_nobody_is_there(mac: Mac) -> None:
    ran = mac("ask", "Who?", "--store", "http://127.0.0.1:9")
    assert ran.code == 1 and "does not answer: Connection refused" in ran.err
    assert "Traceback" not in ran.err and "mac serve" in ran.err


STRANGE: list[Any] = [
    b"<html>",
    b"[]",
    {},
    {"fingerprint": "fp-1", "key_size": "many", "latent_size": 1},
]


@pytest.mark.parametrize("answer", STRANGE)
def test_a_server_of_another_kind(answer: Any, remote: Remote) -> None:
    with saying(answer) as url, pytest.raises(StoreError, match="not answer as mac serve"):
        remote(url)


ABOUT = {"fingerprint": "fp-1", "key_size": samples.E, "latent_size": samples.R}
KEYS = {"keys": {"ids": [1], "keys": to_text(np.zeros(samples.E, np.float16))}}
NOT_FINITE = to_text(np.full(samples.E, np.inf, np.float16))


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda store: store.count(), {"documents": None}),
        (lambda store: store.chunk_rows([1]), {"data": [{"id": 1}]}),
        (lambda store: store.chunk_rows([1]), {"data": []}),
        (lambda store: store.modulations([1]), {"data": []}),
        (
            lambda store: store.modulations([1]),
            {"data": [{"id": 1, "latents": "AAAA", "scales": "AAA=", "rows": None}]},
        ),
        (lambda store: list(store.documents()), {"has_more": False, "data": [{}]}),
        (lambda store: store.nearest(QUERY, 1), {"keys": None}),
        (
            lambda store: store.nearest(QUERY, 1),
            {"keys": {"ids": [1], "keys": NOT_FINITE}},
        ),
        (
            lambda store: store.nearest(QUERY, 1),
            {"keys": {"ids": [1, 2], "keys": KEYS["keys"]["keys"]}},
        ),
        (lambda store: store.text_index.known([["a"]]), {"known": []}),
        (lambda store: store.text_index.similar("word"), {"similar": [1]}),
        (
            lambda store: store.text_index.matches([["a"]], 1, Within()),
            {"matches": {"chunks": 1, "words": 1, "having": [], "lengths": {}, "times": {}}},
        ),
        (
            lambda store: store.text_index.coverage([["a"]], [1]),
            {"coverage": {"chunks": 1, "having": [1], "found": [[2]]}},
        ),
    ],
)
def test_answers_that_are_not_as_they_should_be(
    ask: Callable[[Any], Any], answer: Any, remote: Remote
) -> None:
    with saying(ABOUT, answer) as url:
        store = remote(url)
        with pytest.raises(StoreError, match="not answer as mac serve"):
            ask(store)


class saying:  # used as a function
    """Serve these bodies, one after the other; the last one for ever."""

    def __init__(self, *bodies: Any) -> None:
        left = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_numbers_are_sent_whole() -> None:
    numbers = np.array([[1.5, -2.0], [0.0, 65504.0]], np.float16)
    np.testing.assert_array_equal(from_text(to_text(numbers), "<f2", 2, 2), numbers)
    for wrong in ("AAA", "!!!!", to_text(np.array([np.nan], np.float32))):
        with pytest.raises(ValueError):
            from_text(wrong, "<f4", 1)


# the routes


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chunks", {}, 400),
        ("/v1/chunks", {"ids": [1], "document": 1}, 400),
        ("/v1/chunks", {"ids": [0]}, 400),
        ("/v1/chunks", {"ids": [99]}, 404),
        ("/v1/chunks", {"text": "a\0b"}, 400),
        ("/v1/chunks", {"document": 99}, 200),
        ("/v1/modulations", {"ids": [99]}, 404),
        ("/v1/modulations", {"ids": list(range(1, 200))}, 400),
        ("/v1/select", {}, 200),
        ("/v1/select", {"known": [['"', "OR ("], ["*"]]}, 200),
        ("/v1/select", {"known": [[]]}, 400),
        ("/v1/select", {"similar": "a\0"}, 400),
        ("/v1/select", {"keys": {"query": "AAAA", "number": 1}}, 400),
        ("/v1/select", {"keys": {"query": NOT_FINITE, "number": 1}}, 400),
        ("/v1/select", {"matches": {"words": [], "limit": 5}}, 200),
        ("/v1/select", {"matches": {"words": [["ferry"]], "limit": 5}, "tags": ["no"]}, 200),
        ("/v1/select", {"coverage": {"words": [["ferry"]], "ids": []}}, 200),
        ("/v1/select", {"else": 1}, 400),
    ],
)
def test_what_the_routes_take(
    bank: Any, started: Started, path: str, body: Any, status: int
) -> None:
    connection = http.client.HTTPConnection(started(bank.path).removeprefix("http://"))
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == status, answer
    if status == 200 and path == "/v1/select":
        assert set(answer) == {"known", "similar", "matches", "coverage", "keys"}
        assert {name for name in answer if answer[name] is not None} == set(body) - {"tags"}
