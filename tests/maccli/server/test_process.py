"""`mac serve` itself: a process of its own on a free port, with tiny networks."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ..conftest import FakeMemory

ROOT = Path(__file__).parents[3]
GATED = [sys.executable, str(Path(__file__).with_name("gated.py"))]
REAL = [sys.executable, "-m", "maccli"]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
BRIDGE = "Varnholt is small. The bridge was opened by Ida Brandt."
QUESTION = "Who opened the bridge?"
ASK = {"question": QUESTION}
CHAT = {"model": "mac", "messages": [{"role": "user", "content": QUESTION}]}
LONG = " ".join(f"In the year {n} there was feast {n} of the town." for n in range(40))
PATIENCE = 300
"""Seconds, of which a busy machine may need many."""
RUNNING = 'mac_queue_running{queue="questions"}'
WAITING = 'mac_queue_waiting{queue="questions"}'


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return result


class Server:
    """A running `mac serve`."""

    def __init__(self, command: list[str], *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*command, "serve", "--port", "0", "--store", "notes", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT, **environment},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Serving http://127.0.0.1:"), self.end()
        self.port = int(line.split(":")[2].split("/")[0])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = self.connect()
        headers = {"content-type": "application/json"}
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        data = response.read().decode()
        connection.close()
        kind = response.headers["content-type"]
        return response.status, json.loads(data) if kind == "application/json" else data

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        return self.send("POST", path, body)

    def upload(self, name: str, text: str) -> tuple[int, Any]:
        return self.post("/v1/documents", {"name": name, "text": text})

    def names(self) -> list[str]:
        return [document["name"] for document in self.send("GET", "/v1/documents")[1]["data"]]

    def metric(self, name: str) -> float:
        lines = self.send("GET", "/metrics")[1].splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def leave(self, path: str, body: Any) -> socket.socket:
        """Send a request on a connection of its own, to be closed before the response."""
        content = json.dumps(body).encode()
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        return connection

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it by a signal; return its exit code and what it wrote to stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


Start = Callable[..., Server]


@pytest.fixture
def start(memory: FakeMemory) -> Iterator[Start]:
    servers: list[Server] = []

    def run(command: list[str] = GATED, **environment: str) -> Server:
        servers.append(Server(command, **environment))
        return servers[-1]

    yield run
    for server in servers:
        server.end(signal.SIGKILL)


def test_clients_that_come_at_once_and_that_go(start: Start, work: Path) -> None:
    server = start()
    assert server.send("GET", "/healthz") == (200, {"status": "ok"})
    assert server.upload("bridge.txt", BRIDGE)[0] == 201
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(server.post, "/v1/ask", ASK) for _ in range(4)]
        assert [answer.result()[1]["answer"] for answer in answers] == ["An answer from 1."] * 4
    assert server.metric("mac_questions_total") == 4

    # One that waits never runs once its client is gone, and one that runs ends.
    (work / "ask").touch()
    first = server.leave("/v1/ask", ASK)
    until(lambda: server.metric(RUNNING), "it runs")
    waiting = [server.leave("/v1/ask", ASK), server.leave("/v1/chat/completions", CHAT)]
    stream = server.leave("/v1/chat/completions", {**CHAT, "stream": True})
    until(lambda: server.metric(WAITING) == 3, "they wait")
    for connection in (*waiting, stream, first):
        connection.close()
    until(lambda: server.metric(WAITING) == 0, "their places are free")
    until(lambda: server.metric("mac_cancelled_total") == 4, "all are noticed")
    (work / "ask").unlink()
    until(lambda: not server.metric(RUNNING), "it ends")
    assert server.metric("mac_questions_total") == 4
    assert server.post("/v1/ask", ASK)[0] == 200
    assert server.metric("mac_questions_total") == 5


def test_clients_that_are_slow_or_speak_something_else(start: Start) -> None:
    server = start(SECONDS="3")
    server.upload("bridge.txt", BRIDGE)
    silent = socket.create_connection(("127.0.0.1", server.port))
    half = socket.create_connection(("127.0.0.1", server.port))
    half.sendall(b"POST /v1/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
    deaf = server.leave("/v1/chat/completions", {**CHAT, "stream": True})
    rubbish = socket.create_connection(("127.0.0.1", server.port))
    rubbish.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    assert b"400" in rubbish.recv(1000)
    for _ in range(3):
        assert server.post("/v1/ask", ASK)[0] == 200
    silent.settimeout(PATIENCE)
    assert silent.recv(1) == b""  # it is hung up on
    half.settimeout(PATIENCE)
    assert b" 408 " in half.recv(1000)
    for connection in (silent, half, deaf, rubbish):
        connection.close()
    assert server.end() == (0, "")


def test_it_stops_when_it_is_told_to(start: Start, work: Path) -> None:
    server = start()
    server.upload("bridge.txt", BRIDGE)
    (work / "ingest").touch()
    with ThreadPoolExecutor(4) as pool:
        sending = pool.submit(server.upload, "long.txt", LONG)
        until(lambda: server.metric('mac_queue_running{queue="uploads"}'), "it is read")
        (work / "ask").touch()
        running = pool.submit(server.post, "/v1/ask", ASK)
        until(lambda: server.metric(RUNNING) or server.metric(WAITING), "it is there")
        (work / "ingest").unlink()
        until(lambda: server.metric(RUNNING), "it runs")
        waiting = pool.submit(server.post, "/v1/ask", ASK)
        until(lambda: server.metric(WAITING), "it waits")
        server.process.send_signal(signal.SIGTERM)
        status, body = waiting.result()
        assert (status, body["error"]["code"]) == (503, "stopping")
        (work / "ask").unlink()
        assert running.result()[0] == 200
        status, body = sending.result()
        assert (status, body["error"]["code"]) == (503, "stopping")
        assert server.end() == (0, "")
    again = start()
    assert again.post("/v1/ask", ASK)[0] == 200
    assert again.upload("long.txt", LONG)[0] in (200, 201)
    assert again.end(signal.SIGINT) == (0, "")


def test_others_use_the_store_beside_it(start: Start, work: Path) -> None:
    server, second = start(), start()
    (work / "prize.txt").write_text("The poetry prize went to Tomas Reyl.")
    (work / "ingest").touch()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(server.upload, "long.txt", LONG)
        until(lambda: server.metric('mac_queue_running{queue="uploads"}'), "it is read")
        command = [*GATED, "ingest", "--store", "notes", "prize.txt"]
        beside = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True)
        assert beside.returncode == 0, beside.stderr
        assert second.upload("bridge.txt", BRIDGE)[0] == 201
        assert second.post("/v1/ask", ASK)[0] == 200
        (work / "ingest").unlink()
        assert sending.result()[0] == 201
    names = [str(work / "prize.txt"), "bridge.txt", "long.txt"]
    assert server.names() == second.names() == names
    found = server.post("/v1/search", {"question": "Who won the poetry prize?", "k": 1})[1]["data"]
    assert [passage["source"] for passage in found] == [str(work / "prize.txt")]
    removed = server.send("GET", "/v1/documents?match=bridge")[1]["data"][0]["id"]
    assert server.send("DELETE", f"/v1/documents/{removed}")[0] == 200
    assert second.names() == [names[0], names[2]]


def test_a_kill_in_the_middle_of_an_upload_loses_nothing(start: Start, work: Path) -> None:
    server = start()
    server.upload("bridge.txt", BRIDGE)
    (work / "ingest").touch()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(server.upload, "long.txt", LONG)
        until(lambda: server.metric('mac_queue_running{queue="uploads"}'), "it is read")
        # Meanwhile the next one is on its way.
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                b"POST /v1/documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
                b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nThe first'
            )
            server.end(signal.SIGKILL)
        assert sending.exception() is not None
    (work / "ingest").unlink()
    verify = [*REAL, "store", "verify", "--store", "notes"]
    checked = subprocess.run(
        verify, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    again = start()
    assert again.names()[0] == "bridge.txt"
    assert again.post("/v1/ask", ASK)[0] == 200
    status, document = again.upload("long.txt", LONG)
    assert status in (200, 201)
    assert document["chunks"] == document["expected"] > 10
    assert {path.name.split("-")[0] for path in (work / "notes").iterdir()} == {"index.db"}
    again.end()
    assert [path.name for path in (work / "notes").iterdir()] == ["index.db"]


def test_openais_client_works(tiny: Any, start: Start) -> None:
    """The command as it is, with networks."""
    openai = pytest.importorskip("openai")
    key = "correct-horse-battery"
    server = start(REAL, MAC_SERVER_KEY=key, MAC_MODEL=str(Path("made").absolute()))
    assert server.send("GET", "/v1/models")[0] == 401
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key, max_retries=0, timeout=PATIENCE
    ) as client:
        assert next(model.id for model in client.models.list()) == "mac"
        messages = [{"role": "user", "content": QUESTION}]
        with pytest.raises(openai.NotFoundError, match="no documents"):
            client.chat.completions.create(model="mac", messages=messages)
        with pytest.raises(openai.NotFoundError, match="no documents"):
            client.chat.completions.create(model="mac", messages=messages, stream=True)
        sent = client.post(
            "/documents", cast_to=object, body={"text": BRIDGE, "name": "bridge.txt"}
        )
        assert sent["status"] == "added"
        whole = client.chat.completions.create(model="mac", messages=messages)
        assert whole.usage.total_tokens > 0
        assert whole.citations == ["bridge.txt, line 1"] and whole.sources
        stream = client.chat.completions.create(
            model="mac", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
        found = client.chat.completions.create(model="mac:search", messages=messages)
        assert BRIDGE in found.choices[0].message.content
        vectors = client.embeddings.create(model="mac", input=["a bridge", "a prize"])
        assert [len(item.embedding) for item in vectors.data] == [32, 32]
        with pytest.raises(openai.BadRequestError, match="question is empty"):
            client.chat.completions.create(model="mac", messages=[{"role": "user", "content": " "}])
        with pytest.raises(openai.NotFoundError, match="no such model"):
            client.chat.completions.create(model="gpt-4", messages=messages)
    with (
        openai.OpenAI(
            base_url=f"http://127.0.0.1:{server.port}/v1", api_key="wrong", max_retries=0
        ) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
