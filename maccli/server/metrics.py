"""What the server counts, in the text format of Prometheus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from threading import Lock

Labels = tuple[tuple[str, str], ...]
Sample = tuple[Mapping[str, str], float]


class Metrics:
    """Counters, which any thread may add to."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counters: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to the counter `name` that has these labels."""
        with self._lock:
            self._counters[name][tuple(sorted(labels.items()))] += amount

    def add_seconds(self, timings: Mapping[str, float]) -> None:
        """Count the seconds of each step of an answer."""
        for step, seconds in timings.items():
            self.add("mac_step_seconds_sum", seconds, step=step)
            self.add("mac_step_seconds_count", step=step)

    def text(self, gauges: Mapping[str, Iterable[Sample]]) -> str:
        """Return all counters, and the gauges as they stand now, as Prometheus reads them.

        Args:
            gauges: for each name its samples: labels and a value.
        """
        with self._lock:
            counters = {name: dict(samples) for name, samples in self._counters.items()}
        lines: list[str] = []

        def add(name: str) -> None:
            samples = sorted(counters.get(name, {}).items())
            lines.extend(_line(name, dict(labels), value) for labels, value in samples)

        for name, about in _COUNTERS.items():
            lines += _head(name, "counter", about)
            add(name)
        lines += _head("mac_step_seconds", "summary", "Seconds that each step of answers took.")
        add("mac_step_seconds_sum")
        add("mac_step_seconds_count")
        for name, samples in gauges.items():
            lines += _head(name, "gauge", _GAUGES[name])
            lines += [_line(name, labels, value) for labels, value in samples]
        return "\n".join(lines) + "\n"


_COUNTERS = {
    "mac_questions_total": "Questions by kind (ask, search) and outcome.",
    "mac_cancelled_total": "Requests whose client went away before their end.",
    "mac_embeddings_total": "Texts that were embedded.",
    "mac_uploads_total": "Documents sent to the server, by what became of them.",
    "mac_responses_total": "Responses by HTTP status.",
}
_GAUGES = {
    "mac_documents": "Documents in each store.",
    "mac_queue_waiting": "Requests that wait: questions for the model, uploads for the ingest.",
    "mac_queue_running": "1 while one runs, else 0.",
    "mac_queue_limit": "How many may wait.",
}


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    number = str(int(value)) if value == int(value) else repr(value)
    return f"{name}{{{inside}}} {number}" if inside else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
