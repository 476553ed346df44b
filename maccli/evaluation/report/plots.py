"""Pictures of what a log or a file of results holds. Needs matplotlib, an extra."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Any

from maccli.evaluation.report.panels import Panel, panels

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
    """Draw the results of `mac eval` into a PNG, SVG or PDF file, two panels beside each other.

    What there is to show is in `maccli.evaluation.report.panels`; where there is nothing, nothing is written.
    """
    from matplotlib.figure import Figure

    found = panels(data)
    if not found:
        return
    columns = min(2, len(found))
    lines = -(-len(found) // columns)
    figure = Figure(figsize=(6.5 * columns, 4.2 * lines), layout="constrained")
    places = figure.subplots(lines, columns, squeeze=False).flat
    for panel, axes in zip_longest(found, places):
        if panel is None:
            axes.set_axis_off()
        else:
            _draw(panel, axes)
    figure.savefig(picture, dpi=150)


def evaluation_svgs(data: Mapping[str, Any]) -> list[str]:
    """Return the same panels as SVG elements that can stand in one page, in its colour of text."""
    return [_svg(panel, f"panel{number}-") for number, panel in enumerate(panels(data), start=1)]


def _svg(panel: Panel, prefix: str) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    _draw(panel, figure.subplots())
    text = io.StringIO()
    # A salt of our own: the same results give the same picture.
    with matplotlib.rc_context({"svg.hashsalt": prefix, "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' width="[^"]*pt"| height="[^"]*pt"', "", svg, count=2)
    svg = svg.replace("stroke: #000000", "stroke: currentColor")
    # Ids are unique in a page only if each picture has its own.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{panel.title}" ', 1).strip()


def _draw(panel: Panel, axes: Any) -> None:
    panel.draw(axes)
    axes.set_title(panel.title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", frameon=False)
