"""Rows of results as tables of texts: what the terminal, Markdown and the page show alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maccli.evaluation.results import Results, Row

Column = tuple[str, Callable[[Row], str]]
"""A header, and what a row has under it."""
_CONTEXTS = {
    "none": "no context",
    "constant": "constant tokens only",
    "mac": "mac: its modulations",
    "faint": "mac: the same, a twentieth of their weight",
    "text": "full context: its text",
}


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
    shown = list(_tables(results.data["settings"]["kind"], results.rows))
    if number := sum(results.data.get("machine_made", {}).values()):
        note = (
            f" {number:,} of the questions are machine-made: the frozen LM wrote them, and only "
            "those are asked that it answers rightly from the text, which flatters oracle and rag."
        )
        shown[0] = replace(shown[0], about=shown[0].about + note)
    return shown


def curves(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows of each method, checkpoint and k, in the order of `at`."""
    out: dict[Any, list[Row]] = {}
    for row in rows:
        out.setdefault(replace(row, at=None).key, []).append(row)
    return [sorted(points, key=lambda row: int(row.at or 0)) for points in out.values()]


def _tables(kind: str, rows: Sequence[Row]) -> Iterable[Table]:
    if kind == "retention":
        yield _RETENTION.of(_summaries(rows))
        if max(map(len, curves(rows))) > 2:
            yield _MOMENTS.of([row for points in curves(rows) for row in points])
        return
    if kind == "language-modelling":
        rows = [row for row in rows if row.at is None]
        none = rows[0].costs["nats_a_token"] or 0.0
        rows = [_with(row, gain=none - (row.costs["nats_a_token"] or 0.0)) for row in rows]
    elif kind == "prune-curve":
        whole = {(r.k, r.checkpoint): r.value("f1") for r in rows if r.at == 100}
        bases = [whole.get((row.k, row.checkpoint)) for row in rows]
        rows = [
            _with(row, of_whole=100 * row.value("f1") / base if base else None)
            for row, base in zip(rows, bases, strict=True)
        ]
    elif kind == "sources":
        rows = [*rows, *_means(rows)]
    for form in _FORMS.get(kind, (_ANSWERS, _COSTS)):
        yield form.of(rows)


def _with(row: Row, **costs: float | None) -> Row:
    return replace(row, costs={**row.costs, **costs})


def _summaries(rows: Sequence[Row]) -> list[Row]:
    """Return a row for each curve: its first point, its last, and the one divided by the other."""
    out = []
    for points in curves(rows):
        first, last = points[0], points[-1]
        share = last.value("f1") / first.value("f1") if first.value("f1") else None
        row = _with(first, retention=share)
        out.append(replace(row, figures={"f1": first.figures["f1"], "end": last.figures["f1"]}))
    return out


def _means(rows: Sequence[Row]) -> list[Row]:
    """Return the means over files of what was measured on all of them, without intervals."""
    out, files = [], {row.at for row in rows}
    for title in dict.fromkeys(row.title for row in rows):
        same = [row for row in rows if row.title == title]
        if len(same) == len(files) > 1:
            means = {n: [sum(row.value(n) for row in same) / len(same)] for n in ("em", "f1")}
            total = sum(row.questions for row in same)
            mean = replace(same[0], at="mean of files", questions=total, figures=means, costs={})
            out.append(mean)
    return out


def _figure(header: str, name: str, form: str = "{:.1f}") -> tuple[Column, Column]:
    """Return the columns of a figure and its interval."""

    def interval(row: Row) -> str:
        return "-".join(map(form.format, row.figures[name][1:]))

    return (header, lambda row: form.format(row.value(name))), ("95%", interval)


def _cost(header: str, name: str, form: str = "{:.0f}", unit: float = 1) -> Column:
    """Return the column of a cost, in units; it is empty where the cost is not known."""

    def cell(row: Row) -> str:
        value = row.costs.get(name)
        return "" if value is None else form.format(value / unit)

    return header, cell


