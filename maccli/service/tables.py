"""Results as tables of texts: what the terminal, Markdown and the page show alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maccli.service.prune_curve import WHOLE
from maccli.service.rows import label


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `about` is a line that says what its figures are."""

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


def tables(data: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a file of results that have rows."""
    rows = data["rows"]
    if data["settings"]["kind"] == "prune-curve":
        return [_pruned(rows)] if rows else []
    found = []
    if rows:
        found += [_scores(rows), _costs(rows)]
    if sizes := data.get("bank_sizes"):
        found.append(_sizes(sizes))
    if kept := data.get("retention"):
        found.append(_retention(kept))
    if refused := data.get("abstention"):
        found.append(_abstention([refused] if isinstance(refused, dict) else refused))
    return found


def _scores(rows: Sequence[Mapping[str, Any]]) -> Table:
    questions = rows[0]["questions"]
    return Table(
        "Answers",
        f"EM (strict), prefix-EM and F1 in percent over {questions:,} questions, with bootstrap "
        "95% intervals; found: the right document is among what was found.",
        ("method", "k", "EM", "95%", "prefix-EM", "95%", "F1", "95%", "found"),
        [
            (
                _name(row),
                _number(row["k"]),
                *_figure(row, "em"),
                *_figure(row, "prefix_em"),
                *_figure(row, "f1"),
                _number(row["found"], "{:.1f}"),
            )
            for row in rows
        ],
    )


def _costs(rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        "Costs",
        "Adaptation: taking in all documents, in seconds and peak MB; answering, several questions "
        "at once: seconds, prompt tokens and prefix tokens a question, peak MB; bytes kept a "
        "document.",
        (
            "method",
            "k",
            "adaptation s",
            "adaptation MB",
            "s a question",
            "prompt tokens",
            "prefix tokens",
            "bytes a document",
            "MB",
        ),
        [
            (
                _name(row),
                _number(row["k"]),
                _number(row["adaptation_seconds"], "{:.1f}"),
                _megabytes(row["adaptation_memory"]),
                _number(row["seconds_a_question"], "{:.2f}"),
                _number(row["prompt_tokens"], "{:.0f}"),
                _number(row["prefix_tokens"], "{:.0f}"),
                _number(row["bytes_a_document"], "{:.0f}"),
                _megabytes(row["memory"]),
            )
            for row in rows
        ],
    )


def _pruned(rows: Sequence[Mapping[str, Any]]) -> Table:
    whole = {
        (row["k"], row.get("checkpoint")): row["f1"] for row in rows if row["strategy"] == WHOLE
    }
    bases = [whole.get((row["k"], row.get("checkpoint"))) for row in rows]
    return Table(
        "Pruning",
        f"F1 in percent over {rows[0]['questions']:,} questions, after the bank was made smaller.",
        ("strategy", "k", "% left", "modulations", "MB", "F1", "95%", "of the whole bank's F1"),
        [
            (
                label({**row, "method": row["strategy"]}),
                str(row["k"]),
                str(row["percent"]),
                str(row["modulations"]),
                f"{row['bytes'] / 1e6:.2f}",
                *_figure(row, "f1"),
                f"{100 * row['f1'] / base:.0f}%" if base else "",
            )
            for row, base in zip(rows, bases, strict=True)
        ],
    )


def _sizes(rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        "Bank size",
        f"The same {rows[0]['questions']:,} questions asked of ever larger banks.",
        ("method", "k", "documents", "chunks", "EM", "F1", "95%", "found", "s a question", "MB"),
        [
            (
                label(row),
                str(row["k"]),
                str(row["size"]),
                str(row["chunks"]),
                f"{row['em']:.1f}",
                *_figure(row, "f1"),
                _number(row["found"], "{:.1f}"),
                f"{row['seconds_a_question']:.2f}",
                _megabytes(row["memory"]),
            )
            for row in rows
        ],
    )


def _retention(rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        "Retention",
        f"F1 on {rows[0]['before']['questions']:,} questions about the first documents of the "
        "stream: right after those documents, and after the whole stream.",
        ("method", "k", "first", "F1 right after", "95%", "F1 at the end", "95%", "retention"),
        [
            (
                _name(row),
                _number(row["k"]),
                str(row["documents"]),
                *_figure(row["before"], "f1"),
                *_figure(row["after"], "f1"),
                _number(row["retention"], "{:.2f}"),
            )
            for row in rows
        ],
    )


def _abstention(refused: Sequence[Mapping[str, Any]]) -> Table:
    several = "checkpoint" in refused[0]
    return Table(
        "Abstention",
        f"Percent of {refused[0]['questions']:,} questions that mac refuses: with their document "
        "in the bank (wrongly), and with it left out (rightly).",
        (*["checkpoint"] * several, "k", "threshold", "wrongly", "95%", "rightly", "95%"),
        [
            (
                *[str(row.get("checkpoint"))] * several,
                str(row["k"]),
                f"{row['threshold']:g}",
                *_figure(row, "wrongly_abstained"),
                *_figure(row, "rightly_abstained"),
            )
            for row in refused
        ],
    )


def _name(row: Mapping[str, Any]) -> str:
    rate = row["learning_rate"]
    name = label(row)
    return name if rate is None else f"{name} {rate:g}"


def _figure(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    low, high = row[f"{name}_interval"]
    return f"{row[name]:.1f}", f"{low:.1f}-{high:.1f}"


def _number(value: float | None, form: str = "{}") -> str:
    return "" if value is None else form.format(value)


def _megabytes(octets: int | None) -> str:
    return "" if octets is None else f"{octets / 1e6:.0f}"
