"""What is counted, in the text format of Prometheus."""

from __future__ import annotations

import re

from fastapi.testclient import TestClient

from maccli.server.metrics import Metrics

from .conftest import QUESTION, problem

NAME = r"[a-z_]+"
LABELS = r'(?:\{[a-z_]+="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})?'
LINE = re.compile(rf"(?:# HELP {NAME} .+|# TYPE {NAME} [a-z]+|{NAME}{LABELS} [-+.e0-9]+)")


def values(text: str) -> dict[str, float]:
    assert text.endswith("\n")
    lines = text.splitlines()
    assert all(LINE.fullmatch(line) for line in lines), text
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    assert len({name for name, _, _ in samples}) == len(samples)
    return {name: float(value) for name, _, value in samples}


def test_what_was_done_is_counted(filled: TestClient) -> None:
    before = filled.get("/metrics")
    assert before.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert values(before.text)['mac_documents{store="notes"}'] == 2
    for _ in range(3):
        filled.post("/v1/ask", json={"question": QUESTION})
    filled.post("/v1/search", json={"question": QUESTION})
    problem(filled.get("/nowhere"), 404, "not_found")
    now = values(filled.get("/metrics").text)
    assert now['mac_questions_total{kind="ask",outcome="answer"}'] == 3
    assert now['mac_questions_total{kind="search",outcome="passages"}'] == 1
    assert now['mac_step_seconds_count{step="generate"}'] == 3
    assert now['mac_step_seconds_sum{step="aggregate"}'] > 0
    assert now['mac_uploads_total{status="added"}'] == 2
    assert now['mac_responses_total{status="404"}'] == 1
    assert now['mac_queue_waiting{queue="questions"}'] == 0
    assert now['mac_queue_limit{queue="questions"}'] == 16


def test_any_text_can_be_a_label() -> None:
    metrics = Metrics()
    metrics.add("mac_uploads_total", status='a"\\\n')
    metrics.add("mac_uploads_total", 10**15 + 1, status="x")
    read = values(metrics.text({"mac_documents": [({"store": "\n{}"}, 0.5)]}))
    assert read['mac_uploads_total{status="x"}'] == 10**15 + 1
    assert read['mac_documents{store="\\n{}"}'] == 0.5
