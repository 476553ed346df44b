"""`mac ask` and `mac search` by a running `mac serve`: its Unix socket, and what can be wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fastapi.testclient import TestClient

from maccli import Mac
from maccli.server.safety import Access
from maccli.server.sockets import client, unix
from maccli.server.sockets.client import ServedMac

from ..conftest import FakeMemory, Ran, make_checkpoint, pipe
from .conftest import QUESTION, Serve, problem
from .test_process import BRIDGE, ENVIRONMENT, GATED, PATIENCE, RUNNING, Server, until
from .vocabulary import Vocabulary

Run = Callable[..., Ran]
Start = Callable[..., Server]
SECONDS = re.compile(r'((?:load|encode|aggregate|generate)"?:? )[\d.]+')
KEY = "correct-horse-battery"
LOADED = ("load", 1)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may be busy."""
    monkeypatch.setattr(client, "SILENCE_SECONDS", float(PATIENCE))


@pytest.fixture
def notes(mac: Run, work: Path, memory: FakeMemory) -> Path:
    """A store of documents that every process finds the same in."""
    memory.vocabulary = Vocabulary()
    (work / "bridge.txt").write_text(BRIDGE)
    (work / "prize.md").write_text("# Prizes\n\nThe poetry prize went to Tomas Reyl.")
    (work / "copy.md").write_text("# Prizes\n\nThe poetry prize went to Tomas Reyl.")
    assert mac("ingest", "--store", "notes", "bridge.txt", "prize.md", "copy.md").code == 0
    memory.calls.clear()
    return work / "notes"


@pytest.fixture
def start(notes: Path) -> Iterator[Start]:
    """Start a process of `mac serve` on the store `notes`."""
    servers: list[Server] = []

    def run(*options: str, **environment: str) -> Server:
        servers.append(Server(GATED, *options, **environment))
        return servers[-1]

    yield run
    for server in servers:
        server.end(signal.SIGKILL)


def alike(ran: Ran) -> tuple[int, str, str]:
    """What a command wrote, without what differs from run to run."""
    said = ran.err.replace("Answered by the running mac serve.\n", "")
    return ran.code, SECONDS.sub(r"\1", ran.out), SECONDS.sub(r"\1", said)


def test_a_running_server_answers_as_the_command_itself(
    mac: Run, start: Start, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch, work: Path
) -> None:
    server = start("--also", "empty", MAC_SERVER_KEY=KEY)
    (work / "link").symlink_to("notes")
    (work / "nothing").symlink_to("empty")
    assert server.send("GET", "/v1/models")[0] == 401  # by TCP the key is needed
    for command in (
        ("ask", QUESTION),
        ("ask", QUESTION, "-v", "-k", "1"),
        ("ask", QUESTION, "--json"),
        ("ask", "Who won the poetry prize?", "--nl", "--free", "--fast"),
        ("ask", QUESTION, "--mode", "rag", "--max-new-tokens", "600", "--retriever", "bm25"),
        ("ask", QUESTION, "--mode", "closed-book", "-q"),
        ("ask", "Summarise prize.md"),
        ("ask", QUESTION, "--tag", "none"),
        ("ask", QUESTION, "--since", "2100-01-01", "--strict"),
        ("ask", " "),
        ("ask", "why " * 5000),
        ("search", "Who won the poetry prize?"),
        ("search", "Who won the poetry prize?", "--json", "-k", "120"),
        ("search", " "),
        ("ask", QUESTION, "--store", "link"),
        ("ask", QUESTION, "--store", "nothing"),
        ("search", QUESTION, "--store", "empty"),
    ):
        command = command if "--store" in command else (*command, "--store", "notes")
        memory.calls.clear()
        served = mac(*command)
        assert LOADED not in memory.calls, command
        assert alike(served) == alike(mac(*command, "--local")), command
        assert ("Answered by the running mac serve." in served.err) is ("-v" in command)
        assert "Traceback" not in served.err

    for command in (
        ("chat", "-v"),
        ("ask", "-"),
        ("ask", "-", "--nl"),
        ("search", "-", "--json"),
    ):
        outputs = []
        for options in ((), ("--local",)):
            memory.calls.clear()
            pipe(monkeypatch, f"{QUESTION}\n\n{'why ' * 5000}\nWho won the poetry prize?\n")
            ran = mac(*command, "--store", "notes", *options)
            outputs.append(alike(ran))
            assert (LOADED in memory.calls) is bool(options)
            assert ("Answered by" in ran.err) is ("-v" in command and not options)
        assert outputs[0] == outputs[1]
    assert outputs[0][0] == 1  # one of the questions is too long

    # No valid Unicode: the server refuses it, and the command answers.
    command = ("search", "\udcff", "--nl", "--store", "notes")
    assert mac(*command) == mac(*command, "--local")
    for here in (("--local",), ("--device", "cpu"), ("--device", "auto")):
        memory.calls.clear()
        assert mac("ask", QUESTION, "--store", "notes", *here).code == 0
        assert LOADED in memory.calls
    assert server.end() == (0, "")


