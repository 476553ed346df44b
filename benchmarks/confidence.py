"""How likely an answer of `mac ask` is right: what the numbers in a checkpoint are fitted to.

    python -m benchmarks.confidence rank --store DIR --questions FILE... [--write CHECKPOINT]
    python -m benchmarks.confidence ask --store DIR --questions FILE --out ANSWERS [--fast]
    python -m benchmarks.confidence fit ANSWERS[:WEIGHT]... [--above 0.5] [--write CHECKPOINT]

`rank` reads the ten best passages for each question (JSON lines with `question`, `answers` and
`doc`, the name of the file that answers), and fits how the judge's log odds and all other relevance
mix (`judge_weight`, `judge_prior`), so that a passage's share is how likely it is the right one.
`ask` asks every question of a store that holds their documents (JSON lines with `question`,
`answers`, `history` where others were asked before, and `"answerable": false` where the store does
not say), and keeps what is known of each
answer: of those of the judge and the language model, or with `--fast` of the language model's.
`fit` fits a logistic regression to it (`judge_confidence`, or with `--fast` `confidence`) and
prints, by ten-fold cross-validation, how often answers of each probability were right (the table of
a reliability diagram), the expected calibration error, and what a threshold does. An answer is
right if it is one of the expected ones, has an F1 of 0.6 with one, or begins with the right one of
yes and no.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maccli.service.evidence import Evidence, retrieve
from maccli.service.selection import judged, search_store
from maccli.service.session import Session, store_and_model
from models.data.files import DataSource, parse_source
from models.evaluation.metrics import f1, normalise
from models.judge.choice import is_said, weighed
from models.memory import checkpoint
from models.memory.confidence import GENERATED, Confidence, features
from models.memory.relevance import READ

FOLDS = 10
RIGHT = 0.6
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    ranking = parts.add_parser("rank")
    ranking.add_argument("--store", type=Path, action="append", required=True)
    ranking.add_argument("--questions", type=Path, action="append", required=True)
    ranking.add_argument("--model", default="smollm2-135m")
    ranking.add_argument("--write", type=Path, metavar="CHECKPOINT")
    asking = parts.add_parser("ask")
    asking.add_argument("--store", type=Path, required=True)
    asking.add_argument("--questions", type=Path, required=True)
    asking.add_argument("--out", type=Path, required=True)
    asking.add_argument("--model", default="smollm2-135m")
    asking.add_argument("--fast", action="store_true", help="leave the judge out")
    fitting = parts.add_parser("fit")
    fitting.add_argument("answers", nargs="+", type=parse_source, metavar="ANSWERS[:WEIGHT]")
    fitting.add_argument("--above", type=float, default=0.5, help="the threshold to write")
    fitting.add_argument("--write", type=Path, metavar="CHECKPOINT")
    arguments = parser.parse_args()
    if arguments.part == "rank":
        rank(arguments.store, arguments.model, arguments.questions, arguments.write)
    elif arguments.part == "ask":
        ask(arguments.store, arguments.model, arguments.questions, arguments.out, arguments.fast)
    else:
        fit(arguments.answers, arguments.above, arguments.write)


def rank(stores: list[Path], model: str, questions: list[Path], write: Path | None) -> None:
    """Fit how relevance mixes with the judge's log odds, and write it into a checkpoint."""
    read: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []
    for store, file in zip(stores, questions, strict=True):
        with Session(store_and_model(store, model)) as session:
            for line in file.read_text("utf-8").splitlines():
                row = json.loads(line)
                if row.get("answerable", True):
                    read.append(_passages(session, row))
    weights = choosing([(x, right) for x, right in read if right.any()], ridge=1e-6)
    prior, weight = (round(float(w), 3) for w in weights)
    print("ordered by             first   first three   first ten, of", len(read))
    for name, mix in (("relevance", (1, 0)), ("judge", (0, 1)), ("both", weights)):
        orders = [right[np.argsort(-(x @ mix), kind="stable")] for x, right in read]
        shares = (100 * np.mean([order[:k].any() for order in orders]) for k in (1, 3, READ))
        print(f"{name:20}", *(f"{share:10.1f}" for share in shares))
    print(f"\njudge_prior {prior}, judge_weight {weight}")
    if write is not None:
        config = checkpoint.read_config(write)
        checkpoint.write_config(write, {**config, "judge_prior": prior, "judge_weight": weight})


