"""Results as tables of texts: what the terminal, Markdown and the page show alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maccli.evaluation.report.rows import label
from maccli.evaluation.rivals import SWEPT
from maccli.evaluation.studies.prune_curve import WHOLE


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
    """Return the tables of a file of results that have rows; made questions are called so."""
    found = _tables(data)
    parts = data.get("each", {}).values()
    if made := sum(part.get("machine_made", 0) for part in (data, *parts)):
        note = f"{made:,} of the questions are machine-made"
        more = (
            ": the frozen LM wrote them, and those are left that it answers rightly from the text, "
            "which flatters oracle and rag"
        )
        found = [
            replace(table, about=f"{table.about} {note}{'' if place else more}.")
            for place, table in enumerate(found)
        ]
    return found


def _tables(data: Mapping[str, Any]) -> list[Table]:
    from maccli.evaluation.report import study_tables  # they build on this module
    from maccli.evaluation.studies import each

    rows, kind = data["rows"], data["settings"]["kind"]
    if kind == "prune-curve":
        return [_pruned(rows)] if rows else []
    if kind == "language-modelling":
        return [study_tables.perplexities(rows)] if rows else []
    if kind == "each":
        parts = each.rows(data)
        return [study_tables.files(parts)] if parts else []
    found = []
    if rows:
        found += [_scores(rows), _costs(rows)]
    if swept := data.get(SWEPT):
        found.append(_rates(swept))
    if sizes := data.get("bank_sizes"):
        found.append(_sizes(sizes))
    if kept := data.get("retention"):
        found.append(_retention(kept))
        found += study_tables.moments(kept)
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
                number(row["k"]),
                *figure(row, "em"),
                *figure(row, "prefix_em"),
                *figure(row, "f1"),
                number(row["found"], "{:.1f}"),
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
                number(row["k"]),
                number(row["adaptation_seconds"], "{:.1f}"),
                # What counts on a GPU is its own memory.
                _megabytes(row.get("adaptation_device_memory") or row["adaptation_memory"]),
                number(row["seconds_a_question"], "{:.2f}"),
                number(row["prompt_tokens"], "{:.0f}"),
                number(row["prefix_tokens"], "{:.0f}"),
                number(row["bytes_a_document"], "{:.0f}"),
                _megabytes(row["memory"]),
            )
            for row in rows
        ],
    )


def _rates(rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        "Learning rates",
        f"Tuned on {rows[0]['documents']:,} documents of {rows[0]['data'][0]['file']} and asked "
        f"{rows[0]['questions']:,} questions about them; each method's best rate is evaluated.",
        ("method", "rate", "EM", "95%", "F1", "95%", "adaptation s"),
        [
            (
                row["method"],
                f"{row['learning_rate']:g}",
                *figure(row, "em"),
                *figure(row, "f1"),
                f"{row['adaptation_seconds']:.1f}",
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
                *figure(row, "f1"),
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
                *figure(row, "f1"),
                number(row["found"], "{:.1f}"),
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
                number(row["k"]),
                str(row["documents"]),
                *figure(row["before"], "f1"),
                *figure(row["after"], "f1"),
                number(row["retention"], "{:.2f}"),
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
                *figure(row, "wrongly_abstained"),
                *figure(row, "rightly_abstained"),
            )
            for row in refused
        ],
    )


def _name(row: Mapping[str, Any]) -> str:
    rate = row["learning_rate"]
    name = label(row)
    return name if rate is None else f"{name} {rate:g}"


def figure(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Return a figure in percent and its interval."""
    low, high = row[f"{name}_interval"]
    return f"{row[name]:.1f}", f"{low:.1f}-{high:.1f}"


def number(value: float | None, form: str = "{}") -> str:
    """Return a number in words, nothing where it is not known."""
    return "" if value is None else form.format(value)


def _megabytes(octets: int | None) -> str:
    return "" if octets is None else f"{octets / 1e6:.0f}"
