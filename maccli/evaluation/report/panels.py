"""The single panels that pictures of results are put together from.

A panel draws itself on the axes of a matplotlib figure; it needs the library only when it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from maccli.evaluation.report.tables import CONTEXTS, curves
from maccli.evaluation.results import Results, Row

_LOG_FROM = 10
"""An axis is logarithmic where the largest value is this many times the smallest."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A title, and what draws under it, given the axes."""

    title: str
    draw: Callable[[Any], None]


def panels(results: Results) -> list[Panel]:
    """Return a panel for everything in the results that can be drawn."""
    rows, kind = results.rows, results.data["settings"]["kind"]
    if not rows or kind == "abstention":
        return []
    if kind == "bank-sizes":
        return [
            Panel(f"{what} against the store's size", _sizes(rows, what, label))
            for what, label in (
                ("F1", "F1"),
                ("Latency", "seconds a question"),
                ("Memory", "peak MB"),
            )
        ]
    title, draw = {
        "prune-curve": ("F1 against what a prune left", _pruning),
        "language-modelling": ("Perplexity of later halves", _contexts),
        "sources": ("F1 on each file", _files),
        "retention": ("Retention over time", _retention),
    }.get(kind, ("F1 against latency; numbers: k", _latency))
    return [Panel(title, lambda axes: draw(axes, rows))]


def _latency(axes: Any, rows: Sequence[Row]) -> None:
    """Draw a point a row, with its interval, methods in colours."""
    for name, own in _by_label(rows).items():
        xs = [_cost(row, "seconds_a_question") for row in own]
        axes.errorbar(xs, _f1(own), _errors(own), fmt="o", capsize=2, label=name)
        for row, x in zip(own, xs, strict=True):
            if row.k is not None:
                axes.annotate(
                    row.k,
                    (x, row.value("f1")),
                    xytext=(5, 4),
                    textcoords="offset points",
                    fontsize="small",
                )
    _perhaps_log(axes, [_cost(row, "seconds_a_question") for row in rows])
    axes.set(xlabel="seconds a question", ylabel="F1")
    axes.set_ylim(bottom=0)


def _retention(axes: Any, rows: Sequence[Row]) -> None:
    """Draw a line a method, through the moments at which it was asked."""
    for own in curves(rows).values():
        xs = [row.at for row in own]
        label = own[0].label
        axes.errorbar(xs, _f1(own), _errors(own), marker="o", capsize=2, label=label)
    axes.set(xlabel="documents so far", ylabel="F1 on the first documents' questions")
    axes.set_ylim(bottom=0)


def _sizes(rows: Sequence[Row], what: str, label: str) -> Callable[[Any], None]:
    """Return what draws a line a method."""

    def draw(axes: Any) -> None:
        for name, own in _by_label(rows).items():
            own.sort(key=lambda row: _cost(row, "chunks"))
            xs = [_cost(row, "chunks") for row in own]
            if what == "F1":
                axes.errorbar(xs, _f1(own), _errors(own), marker="o", capsize=2, label=name)
            elif what == "Memory":
                axes.plot(xs, [_cost(row, "memory") / 1e6 for row in own], marker="o", label=name)
            else:
                ys = [_cost(row, "seconds_a_question") for row in own]
                axes.plot(xs, ys, marker="o", label=name)
        _log(axes)
        axes.set(xlabel="chunks in the store", ylabel=label)
        axes.set_ylim(bottom=0)

    return draw


def _pruning(axes: Any, rows: Sequence[Row]) -> None:
    """Draw a line a strategy, all from the whole store's F1 on."""
    whole = [row for row in rows if row.at == 100]
    for name, own in _by_label([row for row in rows if row.at != 100]).items():
        own += [row for row in whole if row.checkpoint == own[0].checkpoint]
        own.sort(key=lambda row: -int(row.at or 0))
        axes.plot([row.at for row in own], _f1(own), marker="o", label=name)
    axes.invert_xaxis()
    axes.set(xlabel="modulations left, %", ylabel="F1")
    axes.set_ylim(bottom=0)


def _files(axes: Any, rows: Sequence[Row]) -> None:
    """Draw a line of points a file, a colour a method at its k."""
    files = list(dict.fromkeys(str(row.at) for row in rows))
    titles = list(dict.fromkeys(row.title for row in rows))
    for number, title in enumerate(titles):
        own = [row for row in rows if row.title == title]
        # Side by side within a file's line, so that intervals do not cover each other.
        shift = 0.6 * ((number + 0.5) / len(titles) - 0.5)
        ys = [files.index(str(row.at)) + shift for row in own]
        axes.errorbar(_f1(own), ys, xerr=_errors(own), fmt="o", capsize=2, label=title)
    axes.set_yticks(range(len(files)), [name.partition(".")[0] for name in files])
    axes.invert_yaxis()
    axes.set(xlabel="F1")
    axes.set_xlim(left=0)


def _contexts(axes: Any, rows: Sequence[Row]) -> None:
    """Draw a point a form of the context."""
    rows = [row for row in rows if row.at is None]
    for number, row in enumerate(rows):
        spread = _errors([row], "perplexity")
        axes.errorbar([row.value("perplexity")], [number], xerr=spread, fmt="o", color="C0")
    axes.set_yticks(range(len(rows)), [CONTEXTS[row.method].partition(":")[0] for row in rows])
    axes.invert_yaxis()
    axes.margins(y=0.2)
    _perhaps_log(axes, [row.value("perplexity") for row in rows])
    axes.set(xlabel="perplexity")


def _by_label(rows: Sequence[Row]) -> dict[str, list[Row]]:
    out: dict[str, list[Row]] = {}
    for row in rows:
        out.setdefault(row.label, []).append(row)
    return out


def _f1(rows: Sequence[Row]) -> list[float]:
    return [row.value("f1") for row in rows]


def _cost(row: Row, name: str) -> float:
    return row.costs.get(name) or 0.0


def _errors(rows: Sequence[Row], name: str = "f1") -> list[list[float]]:
    """Return how far each interval reaches below and above its value."""
    figures = [row.figures[name] for row in rows]
    return [[v - low for v, low, _ in figures], [high - v for v, _, high in figures]]


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
