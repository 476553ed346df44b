"""Rows of results as tables of texts: what the terminal, Markdown and the page show alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maccli.evaluation.results import Results, Row

CONTEXTS = {
    "none": "no context",
    "constant": "constant tokens only",
    "mac": "mac: its modulations",
    "text": "full context: its text",
}
"""The forms in which language modelling reads the earlier half of an article."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `about` is a sentence that says what its figures are."""

    name: str
    about: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> list[str]:
        """Return the lines of the table in Markdown, its columns aligned."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        text = [
            "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
            for line in lines
        ]
        return [text[0], rule, *text[1:]]


def tables(results: Results) -> list[Table]:
    """Return the tables of results; they say which questions are machine-made."""
    if not results.rows:
        return []
    made = _KINDS[results.data["settings"]["kind"]](results.rows)
    if number := results.data.get("machine_made", 0):
        note = f"{number:,} of the questions are machine-made"
        more = (
            ": the frozen LM wrote them, and only those are asked that it answers rightly from the "
            "text, which flatters oracle and rag"
        )
        made = [
            replace(table, about=f"{table.about} {note}{'' if place else more}.")
            for place, table in enumerate(made)
        ]
    return made


def _methods(rows: Sequence[Row]) -> list[Table]:
    answers = Table(
        "Answers",
        f"EM (strict), prefix-EM and F1 in percent over {rows[0].questions:,} questions, with "
        "bootstrap 95% intervals; found: the right document is among what was selected.",
        ("method", "k", "EM", "95%", "prefix-EM", "95%", "F1", "95%", "found"),
        [
            (
                row.label,
                number(row.k),
                *figure(row, "em"),
                *figure(row, "prefix_em"),
                *figure(row, "f1"),
                cost(row, "found", "{:.1f}"),
            )
            for row in rows
        ],
    )
    costs = Table(
        "Costs",
        "Adaptation: taking in all documents, in seconds and peak MB; answering, several questions "
        "at once: seconds, prompt tokens and prefix tokens a question, peak MB; bytes stored a "
        "document.",
        (
            *("method", "k", "adaptation s", "adaptation MB", "s a question"),
            *("prompt tokens", "prefix tokens", "bytes a document", "MB"),
        ),
        [
            (
                row.label,
                number(row.k),
                cost(row, "adaptation_seconds", "{:.1f}"),
                # What counts on a GPU is its own memory.
                cost(row, "adaptation_device_memory", unit=1e6)
                or cost(row, "adaptation_memory", unit=1e6),
                cost(row, "seconds_a_question", "{:.2f}"),
                cost(row, "prompt_tokens"),
                cost(row, "prefix_tokens"),
                cost(row, "bytes_a_document"),
                cost(row, "memory", unit=1e6),
            )
            for row in rows
        ],
    )
    return [answers, costs]


def _bank_sizes(rows: Sequence[Row]) -> list[Table]:
    return [
        Table(
            "Bank size",
            f"The same {rows[0].questions:,} questions asked of ever larger stores.",
            ("method", "k", "documents", "chunks", "EM", "F1", "95%", "found", "s a question"),
            [
                (
                    row.label,
                    number(row.k),
                    number(row.at),
                    cost(row, "chunks"),
                    figure(row, "em")[0],
                    *figure(row, "f1"),
                    cost(row, "found", "{:.1f}"),
                    cost(row, "seconds_a_question", "{:.2f}"),
                )
                for row in rows
            ],
        )
    ]


def _retention(rows: Sequence[Row]) -> list[Table]:
    summary: list[tuple[str, ...]] = []
    for points in curves(rows).values():
        first, last = points[0], points[-1]
        share = last.value("f1") / first.value("f1") if first.value("f1") else None
        cells = (*figure(first, "f1"), *figure(last, "f1"), number(share, "{:.2f}"))
        summary.append((first.label, number(first.k), number(first.at), *cells))
    made = [
        Table(
            "Retention",
            f"F1 on {rows[0].questions:,} questions about the first documents: right after those "
            "documents, and after all. Retention is the one divided by the other.",
            ("method", "k", "first", "F1 right after", "95%", "F1 at the end", "95%", "retention"),
            summary,
        )
    ]
    if max(map(len, curves(rows).values())) > 2:
        made.append(
            Table(
                "Retention over time",
                "F1 in percent on the questions about the first documents, after more and more "
                "documents.",
                ("method", "documents", "F1", "95%"),
                [
                    (row.title, number(row.at), *figure(row, "f1"))
                    for points in curves(rows).values()
                    for row in points
                ],
            )
        )
    return made


def curves(rows: Sequence[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows of each method, checkpoint and k, by the number of documents."""
    out: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        out.setdefault(replace(row, at=None).key, []).append(row)
    for points in out.values():
        points.sort(key=lambda row: int(row.at or 0))
    return out


