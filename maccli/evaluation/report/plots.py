"""Pictures of results, in panels. They need matplotlib, an extra."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from maccli.evaluation.results import Results, Row

FORMATS = (".png", ".svg", ".pdf")
"""What a picture can be written as, by the file's suffix."""
_LOG_FROM = 10
"""An axis is logarithmic where the largest value is this many times the smallest."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A line or a cloud of points a method, with intervals where y is F1.

    Attributes:
        title: of the panel.
        x: reads a row's place on the x axis, called `xlabel`.
        y: reads its place on the y axis, called `ylabel`.
        joined: whether points are joined by lines; else each is marked with its k.
        falling: whether the x axis goes from large to small.
    """

    title: str
    xlabel: str
    x: Callable[[Row], float]
    ylabel: str
    y: Callable[[Row], float]
    joined: bool = True
    falling: bool = False


def _cost(name: str, unit: float = 1) -> Callable[[Row], float]:
    return lambda row: (row.costs.get(name) or 0.0) / unit


def _at(row: Row) -> float:
    return float(row.at or 0)


def _f1(row: Row) -> float:
    return row.value("f1")


_SECONDS = _cost("seconds_a_question")
_CHUNKS = ("chunks in the store", _cost("chunks"))
_LATENCY = (
    Panel("F1 against latency; numbers: k", "seconds a question", _SECONDS, "F1", _f1, False),
)
_PANELS = {
    "methods": _LATENCY,
    "own-documents": _LATENCY,
    "bank-sizes": (
        Panel("F1 against the store's size", *_CHUNKS, "F1", _f1),
        Panel("Latency against the store's size", *_CHUNKS, "seconds a question", _SECONDS),
        Panel("Memory against the store's size", *_CHUNKS, "peak MB", _cost("memory", 1e6)),
    ),
    "retention": (
        Panel("Retention", "documents so far", _at, "F1 on the first documents' questions", _f1),
    ),
    "prune-curve": (
        Panel("F1 against what a prune left", "modulations left, %", _at, "F1", _f1, falling=True),
    ),
}


def drawn_kinds() -> tuple[str, ...]:
    """Return the kinds of runs whose results can be drawn; of the others there are tables only."""
    return tuple(_PANELS)


def panels(results: Results) -> tuple[Panel, ...]:
    """Return the panels of results; none where there is nothing to draw."""
    return _PANELS.get(results.data["settings"]["kind"], ()) if results.rows else ()


def require() -> None:
    """Raise ModuleNotFoundError now rather than after hours of measuring."""
    import matplotlib  # noqa: F401


def picture(results: Results, file: Path) -> None:
    """Draw results into a PNG, SVG or PDF file, two panels beside each other."""
    from matplotlib.figure import Figure

    drawn = panels(results)
    if not drawn:
        return
    columns = min(2, len(drawn))
    lines = -(-len(drawn) // columns)
    figure = Figure(figsize=(6.5 * columns, 4.2 * lines), layout="constrained")
    places = figure.subplots(lines, columns, squeeze=False).flat
    for panel, axes in zip_longest(drawn, places):
        if panel is None:
            axes.set_axis_off()
        else:
            _draw(panel, results.rows, axes)
    figure.savefig(file, dpi=150)


def svgs(results: Results) -> list[str]:
    """Return the panels as SVG elements that can stand in one page, in its colour of text."""
    return [
        _svg(panel, results.rows, f"panel{number}-")
        for number, panel in enumerate(panels(results), start=1)
    ]


def _svg(panel: Panel, rows: Sequence[Row], prefix: str) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    _draw(panel, rows, figure.subplots())
    text = io.StringIO()
    # With a fixed salt, the same results give the same picture.
    with matplotlib.rc_context({"svg.hashsalt": prefix, "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' width="[^"]*pt"| height="[^"]*pt"', "", svg, count=2)
    svg = svg.replace("stroke: #000000", "stroke: currentColor")
    # Ids are unique in a page only if each picture has its points.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{panel.title}" ', 1).strip()


def _draw(panel: Panel, rows: Sequence[Row], axes: Any) -> None:
    labels = dict.fromkeys(row.label for row in rows)
    if panel.falling:  # every strategy starts from the whole store
        labels = dict.fromkeys(row.label for row in rows if row.at != 100) or labels
    for label in labels:
        points = [row for row in rows if row.label == label]
        if panel.falling:
            checkpoint = points[0].checkpoint
            points += [
                r for r in rows if r.at == 100 and r not in points and r.checkpoint == checkpoint
            ]
        points.sort(key=panel.x)
        xs, ys = [panel.x(row) for row in points], [panel.y(row) for row in points]
        figures = [row.figures["f1"] for row in points]
        errors = [[v - low for v, low, _ in figures], [high - v for v, _, high in figures]]
        form = "o-" if panel.joined else "o"
        spread = errors if panel.y is _f1 else None
        axes.errorbar(xs, ys, spread, fmt=form, capsize=2, label=label)
        for row, x, y in zip(points, xs, ys, strict=True):
            if not panel.joined and row.k is not None:
                place = {"xytext": (5, 4), "textcoords": "offset points", "fontsize": "small"}
                axes.annotate(row.k, (x, y), **place)
    values = [panel.x(row) for row in rows]
    if not panel.falling and 0 < _LOG_FROM * min(values) < max(values):
        _log(axes)
    if panel.falling:
        axes.invert_xaxis()
    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    axes.set_ylim(bottom=0)
    axes.set_title(panel.title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(fontsize="small", frameon=False)


def _log(axes: Any) -> None:
    """Make the x axis logarithmic, with numbers as people write them."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
