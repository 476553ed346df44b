"""Many clients at once: what `mac serve` answers, how long they wait, and the memory it takes.

    mac ingest --store clients-store examples/news
    python -m benchmarks.clients --store clients-store --questions examples/questions.txt

The server is started on the store, and each question asked once alone. Then `--clients` ask
questions in any order for `--seconds`, each again as soon as it is answered; who is refused because
the queue is full tries again when the server says. Printed are how many answers came, how many were
those given alone, how long each client waited for one, refusals included, and the server's memory.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import numpy as np

TOO_MANY = 429


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help="one a line")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--route", choices=("ask", "search"), default="ask")
    parser.add_argument("--serve", nargs="*", default=[], help="further options of mac serve")
    arguments = parser.parse_args()
    questions = arguments.questions.read_text("utf-8").split("\n")
    questions = [question.strip() for question in questions if question.strip()]
    command = ["-m", "maccli", "serve", "--store", str(arguments.store), "--port", "0"]
    server = subprocess.Popen(
        [sys.executable, *command, *arguments.serve], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        address = urlsplit(server.stdout.readline().split()[1])
        route = (str(address.hostname), address.port or 80, f"/v1/{arguments.route}")
        alone = {question: _ask(route, question)[1] for question in questions}
        measure(server.pid, route, alone, arguments.clients, arguments.seconds)
        assert server.poll() is None, "the server has ended"
    finally:
        server.terminate()
        server.wait()


Route = tuple[str, int, str]


def measure(pid: int, route: Route, alone: dict[str, str], clients: int, seconds: float) -> None:
    """Let clients ask for some seconds, and print what came of it.

    Args:
        pid: the server's process.
        route: host, port and path.
        alone: the questions, each with what is answered where nobody else asks.
        clients: how many.
        seconds: for so long they ask.
    """
    memory = [_megabytes(pid)]
    counts: Counter[str] = Counter()
    waits: list[float] = []
    over = Event()

    def client(number: int) -> None:
        chance = random.Random(number)
        while not over.is_set():
            question = chance.choice(list(alone))
            begun = time.perf_counter()
            while True:
                status, said, retry = _ask(route, question)
                if status != TOO_MANY or over.wait(retry):
                    break
                counts["refused, and tried again"] += 1
            if status == http.client.OK:
                counts["answered"] += 1
                counts["as alone" if said == alone[question] else "NOT as alone"] += 1
                waits.append(time.perf_counter() - begun)
            elif status != TOO_MANY:
                counts[f"status {status}"] += 1

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client, number) for number in range(clients)]
        for _ in range(4):
            over.wait(seconds / 4)
            memory.append(_megabytes(pid))
        over.set()
        for each in running:
            each.result()
    print(
        f"{clients} clients, {seconds:.0f} s: " + ", ".join(f"{n} {w}" for w, n in counts.items())
    )
    middle, late = np.percentile(waits, (50, 95))
    print(f"waited: p50 {middle:.2f} s, p95 {late:.2f} s, longest {max(waits):.2f} s")
    print("server's memory, MB: " + ", ".join(f"{megabytes:.0f}" for megabytes in memory))


def _ask(route: Route, question: str) -> tuple[int, str, float]:
    """Return the status, what was answered or found, and after how long to try again."""
    host, port, path = route
    connection = http.client.HTTPConnection(host, port)
    try:
        body = json.dumps({"question": question})
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        reply = json.loads(response.read())
    finally:
        connection.close()
    retry = float(response.headers.get("Retry-After", 0))
    if "data" in reply:
        return response.status, str([(p["source"], p["chunk"]) for p in reply["data"]]), retry
    return response.status, f"{reply.get('outcome')}: {reply.get('answer')}", retry


def _megabytes(pid: int) -> float:
    """Return the memory that a process has now."""
    shown = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return int(shown.stdout) / 1024


if __name__ == "__main__":
    main()