def _abstention(rows: Sequence[Row]) -> list[Table]:
    several = rows[0].checkpoint is not None
    return [
        Table(
            "Abstention",
            f"Percent of {rows[0].questions:,} questions that mac refuses: with their document "
            "in the store (wrongly), and with it left out (rightly).",
            (*["checkpoint"] * several, "k", "threshold", "wrongly", "95%", "rightly", "95%"),
            [
                (
                    *[str(row.checkpoint)] * several,
                    number(row.k),
                    cost(row, "threshold", "{:g}"),
                    *figure(row, "wrongly"),
                    *figure(row, "rightly"),
                )
                for row in rows
            ],
        )
    ]


def _pruned(rows: Sequence[Row]) -> list[Table]:
    whole = {(row.k, row.checkpoint): row.value("f1") for row in rows if row.at == 100}
    return [
        Table(
            "Pruning",
            f"F1 in percent over {rows[0].questions:,} questions, after the store was pruned.",
            (
                "strategy",
                "k",
                "% left",
                "modulations",
                "MB",
                "F1",
                "95%",
                "of the whole store's F1",
            ),
            [
                (
                    row.label,
                    number(row.k),
                    number(row.at),
                    cost(row, "modulations"),
                    cost(row, "modulation_bytes", "{:.2f}", unit=1e6),
                    *figure(row, "f1"),
                    f"{100 * row.value('f1') / base:.0f}%" if base else "",
                )
                for row in rows
                for base in (whole.get((row.k, row.checkpoint)),)
            ],
        )
    ]


def _perplexities(rows: Sequence[Row]) -> list[Table]:
    rows = [row for row in rows if row.at is None]
    none = rows[0].costs["nats_a_token"] or 0.0
    return [
        Table(
            "Language modelling",
            f"Perplexity of the later halves of {rows[0].questions:,} articles "
            f"({cost(rows[0], 'tokens', '{:,.0f}')} tokens), with bootstrap 95% intervals over "
            "articles, given the earlier half in four forms. Gain: nats a token over no context. "
            "The constant tokens were trained to answer questions briefly, not to continue a text.",
            ("the earlier half as", "perplexity", "95%", "gain", "tokens in front"),
            [
                (
                    CONTEXTS[row.method],
                    "{:.2f}".format(row.value("perplexity")),
                    "{:.2f}-{:.2f}".format(*row.figures["perplexity"][1:]),
                    f"{none - (row.costs['nats_a_token'] or 0.0):+.3f}",
                    cost(row, "context_tokens"),
                )
                for row in rows
            ],
        )
    ]


def _sources(rows: Sequence[Row]) -> list[Table]:
    body: list[tuple[str, ...]] = [
        (
            str(row.at),
            row.title,
            f"{row.questions:,}",
            *figure(row, "em"),
            *figure(row, "f1"),
            cost(row, "found", "{:.1f}"),
            cost(row, "seconds_a_question", "{:.2f}"),
        )
        for row in rows
    ]
    files = {row.at for row in rows}
    for name in dict.fromkeys(row.title for row in rows):
        own = [row for row in rows if row.title == name]
        if len(own) == len(files) > 1:
            em, f1 = (sum(row.value(key) for row in own) / len(own) for key in ("em", "f1"))
            asked = f"{sum(row.questions for row in own):,}"
            body.append(("mean of files", name, asked, f"{em:.1f}", "", f"{f1:.1f}", "", "", ""))
    return [
        Table(
            "Sources",
            "Every file in a store of its own: EM (strict) and F1 in percent, with bootstrap 95% "
            "intervals; found: the right document is among what was selected.",
            ("file", "method", "questions", "EM", "95%", "F1", "95%", "found", "s a question"),
            body,
        )
    ]


_KINDS: Mapping[str, Callable[[Sequence[Row]], list[Table]]] = {
    "methods": _methods,
    "own-documents": _methods,
    "sources": _sources,
    "bank-sizes": _bank_sizes,
    "retention": _retention,
    "abstention": _abstention,
    "prune-curve": _pruned,
    "language-modelling": _perplexities,
}


def figure(row: Row, name: str) -> tuple[str, str]:
    """Return a figure in percent and its interval."""
    value, low, high = row.figures[name]
    return f"{value:.1f}", f"{low:.1f}-{high:.1f}"


def number(value: float | str | None, form: str = "{}") -> str:
    """Return a number as text; nothing where it is not known."""
    return "" if value is None else form.format(value)


def cost(row: Row, name: str, form: str = "{:.0f}", unit: float = 1) -> str:
    """Return a cost as text, in units; nothing where it is not known."""
    value = row.costs.get(name)
    return "" if value is None else form.format(value / unit)
