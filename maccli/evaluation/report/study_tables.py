"""The tables of single studies: language modelling, one data file after the other, retention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maccli.evaluation.report.rows import title
from maccli.evaluation.report.tables import Table, figure, number

_CONTEXTS = {
    "none": "no context",
    "constant": "constant tokens only",
    "mac": "mac: its modulations",
    "text": "full context: its text",
}


def perplexities(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return how well the later halves of articles are predicted, a row a form of the earlier."""
    first = rows[0]
    none = {row["context"]: row["nats_a_token"] for row in rows}.get("none")
    return Table(
        "Language modelling",
        f"Perplexity of the later halves of {first['articles']:,} articles ({first['tokens']:,} "
        "tokens), with bootstrap 95% intervals over articles, given the earlier half in four "
        "forms. Gain: nats a token over no context. The constant tokens were trained to answer "
        "questions briefly, not to go on with a text.",
        ("the earlier half as", "perplexity", "95%", "gain", "tokens in front"),
        [
            (
                _CONTEXTS[row["context"]],
                f"{row['perplexity']:.2f}",
                "{:.2f}-{:.2f}".format(*row["perplexity_interval"]),
                "" if none is None else f"{none - row['nats_a_token']:+.3f}",
                f"{row['context_tokens']:.0f}",
            )
            for row in rows
        ],
    )


def files(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a row a data file and method, and the mean over files where all were measured."""
    names = list(dict.fromkeys(row["file"] for row in rows))
    body: list[tuple[str, ...]] = [
        (
            row["file"],
            title(dict(row)),
            f"{row['questions']:,}",
            *figure(row, "em"),
            *figure(row, "f1"),
            number(row["found"], "{:.1f}"),
            number(row["seconds_a_question"], "{:.2f}"),
        )
        for row in rows
    ]
    for name in dict.fromkeys(title(dict(row)) for row in rows):
        own = [row for row in rows if title(dict(row)) == name]
        if len(own) == len(names) > 1:
            em, f1 = (sum(row[key] for row in own) / len(own) for key in ("em", "f1"))
            asked = f"{sum(row['questions'] for row in own):,}"
            body.append(("mean of files", name, asked, f"{em:.1f}", "", f"{f1:.1f}", "", "", ""))
    return Table(
        "Each file",
        "Every file in a memory of its own: EM (strict) and F1 in percent, with bootstrap 95% "
        "intervals; found: the right document is among what was found.",
        ("file", "method", "questions", "EM", "95%", "F1", "95%", "found", "s a question"),
        body,
    )


def moments(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Return F1 on the first documents' questions as the stream goes on, if asked in between."""
    curves = [(title(dict(row)), row.get("curve", ())) for row in rows]
    if max(len(curve) for _, curve in curves) < 3:
        return []
    return [
        Table(
            "Retention over the stream",
            "F1 in percent on the questions about the first documents, after more and more of the "
            "stream.",
            ("method", "documents", "F1", "95%"),
            [
                (name, f"{point['documents']:,}", *figure(point, "f1"))
                for name, curve in curves
                for point in curve
            ],
        )
    ]
