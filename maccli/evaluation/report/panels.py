"""The single panels that pictures of `mac eval` are put together from.

A panel draws itself on the axes of a matplotlib figure; it needs the library only when it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maccli.evaluation.report import rows as names

Row = Mapping[str, Any]
_LOG_FROM = 10
"""How many times the smallest value the largest is from which on an axis is logarithmic."""
_CONTEXTS = {"none": "no context", "constant": "constant tokens", "mac": "mac", "text": "text"}


@dataclass(frozen=True, slots=True)
class Panel:
    """A title and what draws under it, given the axes."""

    title: str
    draw: Callable[[Any], None]


def panels(data: Row) -> list[Panel]:
    """Return a panel for everything in a file of results that can be drawn."""
    kind, rows = data["settings"]["kind"], data["rows"]
    if kind == "prune-curve":
        return [Panel("F1 against what a prune left", lambda a: _pruning(a, rows))] if rows else []
    if kind == "language-modelling":
        return [Panel("Perplexity of later halves", lambda a: _contexts(a, rows))] if rows else []
    if kind == "each":
        parts = [
            {"file": name, **row}
            for name, part in data.get("each", {}).items()
            for row in part["rows"]
        ]
        return [Panel("F1 on each file", lambda a: _files(a, parts))] if parts else []
    found = []
    if rows:
        found.append(Panel("F1 against latency; numbers: k", lambda a: _latency(a, rows)))
    if curves := [row for row in data.get("retention", ()) if row.get("curve")]:
        found.append(Panel("Retention over the stream", lambda a: _retention(a, curves)))
    if sizes := data.get("bank_sizes"):
        for title, key, label in (
            ("F1 against the bank's size", "f1", "F1"),
            ("Latency against the bank's size", "seconds_a_question", "seconds a question"),
            ("Memory against the bank's size", "memory", "peak MB"),
        ):
            found.append(Panel(title, _bank_sizes(sizes, key, label)))
    return found


def _latency(axes: Any, rows: Sequence[Row]) -> None:
    """A point a row, with its interval, methods in colours."""
    for name in dict.fromkeys(map(names.label, rows)):
        own = [row for row in rows if names.label(row) == name]
        xs = [row["seconds_a_question"] for row in own]
        axes.errorbar(xs, [row["f1"] for row in own], _errors(own), fmt="o", capsize=2, label=name)
        for row in own:
            if row["k"] is not None:
                axes.annotate(
                    row["k"],
                    (row["seconds_a_question"], row["f1"]),
                    xytext=(5, 4),
                    textcoords="offset points",
                    fontsize="small",
                )
    _perhaps_log(axes, [row["seconds_a_question"] for row in rows])
    axes.set(xlabel="seconds a question", ylabel="F1")
    axes.set_ylim(bottom=0)


def _retention(axes: Any, rows: Sequence[Row]) -> None:
    """A line a method, through the moments at which it was asked."""
    for row in rows:
        name = names.label(row)
        if row["learning_rate"] is not None:
            name += f" {row['learning_rate']:g}"
        curve = row["curve"]
        axes.errorbar(
            [point["documents"] for point in curve],
            [point["f1"] for point in curve],
            _errors(curve),
            marker="o",
            capsize=2,
            label=name,
        )
    axes.set(xlabel="documents of the stream so far", ylabel="F1 on the first documents' questions")
    axes.set_ylim(bottom=0)


def _bank_sizes(rows: Sequence[Row], key: str, label: str) -> Callable[[Any], None]:
    """A line a method."""

    def draw(axes: Any) -> None:
        for name in dict.fromkeys(map(names.label, rows)):
            own = [row for row in rows if names.label(row) == name]
            own.sort(key=lambda row: row["size"])
            xs = [row["chunks"] for row in own]
            if key == "f1":
                axes.errorbar(
                    xs, [r[key] for r in own], _errors(own), marker="o", capsize=2, label=name
                )
            else:
                unit = 1e6 if key == "memory" else 1
                axes.plot(xs, [row[key] / unit for row in own], marker="o", label=name)
        _log(axes)
        axes.set(xlabel="chunks in the bank", ylabel=label)
        axes.set_ylim(bottom=0)

    return draw


def _pruning(axes: Any, rows: Sequence[Row]) -> None:
    """A line a strategy, all from the whole bank's F1 on."""
    pruned = [row for row in rows if row["percent"] < 100]
    for name in dict.fromkeys(map(_strategy, pruned)):
        own = [row for row in pruned if _strategy(row) == name]
        of = own[0].get("checkpoint")
        own += [r for r in rows if r["percent"] == 100 and r.get("checkpoint") == of]
        own.sort(key=lambda row: -row["percent"])
        axes.plot(
            [row["percent"] for row in own], [row["f1"] for row in own], marker="o", label=name
        )
    axes.invert_xaxis()
    axes.set(xlabel="modulations left, %", ylabel="F1")
    axes.set_ylim(bottom=0)


def _files(axes: Any, rows: Sequence[Row]) -> None:
    """A line of points a file, a colour a method at its k."""
    files = list(dict.fromkeys(row["file"] for row in rows))
    labels = [row["method"] + (f", k = {row['k']}" if row["k"] else "") for row in rows]
    methods = list(dict.fromkeys(labels))
    for number, name in enumerate(methods):
        own = [row for row, label in zip(rows, labels, strict=True) if label == name]
        # Side by side within a file's line, so that intervals do not cover each other.
        shift = 0.6 * ((number + 0.5) / len(methods) - 0.5)
        ys = [files.index(row["file"]) + shift for row in own]
        axes.errorbar(
            [row["f1"] for row in own], ys, xerr=_errors(own), fmt="o", capsize=2, label=name
        )
    axes.set_yticks(range(len(files)), [name.partition(".")[0] for name in files])
    axes.invert_yaxis()
    axes.set(xlabel="F1")
    axes.set_xlim(left=0)


def _contexts(axes: Any, rows: Sequence[Row]) -> None:
    """A point a form of the context."""
    for number, row in enumerate(rows):
        value, (low, high) = row["perplexity"], row["perplexity_interval"]
        spread = [[value - low], [high - value]]
        axes.errorbar([value], [number], xerr=spread, fmt="o", capsize=3, color="C0")
    axes.set_yticks(range(len(rows)), [_CONTEXTS[row["context"]] for row in rows])
    axes.invert_yaxis()
    axes.margins(y=0.2)
    _perhaps_log(axes, [row["perplexity"] for row in rows])
    axes.set(xlabel="perplexity")


def _strategy(row: Row) -> str:
    return names.label({**row, "method": row["strategy"]})


def _perhaps_log(axes: Any, values: Sequence[float]) -> None:
    if min(values) > 0 and max(values) > _LOG_FROM * min(values):
        _log(axes)


def _log(axes: Any) -> None:
    """Make the x axis logarithmic, with numbers as people write them."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _errors(rows: Sequence[Row]) -> list[list[float]]:
    """How far each interval reaches below and above its F1."""
    return [
        [row["f1"] - row["f1_interval"][0] for row in rows],
        [row["f1_interval"][1] - row["f1"] for row in rows],
    ]
