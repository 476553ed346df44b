"""Results as one HTML page that needs nothing else: no scripts, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from maccli.evaluation.report.tables import Table, tables
from maccli.evaluation.results import Results

_STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --back: #fff; --line: #ccc; --soft: #f2f2f2;
  --right: #14692c; --wrong: #8a1c1c; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e4e4; --back: #17191c; --line: #43474d;
  --soft: #24272b; --right: #6fce8b; --wrong: #f08c8c; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: var(--text); background: var(--back); }
h1, h2 { line-height: 1.2; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: right;
  white-space: nowrap; vertical-align: top; }
tbody tr:hover { background: var(--soft); }
th:first-child, td:first-child, .words th, .words td { text-align: left; }
.words td { white-space: normal; min-width: 9rem; overflow-wrap: anywhere; }
code, pre { background: var(--soft); padding: .1rem .3rem; }
pre { padding: .5rem .7rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.pictures { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit,
  minmax(min(100%, 30rem), 1fr)); }
svg { display: block; width: 100%; max-width: 44rem; height: auto; }
svg text { fill: currentColor; }
.right { color: var(--right); }
.wrong { color: var(--wrong); }
dt { font-weight: 600; }
dd { margin: 0 0 .4rem; overflow-wrap: anywhere; }
"""


def page(results: Results, pictures: Sequence[str]) -> str:
    """Return the page.

    Args:
        results: what it shows.
        pictures: SVG elements without an id in common.
    """
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>mac eval</title><style>{_STYLE}</style></head><body>",
            "<h1>mac eval</h1>",
            *_circumstances(results.data),
            *(line for table in tables(results) for line in _table(table)),
            *_pictures(pictures),
            *_answers(results),
            "</body></html>",
            "",
        )
    )


_FILES = ("data", "distractors", "documents")
_SHOWN = 30
"""More files than this are not named one by one."""


def _circumstances(data: Mapping[str, Any]) -> Iterator[str]:
    settings = {k: v for k, v in data["settings"].items() if v is not None}
    read = [file for name in _FILES for file in settings.pop(name, [])]
    files = ", ".join(file["file"] for file in read[:_SHOWN])
    if len(read) > _SHOWN:
        files += f" and {len(read) - _SHOWN:,} more"
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


def _pictures(pictures: Sequence[str]) -> Iterator[str]:
    if pictures:
        yield '<h2>Pictures</h2><div class="pictures">'
        yield from (f"<div>{picture}</div>" for picture in pictures)
        yield "</div>"


def _table(table: Table) -> Iterator[str]:
    yield f"<h2>{escape(table.name)}</h2><p>{escape(table.about)}</p>"
    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    yield "</tr></thead><tbody>"
    for row in table.rows:
        yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
    yield "</tbody></table></div>"


def _answers(results: Results) -> Iterator[str]:
    """Give every question with every method's answer, folded away."""
    questions = results.data.get("questions", [])
    rows = [row for row in results.rows if len(row.answers) == len(questions)]
    if not rows or not questions:
        return
    yield "<h2>Answers to each question</h2><details><summary>Show them</summary>"
    yield '<div class="scroll"><table class="words"><thead><tr><th>question</th><th>right</th>'
    yield "".join(f"<th>{escape(row.title)}</th>" for row in rows)
    yield "</tr></thead><tbody>"
    for number, question in enumerate(questions):
        cells = [f"<td>{escape(question['question'])}</td>"]
        cells.append(f"<td>{escape(' / '.join(question['answers']))}</td>")
        for answer in (row.answers[number] for row in rows):
            mark = "right" if answer["em"] else "wrong"
            cells.append(f'<td class="{mark}">{escape(answer["prediction"])}</td>')
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div></details>"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