def _adaptation_memory(row: Row) -> str:
    # What counts on a GPU is its own memory.
    device = row.costs.get("adaptation_device_memory")
    value = row.costs.get("adaptation_memory") if device is None else device
    return "" if value is None else f"{value / 1e6:.0f}"


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of a table: its name, what it is about (with the first row's numbers), columns."""

    name: str
    about: str
    columns: tuple[Column, ...]

    def of(self, rows: Sequence[Row]) -> Table:
        """Return the table of rows."""
        about = self.about.format(questions=rows[0].questions, **rows[0].costs)
        header = tuple(name for name, _ in self.columns)
        return Table(
            self.name, about, header, [tuple(f(row) for _, f in self.columns) for row in rows]
        )


_METHOD: Column = ("method", lambda row: row.label)
_TITLE: Column = ("method", lambda row: row.title)
_K: Column = ("k", lambda row: "" if row.k is None else str(row.k))
_EM, _F1 = _figure("EM", "em"), _figure("F1", "f1")
_FOUND = _cost("found", "found", "{:.1f}")
_SECONDS = _cost("s a question", "seconds_a_question", "{:.2f}")


def _at(header: str) -> Column:
    return header, lambda row: str(row.at)


_ANSWERS = _Form(
    "Answers",
    "EM (strict), prefix-EM and F1 in percent over {questions:,} questions, with bootstrap 95% "
    "intervals; found: the right document is among what was selected.",
    (_METHOD, _K, *_EM, *_figure("prefix-EM", "prefix_em"), *_F1, _FOUND),
)
_COSTS = _Form(
    "Costs",
    "Adaptation: taking in all documents, in seconds and peak MB; answering, several questions at "
    "once: seconds, prompt tokens and prefix tokens a question, peak MB; bytes stored a document.",
    (
        _METHOD,
        _K,
        _cost("adaptation s", "adaptation_seconds", "{:.1f}"),
        ("adaptation MB", _adaptation_memory),
        _SECONDS,
        _cost("prompt tokens", "prompt_tokens"),
        _cost("prefix tokens", "prefix_tokens"),
        _cost("bytes a document", "bytes_a_document"),
        _cost("MB", "memory", unit=1e6),
    ),
)
_RETENTION = _Form(
    "Retention",
    "F1 on {questions:,} questions about the first documents: right after those documents, and "
    "after all. Retention is the one divided by the other.",
    (
        *(_METHOD, _K, _at("first"), *_figure("F1 right after", "f1")),
        *(*_figure("F1 at the end", "end"), _cost("retention", "retention", "{:.2f}")),
    ),
)
_MOMENTS = _Form(
    "Retention over time",
    "F1 in percent on the questions about the first documents, after more and more documents.",
    (_TITLE, _at("documents"), *_F1),
)
_FORMS = {
    "bank-sizes": (
        _Form(
            "Bank size",
            "The same {questions:,} questions asked of ever larger stores.",
            (
                *(_METHOD, _K, _at("documents"), _cost("chunks", "chunks")),
                *(_EM[0], *_F1, _FOUND, _SECONDS, _cost("MB", "memory", unit=1e6)),
            ),
        ),
    ),
    "abstention": (
        _Form(
            "Abstention",
            "Percent of {questions:,} questions that mac refuses: with their document in the store "
            "(wrongly), and with it left out (rightly). Answers that it is not sure of are not "
            "counted.",
            (
                *(_METHOD, _K, _cost("threshold", "threshold", "{:g}")),
                *(*_figure("wrongly", "wrongly"), *_figure("rightly", "rightly")),
            ),
        ),
    ),
    "prune-curve": (
        _Form(
            "Pruning",
            "F1 in percent over {questions:,} questions, after the store was pruned.",
            (
                *(("strategy", _METHOD[1]), _K, _at("% left"), _cost("modulations", "modulations")),
                *(_cost("MB", "modulation_bytes", "{:.2f}", 1e6), *_F1),
                _cost("of the whole store's F1", "of_whole", "{:.0f}%"),
            ),
        ),
    ),
    "language-modelling": (
        _Form(
            "Language modelling",
            "Perplexity of the later halves of {questions:,} articles ({tokens:,.0f} tokens), with "
            "bootstrap 95% intervals over articles, given the earlier half in five forms. Gain: "
            "nats a token over no context. The constant tokens were trained to answer questions "
            "briefly, not to continue a text.",
            (
                ("the earlier half as", lambda row: _CONTEXTS[row.method]),
                *_figure("perplexity", "perplexity", "{:.2f}"),
                _cost("gain", "gain", "{:+.3f}"),
                _cost("tokens in front", "context_tokens"),
            ),
        ),
    ),
    "sources": (
        _Form(
            "Sources",
            "Every file in a store of its own: EM (strict) and F1 in percent, with bootstrap 95% "
            "intervals; found: the right document is among what was selected.",
            (
                *(_at("file"), _TITLE, ("questions", lambda row: f"{row.questions:,}")),
                *(*_EM, *_F1, _FOUND, _SECONDS),
            ),
        ),
    ),
}
