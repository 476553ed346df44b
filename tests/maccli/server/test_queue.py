"""The thread that owns the model."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event, current_thread
from typing import Any

import pytest

from maccli.server.queue import Cancelled, Job, QueueFull, Stopping, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker("test", 3)
    made.start()
    yield made
    made.stop()
    made.join(60)


class Held:
    """Work that runs until it is let go."""

    def __init__(self, worker: Worker) -> None:
        self.entered, self.go = Event(), Event()
        self.job: Job[int] = worker.submit(self._work)
        assert self.entered.wait(60)

    def _work(self, _: Job[int]) -> int:
        self.entered.set()
        assert self.go.wait(60)
        return 1


def test_jobs_run_one_after_the_other_in_one_thread(worker: Worker) -> None:
    held = Held(worker)
    done: list[Any] = []
    jobs = [worker.submit(lambda _, n=n: done.append((n, current_thread().name))) for n in range(3)]
    assert (worker.waiting, worker.running, done) == (3, True, [])
    held.go.set()
    for job in jobs:
        job.future.result(60)
    assert done == [(0, "test"), (1, "test"), (2, "test")]


def test_so_many_wait_and_no_more(worker: Worker) -> None:
    held = Held(worker)
    jobs = [worker.submit(lambda _: None) for _ in range(3)]
    with pytest.raises(QueueFull) as caught:
        worker.submit(lambda _: None)
    assert caught.value.retry_after >= 1
    jobs[1].cancel()  # its place is free at once
    worker.submit(lambda _: None)
    held.go.set()


def test_what_is_cancelled_while_it_waits_never_runs(worker: Worker) -> None:
    held = Held(worker)
    ran: list[int] = []
    cancelled, other = (worker.submit(lambda _, n=n: ran.append(n)) for n in range(2))
    cancelled.cancel()
    held.go.set()
    other.future.result(60)
    assert ran == [1]
    with pytest.raises(CancelledError):
        cancelled.future.result(60)


def test_what_is_cancelled_while_it_runs_ends_at_its_next_turn(worker: Worker) -> None:
    entered, go = Event(), Event()

    def work(job: Job[None]) -> None:
        for _ in range(1000):
            job.turn(lambda: None)
            entered.set()
            assert go.wait(60)

    job = worker.submit(work)
    assert entered.wait(60)
    job.cancel()
    go.set()
    with pytest.raises(Cancelled):
        job.future.result(60)


def test_an_error_is_the_jobs_and_the_thread_goes_on(worker: Worker) -> None:
    for error in (ValueError("no"), KeyboardInterrupt(), SystemExit(1)):

        def work(_: Job[None], error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            worker.submit(work).future.result(60)
    assert worker.submit(lambda _: 2).future.result(60) == 2


def test_questions_and_an_ingest_take_turns(worker: Worker) -> None:
    held = Held(worker)
    order: list[str] = []
    questions = [worker.submit(lambda _: order.append("question")) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(worker.borrow, lambda: order.append("batch"))
        while len(worker._borrowing) < 2:
            pass
        held.go.set()
    questions[1].future.result(60)
    assert order == ["batch", "question", "batch", "question"]


def test_stopping_ends_what_waits_and_lets_what_runs_end(worker: Worker) -> None:
    held = Held(worker)
    waiting = worker.submit(lambda _: 1)
    with ThreadPoolExecutor(1) as pool:
        ingest = pool.submit(worker.borrow, lambda: None)
        while not worker._borrowing:
            pass
        worker.stop()
        with pytest.raises(Stopping):
            waiting.future.result(60)
        with pytest.raises(KeyboardInterrupt):  # as Ctrl-C ends an ingest
            ingest.result(60)
        with pytest.raises(KeyboardInterrupt):
            worker.borrow(lambda: None)
    with pytest.raises(Stopping):
        worker.submit(lambda _: 1)
    held.go.set()
    assert held.job.future.result(60) == 1
    worker.join(60)