def _passages(
    session: Session, row: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return relevance and the judge's log odds of the best passages, [N, 2], and which are right.

    A passage is right if it is of the right file and holds an answer, if any of its passages does.
    """
    model, store, judge = session.model, session.require_store(), session.judge
    assert judge is not None, "the checkpoint names no judge"
    candidates = search_store(
        model,
        store,
        row["question"],
        READ,
        retriever="hybrid",
        weights=model.relevance,
        likelihood=False,
    ).candidates
    rows = store.chunk_rows([candidate.id for candidate in candidates])
    odds = [reading.log_odds for reading in judged(judge, row["question"], rows)]
    right = np.array([Path(chunk.source).name == row["doc"] for chunk in rows])
    said = [any(a.lower() in chunk.text.lower() for a in row["answers"]) for chunk in rows]
    if (right & said).any():
        right &= said
    return np.array([[c.score, o] for c, o in zip(candidates, odds, strict=True)]), right


def ask(store: Path, model: str, questions: Path, out: Path, fast: bool) -> None:
    """Ask the questions, and write a line for each with what is known of its answers."""
    with Session(store_and_model(store, model)) as session, out.open("w") as file:
        for line in questions.read_text("utf-8").splitlines():
            row = json.loads(line)
            before = [(question, answer) for question, answer in row.get("history", [])]
            evidence = retrieve(session, row["question"], fast=fast, history=before)
            answers = {
                "question": row["question"],
                "expected": row["answers"] if row.get("answerable", True) else [],
                "answers": _answers(session, evidence),
            }
            print(json.dumps(answers, ensure_ascii=False), file=file, flush=True)


def _answers(session: Session, evidence: Evidence) -> list[tuple[str, dict[str, float]]]:
    """Return each answer with what is known of it."""
    model, judge = session.model, session.judge
    question, selected = evidence.wording, evidence.modulations()
    candidates = [match.candidate for match in evidence.matches]
    stream = model.answer(question, selected)
    text = "".join(stream).strip()
    if judge is not None and evidence.readings:
        answers, known = weighed(
            question,
            text,
            judge.read_closely(question, evidence.readings),
            candidates,
            evidence.support,
            lambda texts: model.answer_likelihoods(question, texts, selected),
        )
        return list(zip(answers, known, strict=True))
    scores = [candidate.score for candidate in candidates]
    return [(text, features(question, text, stream.surprise, evidence.support, scores))]


def fit(files: list[DataSource], above: float, write: Path | None) -> None:
    """Fit to kept answers, print how well that goes, and write it into a checkpoint."""
    rows: list[dict[str, Any]] = []
    counts: list[float] = []
    for file in files:
        lines = file.path.read_text("utf-8").splitlines()
        rows += map(json.loads, lines)
        counts += [file.weight] * len(lines)
    names = tuple(rows[0]["answers"][0][1])
    x = [np.array([[known[n] for n in names] for _, known in row["answers"]]) for row in rows]
    y = [np.array([is_right(a, row["expected"]) for a, _ in row["answers"]], float) for row in rows]
    weight = [np.full(len(each), count) for each, count in zip(y, counts, strict=True)]

    def fitted_to(chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        parts = ([part[i] for i in chosen] for part in (x, y, weight))
        features_, rights, weights = map(np.concatenate, parts)
        return regression(features_, rights, weights)

    order = np.random.default_rng(0).permutation(len(rows))
    probability, right = np.zeros(len(rows)), np.zeros(len(rows))
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        weights = fitted_to(np.setdiff1d(order, held))
        for i in held:
            # What no passage says is not given, see `models.judge.choice.choose`.
            said = ["judged" not in known or is_said(known) for _, known in rows[i]["answers"]]
            each = said / (1 + np.exp(-x[i] @ weights))
            probability[i], right[i] = each.max(), y[i][each.argmax()]
    answerable = np.array([bool(row["expected"]) for row in rows])
    some = np.array([each.max() for each in y])
    print(f"right if all are answered {100 * right[answerable].mean():.1f} %,", end=" ")
    print(f"if the best of the answers were chosen {100 * some[answerable].mean():.1f} %\n")
    _print_calibration(probability, right)
    print("\nthreshold   right   wrong   not given   made up, of the unanswerable")
    for threshold in THRESHOLDS:
        given = probability >= threshold
        shares = (given * right, given * (1 - right), ~given)
        told = [100 * float(share[answerable].mean()) for share in shares]
        made_up = 100 * float(given[~answerable].mean()) if (~answerable).any() else 0.0
        print(f"{threshold:9.2f} {told[0]:7.1f} {told[1]:7.1f} {told[2]:11.1f} {made_up:12.1f}")
    weights = fitted_to(order)
    fitted = Confidence(dict(zip(names, (round(float(w), 4) for w in weights), strict=True)), above)
    print(f"\n{json.dumps(fitted.as_dict(), indent=2)}")
    if write is not None:
        which = "confidence" if sorted(names) == sorted(GENERATED) else "judge_confidence"
        config = {**checkpoint.read_config(write), which: fitted.as_dict()}
        checkpoint.write_config(write, config)


def regression(
    x: NDArray[np.float64], y: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights [F] of a logistic regression on x [N, F], by Newton's method.

    Of the N examples, each counts as so many as `counts` [N] says.
    """
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        curvature = (x * (counts * p * (1 - p))[:, None]).T @ x + 0.1 * np.eye(len(weights))
        weights += np.linalg.solve(curvature, x.T @ (counts * (y - p)) - 0.1 * weights)
    return weights


def choosing(
    examples: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]], ridge: float
) -> NDArray[np.float64]:
    """Return the weights [F] under which the right of several things are likeliest to be chosen.

    Args:
        examples: what is known of each thing, [N, F], and which are right, at least one.
        ridge: how much large weights count against themselves.
    """
    size = examples[0][0].shape[1]
    weights = np.zeros(size)
    for _ in range(30):  # Newton's method
        gradient, curvature = -ridge * weights, ridge * np.eye(size)
        for x, right in examples:
            share = np.exp(x @ weights - (x @ weights).max())
            share /= share.sum()
            target = share * right / (share * right).sum()
            gradient = gradient + (target - share) @ x
            curvature += (x * share[:, None]).T @ x - np.outer(share @ x, share @ x)
        weights = weights + np.linalg.solve(curvature, gradient)
    return weights


def is_right(answer: str, expected: list[str]) -> bool:
    """Return whether an answer counts as right."""
    if not expected:
        return False
    first = normalise(answer).split()[:1]
    said = first in (["yes"], ["no"]) and [normalise(e) for e in expected if e][:1] == first
    return said or f1(answer, expected) >= RIGHT


def _print_calibration(probability: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    print("probability   answers   right")
    error = 0.0
    for low in np.arange(0, 1, 0.1):
        inside = (probability >= low) & (probability < low + 0.1)
        if inside.any():
            print(
                f"{low:.1f} to {low + 0.1:.1f} {inside.sum():9} {100 * right[inside].mean():7.1f}"
            )
            error += inside.mean() * abs(right[inside].mean() - probability[inside].mean())
    print(f"expected calibration error {100 * error:.1f}")


if __name__ == "__main__":
    main()
