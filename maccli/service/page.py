"""The results of `mac eval` as one HTML page that needs nothing else: no scripts, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from maccli.service.rows import title
from maccli.service.tables import Table, tables

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
h1, h2 { line-height: 1.2; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .7rem; text-align: right; }
th:first-child, td:first-child, .words td { text-align: left; }
code, pre { background: #f2f2f2; padding: .1rem .3rem; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; }
.right { color: #14692c; }
.wrong { color: #8a1c1c; }
dt { font-weight: 600; }
"""


def page(data: Mapping[str, Any], picture: str) -> str:
    """Return the page.

    Args:
        data: a file of results.
        picture: an SVG element; "" for none.
    """
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>mac eval</title><style>{_STYLE}</style></head><body>",
            "<h1>mac eval</h1>",
            *_circumstances(data),
            *(line for table in tables(data) for line in _table(table)),
            f"<h2>Picture</h2><div>{picture}</div>" if picture else "",
            *_answers(data),
            "</body></html>",
            "",
        )
    )


def _circumstances(data: Mapping[str, Any]) -> Iterator[str]:
    settings = {k: v for k, v in data["settings"].items() if v is not None}
    read = [*settings.pop("data"), *settings.pop("distractors")]
    files = ", ".join(file["file"] for file in read)
    facts = {
        "Data": files,
        "Settings": _listed(settings),
        "Versions": _listed(data["versions"]),
        "Hardware": _listed({k: v for k, v in data["hardware"].items() if v is not None}),
        "Begun": data["begun"],
    }
    yield f"<pre>{escape(data['command'])}</pre><dl>"
    for name, value in facts.items():
        yield f"<dt>{name}</dt><dd>{escape(value)}</dd>"
    yield "</dl>"


def _table(table: Table) -> Iterator[str]:
    yield f"<h2>{escape(table.name)}</h2><p>{escape(table.about)}</p>"
    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    yield "</tr></thead><tbody>"
    for row in table.rows:
        yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
    yield "</tbody></table></div>"


def _answers(data: Mapping[str, Any]) -> Iterator[str]:
    """Every question with every method's answer, folded away."""
    rows = [row for row in data["rows"] if "method" in row]
    questions = data.get("questions", [])
    if not rows or not questions:
        return
    yield "<h2>Answers to each question</h2><details><summary>Show them</summary>"
    yield '<div class="scroll"><table class="words"><thead><tr><th>question</th><th>right</th>'
    yield "".join(f"<th>{escape(title(row))}</th>" for row in rows)
    yield "</tr></thead><tbody>"
    for number, question in enumerate(questions):
        cells = [f"<td>{escape(question['question'])}</td>"]
        cells.append(f"<td>{escape(' / '.join(question['answers']))}</td>")
        for row in rows:
            one = row["predictions"][number]
            mark = "right" if one["em"] else "wrong"
            cells.append(f'<td class="{mark}">{escape(one["prediction"])}</td>')
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div></details>"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
