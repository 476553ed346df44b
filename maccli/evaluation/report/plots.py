"""Pictures of results. They need matplotlib, an extra."""

from __future__ import annotations

import io
import re
from itertools import zip_longest
from pathlib import Path
from typing import Any

from maccli.evaluation.report.panels import Panel, panels
from maccli.evaluation.results import Results

FORMATS = (".png", ".svg", ".pdf")
"""What a picture can be written as, by the file's suffix."""


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
            _draw(panel, axes)
    figure.savefig(file, dpi=150)


def svgs(results: Results) -> list[str]:
    """Return the same panels as SVG elements that can stand in one page, in its colour of text."""
    return [_svg(panel, f"panel{number}-") for number, panel in enumerate(panels(results), start=1)]


def _svg(panel: Panel, prefix: str) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    _draw(panel, figure.subplots())
    text = io.StringIO()
    # With a fixed salt, the same results give the same picture.
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
