"""Pictures of what a log or a file of results holds. Needs matplotlib, an extra."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from maccli.service import rows as names

FORMATS = (".png", ".svg", ".pdf")
"""What pictures can be written as, by the file's suffix."""


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


def evaluation(data: Mapping[str, Any], picture: Path) -> None:
    """Draw the results of `mac eval` into a PNG, SVG or PDF file: see `evaluation_svg`."""
    _evaluation(data).savefig(picture)


def evaluation_svg(data: Mapping[str, Any]) -> str:
    """Return a picture of the results of `mac eval` as an SVG element; "" if there is nothing.

    A panel each, where there is something to show: F1 against seconds a question, F1 against the
    bank's size, F1 against what a prune left.
    """
    if not data["rows"] and not data.get("bank_sizes"):
        return ""
    text = io.StringIO()
    _evaluation(data).savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _evaluation(data: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    panels: list[tuple[Any, Sequence[Mapping[str, Any]]]] = []
    if data["settings"]["kind"] == "prune-curve":
        panels.append((_pruning, data["rows"]))
    else:
        if data["rows"]:
            panels.append((_latency, data["rows"]))
        if data.get("bank_sizes"):
            panels.append((_bank_sizes, data["bank_sizes"]))
    figure = Figure(figsize=(7 * len(panels), 4.5), layout="constrained")
    for axes, (draw, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):  # noqa: B905
        draw(axes, rows)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("F1")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    return figure


def _latency(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """A point a row, with its interval, methods in colours."""
    for name in dict.fromkeys(map(names.label, rows)):
        own = [row for row in rows if names.label(row) == name]
        xs = [row["seconds_a_question"] for row in own]
        axes.errorbar(xs, [row["f1"] for row in own], _errors(own), fmt="o", capsize=2, label=name)
        for row in own:
            if row["k"] is not None:
                axes.annotate(
                    f" {row['k']}", (row["seconds_a_question"], row["f1"]), fontsize="small"
                )
    axes.set_xlabel("seconds a question")
    axes.set_title("F1 against latency; numbers: k")


def _bank_sizes(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line a method."""
    for name in dict.fromkeys(map(names.label, rows)):
        own = sorted((row for row in rows if names.label(row) == name), key=lambda row: row["size"])
        xs = [row["chunks"] for row in own]
        axes.errorbar(xs, [row["f1"] for row in own], _errors(own), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("chunks in the bank")
    axes.set_title("F1 against the bank's size")


def _pruning(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line a strategy, all from the whole bank's F1 on."""
    for name in dict.fromkeys(_strategy(row) for row in rows if row["percent"] < 100):
        own = [row for row in rows if row["percent"] < 100 and _strategy(row) == name]
        of = own[0].get("checkpoint")
        own += [r for r in rows if r["percent"] == 100 and r.get("checkpoint") == of]
        own.sort(key=lambda row: -row["percent"])
        axes.plot(
            [row["percent"] for row in own], [row["f1"] for row in own], marker="o", label=name
        )
    axes.invert_xaxis()
    axes.set_xlabel("modulations left, %")
    axes.set_title("F1 against what a prune left")


def _strategy(row: Mapping[str, Any]) -> str:
    return names.label({**row, "method": row["strategy"]})


def _errors(rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """How far each interval reaches below and above its F1."""
    return [
        [row["f1"] - row["f1_interval"][0] for row in rows],
        [row["f1_interval"][1] - row["f1"] for row in rows],
    ]