def test_only_a_server_that_would_answer_the_same_is_asked(
    mac: Run, start: Start, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start(MAC_K="2")

    def loads(*options: str) -> bool:
        memory.calls.clear()
        assert mac("ask", QUESTION, "--store", "notes", *options).code == 0
        return LOADED in memory.calls

    assert loads()  # the server's k is another
    monkeypatch.setenv("MAC_K", "2")
    assert not loads()
    for name, value in (("MAC_DEVICE", "cpu"), ("MAC_MAX_NEW_TOKENS", "8"), ("MAC_K", "1")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert loads()
    with monkeypatch.context() as patch:
        patch.setenv("MAC_HOME", str(tmp_path / "another-home"))
        assert loads()
    with monkeypatch.context() as patch:
        patch.setattr(client, "version", lambda _: "0.0.0")
        assert loads()
    # The same fingerprint, but how sure is sure enough is answered otherwise.
    other = make_checkpoint(tmp_path / "other", abstain_below=0.5)
    assert loads("--model", str(other))
    assert not loads("--model", str(tmp_path / "checkpoint"))
    # A store that another one has taken the place of is the one that is asked.
    (tmp_path / "work" / "notes").rename("old")
    assert mac("ask", QUESTION, "--store", "notes").code == 3
    (tmp_path / "work" / "old").rename("notes")
    assert not loads()


def test_the_socket_is_the_users_alone(mac: Run, start: Start, memory: FakeMemory) -> None:
    first = start(MAC_SERVER_KEY=KEY)
    path = unix.find(Path("notes"))
    assert [oct(place.stat().st_mode)[-3:] for place in (path, path.parent)] == ["600", "700"]
    connection = client._Connection(path)
    for host in ("localhost", "evil.example"):  # a page of the web has no way to it
        connection.request("GET", "/v1/models", headers={"Host": host, "Origin": "http://evil"})
        response = connection.getresponse()
        assert (response.status, response.read()[:1]) == (200, b"{")
    connection.request("POST", "/local/ask", "{", {"Content-Type": "application/json"})
    assert connection.getresponse().status == 400
    connection.close()

    # A second server leaves the socket where it is, also when it ends.
    before = path.stat().st_ino
    assert start().end() == (0, "")
    assert path.stat().st_ino == before
    assert mac("ask", QUESTION, "--store", "notes").code == 0
    for place, mode in ((path.parent, 0o755), (path, 0o666), (path.parent.parent, 0o777)):
        right = place.stat().st_mode
        place.chmod(mode)
        with pytest.raises(OSError):
            unix.find(Path("notes"))
        place.chmod(right)
    assert LOADED not in memory.calls

    # One that was killed leaves a socket behind, which nobody answers, and the next one replaces.
    first.end(signal.SIGKILL)
    assert path.exists()
    assert mac("ask", QUESTION, "--store", "notes").code == 0
    assert LOADED in memory.calls
    third = start()
    memory.calls.clear()
    assert mac("ask", QUESTION, "--store", "notes").code == 0
    assert LOADED not in memory.calls
    assert third.end() == (0, "")
    assert not path.exists()


def test_a_folder_of_somebody_else_is_not_used(start: Start, runtime: Path) -> None:
    (runtime / "mac").mkdir(mode=0o755)
    server = start()
    assert server.send("GET", "/healthz")[0] == 200
    assert list((runtime / "mac").iterdir()) == []
    with unix.listening([Path("notes")]) as listeners:
        assert listeners == []
    with pytest.raises(OSError):
        unix.find(Path("notes"))


def test_where_there_are_no_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with unix.listening([Path("notes")]) as listeners:
        assert listeners == []
    with pytest.raises(OSError):
        unix.find(Path("notes"))


def test_a_path_that_is_too_long_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with unix.listening([Path("notes")]) as listeners:
        assert listeners == []


def test_a_server_that_is_killed_in_the_middle(
    mac: Run, start: Start, memory: FakeMemory, work: Path
) -> None:
    server = start()
    (work / "ask").touch()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(mac, "ask", QUESTION, "-v", "--store", "notes")
        until(lambda: server.metric(RUNNING), "it runs")
        server.end(signal.SIGKILL)
        ran = asking.result()
    assert (ran.code, LOADED in memory.calls) == (0, True)
    assert ran.out.startswith("An answer from ") and "Answered by" not in ran.err


def test_ctrl_c_cancels_the_question_at_the_server(start: Start, work: Path) -> None:
    server = start()
    (work / "ask").touch()
    asking = subprocess.Popen(
        [*GATED, "ask", "--store", "notes", QUESTION],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    until(lambda: server.metric(RUNNING), "it runs")
    asking.send_signal(signal.SIGINT)
    assert asking.communicate(timeout=PATIENCE) == ("", "\nError: Interrupted.\n")
    assert asking.returncode == 130
    until(lambda: server.metric("mac_cancelled_total") == 1, "it is cancelled")
    (work / "ask").unlink()
    until(lambda: not server.metric(RUNNING), "it ends")
    assert server.metric("mac_questions_total") == 0


def test_pieces_come_as_they_are_made(start: Start, memory: FakeMemory) -> None:
    start()
    heard: dict[bool, list[str]] = {True: [], False: []}
    with Mac("notes") as mac:
        for free in (True, False):
            ServedMac(mac).ask(QUESTION, on_text=heard[free].append, free=free, k=1)
    assert heard[True] == heard[False] == [" An", " answer", " from 1."]
    assert LOADED not in memory.calls


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text: str) -> bytes:
    return f"{len(text):x}\r\n{text}\r\n".encode()


@contextmanager
def answering(content: bytes | None) -> Iterator[list[bytes]]:
    """A server that says this to whoever comes, whatever is asked, and hangs up; None: it hangs."""
    requests: list[bytes] = []

    def run(listener: socket.socket) -> None:
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    requests.append(connection.recv(100))
                    if content is None:
                        while connection.recv(1000):
                            pass
                    else:
                        connection.sendall(content)
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(1000):
                            pass
        except OSError:
            return  # the listener is closed

    with unix.listening([Path("notes")]) as (listener,):
        listener.listen()
        thread = Thread(target=run, args=(listener,))
        thread.start()
        try:
            yield requests
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\x16\x03\x01 this is no HTTP",
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n",
        HEAD,
        HEAD + b"5\r\n\n",
        HEAD + chunk("\n\n") + b"0\r\n\r\n",
        HEAD + chunk('{"result": {"answer"'),
        HEAD + chunk("no JSON\n") + b"0\r\n\r\n",
        HEAD + chunk('{"text": " An"}\n\n') + chunk('{"text": " ans'),
    ],
)
def test_whatever_is_wrong_with_the_server_the_question_is_answered(
    notes: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is None:
        monkeypatch.setattr(client, "SILENCE_SECONDS", 0.2)
    heard: list[str] = []
    with answering(content) as requests, Mac("notes") as mac:
        served = ServedMac(mac)
        answer = served.ask(QUESTION, k=1, on_text=heard.append)
        assert answer.answer == "An answer from 1." == "".join(heard).strip()
        assert [passage.text for passage in served.search(QUESTION, k=1)] == [BRIDGE]
    assert LOADED in memory.calls
    assert len(requests) == 1  # the model is loaded now, and no server needed


def test_a_server_that_does_not_accept(
    notes: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ACCEPT_SECONDS", 0.2)
    with unix.listening([Path("notes")]) as (listener,):
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(listener.getsockname())
            with Mac("notes") as mac:
                assert ServedMac(mac).ask(QUESTION, k=1).answer == "An answer from 1."
    assert LOADED in memory.calls


def test_a_queue_that_is_full(mac: Run, start: Start, memory: FakeMemory, work: Path) -> None:
    server = start("--queue", "1")
    (work / "ask").touch()
    waiting = [server.leave("/v1/ask", {"question": QUESTION})]
    until(lambda: server.metric(RUNNING), "it runs")
    waiting.append(server.leave("/v1/ask", {"question": QUESTION}))
    until(lambda: server.metric('mac_queue_waiting{queue="questions"}'), "it waits")
    assert mac("ask", QUESTION, "--store", "notes").code == 0
    assert LOADED in memory.calls
    # What waits when the server is stopped is refused there, and answered here.
    memory.calls.clear()
    waiting.pop().close()
    until(lambda: not server.metric('mac_queue_waiting{queue="questions"}'), "there is a place")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(mac, "ask", QUESTION, "--store", "notes")
        until(lambda: server.metric('mac_queue_waiting{queue="questions"}'), "it waits")
        server.process.send_signal(signal.SIGTERM)
        assert asking.result().code == 0
    assert LOADED in memory.calls
    (work / "ask").unlink()
    waiting.pop().close()
    assert server.end() == (0, "")


def test_by_tcp_its_routes_are_not_there(memory: FakeMemory, serve: Serve) -> None:
    from maccli.server.sockets import routes

    def post(access: Access | None, headers: dict[str, str]) -> Any:
        test: TestClient = serve(access=access)
        test.app.include_router(routes.router)  # type: ignore[attr-defined]
        return test.post("/local/ask", json={}, headers=headers)

    problem(post(None, {}), 404, "not_found")
    problem(post(Access(KEY), {}), 401, "invalid_api_key")
    problem(post(None, {"Host": "evil.example"}), 403, "wrong_host")


def test_to_ask_a_server_loads_nothing_heavy() -> None:
    code = (
        "import sys, maccli.server.sockets.client, maccli.server.sockets.unix\n"
        "heavy = {'torch', 'transformers', 'numpy', 'fastapi', 'uvicorn', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "[]\n"


def test_answers_are_the_same_after_their_way(notes: Path, memory: FakeMemory) -> None:
    """Numbers to the last digit, names that are no Unicode, and pairs as pairs."""
    from dataclasses import asdict, replace

    with Mac("notes") as mac:
        passages = mac.search("Who won the poetry prize?")
        answer = mac.ask("Who won the poetry prize?")
    assert any(passage.also for passage in passages) and any(s.also for s in answer.sources)
    source = replace(answer.sources[0], weight=0.1 + 0.2, source="\udcff", marked=(1, 3))
    answer = replace(answer, sources=[source, *answer.sources], probability=1 / 3)
    assert client._answer(json.loads(json.dumps(asdict(answer)))) == answer
    assert [client._passage(json.loads(json.dumps(asdict(p)))) for p in passages] == passages
