"""Pictures of what a log holds. Needs matplotlib, an extra."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path


def require() -> None:
    """Raise ModuleNotFoundError now rather than after hours of training."""
    import matplotlib  # noqa: F401


def losses(log: Path, picture: Path) -> None:
    """Draw both losses of a training log over its steps, smoothed, into a PNG, SVG or PDF file."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = [line["step"] for line in lines]
    for name, label in (("answer_loss", "answer"), ("relevance_loss", "relevance")):
        values = [line[name] for line in lines]
        drawn = axes.plot(steps, values, alpha=0.25)[0]
        smoothed = list(accumulate(values, lambda mean, value: 0.95 * mean + 0.05 * value))
        axes.plot(steps, smoothed, color=drawn.get_color(), label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend()
    figure.savefig(picture)
