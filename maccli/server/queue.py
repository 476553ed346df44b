"""The one thread that owns the model, and the work that waits for it. Knows no HTTP.

Questions wait in a line of bounded length. An ingest runs in a thread of its own and borrows the
model for a batch at a time; it gets a turn after every question, so that neither of them waits for
the other's end.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_SMOOTHING = 0.2
"""Weight of the latest job in the running average of how long one takes."""


class Cancelled(Exception):
    """Nobody waits for this work any more."""


class Stopping(Exception):
    """The server is stopping, and begins nothing new."""


class QueueFull(Exception):
    """So many wait already that no more are taken.

    Attributes:
        retry_after: in about how many whole seconds there may be a place.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class Job(Generic[T]):
    """A piece of work, which runs once in a worker's thread, or never.

    Attributes:
        future: its result, from any thread.
    """

    def __init__(self, work: Callable[[Job[T]], T]) -> None:
        self.future: Future[T] = Future()
        self._work = work
        self._cancelled = False

    def cancel(self) -> bool:
        """Never begin the work, or end it at its next `turn`.

        Returns:
            whether that was news: it was not done yet, nor cancelled before.
        """
        news = not (self._cancelled or self.future.done())
        self._cancelled = True
        self.future.cancel()  # does something only while it waits
        return news

    def turn(self, call: Callable[[], R]) -> R:
        """Return what `call` returns: a part of the work, before which it can be cancelled.

        Raises:
            Cancelled: it was.
        """
        if self._cancelled:
            raise Cancelled
        return call()

    def run(self) -> None:
        """Do the work, unless it was cancelled while it waited."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._work(self)
        except BaseException as error:  # it belongs to whoever waits for the result
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def refuse(self) -> None:
        """End the work before it has begun, since the server is stopping."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(Stopping())


class Worker:
    """A thread that does one job after the other, in the order in which they came.

    Args:
        name: of the thread.
        limit: so many jobs may wait besides the one that runs.

    Attributes:
        limit: as given.
        running: whether a job runs now, and not what was borrowed for.
    """

    def __init__(self, name: str, limit: int) -> None:
        self.running = False
        self.limit = limit
        self._jobs: deque[Job[Any]] = deque()
        self._borrowing: deque[Job[Any]] = deque()
        self._job_was_last = False
        self._stopping = False
        self._seconds = 1.0
        self._changed = Condition()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of jobs that wait and have not been cancelled."""
        with self._changed:
            return self._count()

    def submit(self, work: Callable[[Job[T]], T]) -> Job[T]:
        """Put work into the line, and return it.

        Raises:
            QueueFull: there is no place.
            Stopping: the server is stopping.
        """
        job = Job(work)
        with self._changed:
            if self._stopping:
                raise Stopping
            ahead = self._count()
            if ahead >= self.limit:
                raise QueueFull(max(1, math.ceil(self._seconds * ahead)))
            self._jobs.append(job)
            self._changed.notify()
        return job

    def borrow(self, call: Callable[[], R]) -> R:
        """Let the worker's thread run `call` between two jobs, and return what it returns.

        Called from another thread, which waits.

        Raises:
            KeyboardInterrupt: the server is stopping. It is how an ingest is told to end: what it
                has written is kept.
        """
        job = Job(lambda _: call())
        with self._changed:
            if self._stopping:
                raise KeyboardInterrupt
            self._borrowing.append(job)
            self._changed.notify()
        try:
            return job.future.result()
        except (CancelledError, Stopping):
            raise KeyboardInterrupt from None

    def stop(self) -> None:
        """Take no more work, and refuse what waits; the job that runs comes to its end."""
        with self._changed:
            self._stopping = True
            refused = [*self._jobs, *self._borrowing]
            self._jobs.clear()
            self._borrowing.clear()
            self._changed.notify()
        for job in refused:
            job.refuse()

    def join(self, seconds: float) -> None:
        """Wait for the thread's end, at most so long."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _count(self) -> int:
        return sum(not job.future.cancelled() for job in self._jobs)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            begun = time.perf_counter()
            self.running = self._job_was_last
            job.run()
            if self.running:
                taken = time.perf_counter() - begun
                self._seconds += _SMOOTHING * (taken - self._seconds)
            self.running = False

    def _next(self) -> Job[Any] | None:
        """Wait for the next piece of work and take it; None if there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._jobs or self._borrowing)
            if self._stopping:
                return None
            lines = (self._jobs, self._borrowing)
            first, second = reversed(lines) if self._job_was_last else lines
            line = first or second
            self._job_was_last = line is self._jobs
            return line.popleft()
