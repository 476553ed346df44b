"""How likely an answer of `mac ask` is right: what the checkpoint's `confidence` is fitted to.

    python -m benchmarks.confidence ask --store DIR --questions FILE --out ANSWERS
    python -m benchmarks.confidence fit ANSWERS... [--above 0.35] [--write CHECKPOINT]

`ask` asks every question of a store that holds their documents (JSON lines with `question`,
`answers`, and `"answerable": false` where the store does not say), and keeps what is known of each
answer. `fit` fits a logistic regression to it and prints, by ten-fold cross-validation, how often
answers of each probability were right (the table of a reliability diagram), the expected
calibration error, and what a threshold does. An answer is right if it is one of the expected ones,
has an F1 of 0.6 with one, or begins with the right one of yes and no.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maccli.service.evidence import retrieve
from maccli.service.session import Session, store_and_model
from models.evaluation.metrics import f1, normalise
from models.memory import checkpoint
from models.memory.confidence import Confidence, features
from models.stacks import config_of

FOLDS = 10
RIGHT = 0.6
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    asking = parts.add_parser("ask")
    asking.add_argument("--store", type=Path, required=True)
    asking.add_argument("--questions", type=Path, required=True)
    asking.add_argument("--out", type=Path, required=True)
    asking.add_argument("--model", default="smollm2-135m")
    fitting = parts.add_parser("fit")
    fitting.add_argument("answers", nargs="+", type=Path)
    fitting.add_argument("--above", type=float, default=0.35, help="the threshold to write")
    fitting.add_argument("--write", type=Path, metavar="CHECKPOINT")
    arguments = parser.parse_args()
    if arguments.part == "ask":
        ask(arguments.store, arguments.model, arguments.questions, arguments.out)
    else:
        fit(arguments.answers, arguments.above, arguments.write)


def ask(store: Path, model: str, questions: Path, out: Path) -> None:
    """Ask the questions, and write a line for each answer."""
    with Session(store_and_model(store, model)) as session, out.open("w") as file:
        for line in questions.read_text("utf-8").splitlines():
            row = json.loads(line)
            evidence = retrieve(session, row["question"])
            stream = session.model.answer(row["question"], evidence.modulations())
            known = {
                "question": row["question"],
                "answers": row["answers"] if row.get("answerable", True) else [],
                "answer": "".join(stream).strip(),
                "surprise": list(stream.surprise),
                "support": evidence.support,
                "scores": [match.candidate.score for match in evidence.matches],
            }
            print(json.dumps(known, ensure_ascii=False), file=file, flush=True)


def fit(files: list[Path], above: float, write: Path | None) -> None:
    """Fit to kept answers, print how well that goes, and write it into a checkpoint."""
    rows = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    x = np.array([[1.0, *_features(row)] for row in rows])
    right = np.array([_is_right(row) for row in rows], float)
    answerable = np.array([bool(row["answers"]) for row in rows])
    order = np.random.default_rng(0).permutation(len(rows))
    probability = np.zeros(len(rows))
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        weights = regression(np.delete(x, held, 0), np.delete(right, held))
        probability[held] = 1 / (1 + np.exp(-x[held] @ weights))
    _print_calibration(probability, right)
    print("\nthreshold   right   wrong   not given   made up, of the unanswerable")
    for threshold in THRESHOLDS:
        given = probability >= threshold
        shares = (given * right, given * (1 - right), ~given)
        told = [100 * float(share[answerable].mean()) for share in shares]
        made_up = 100 * float(given[~answerable].mean()) if (~answerable).any() else 0.0
        print(f"{threshold:9.2f} {told[0]:7.1f} {told[1]:7.1f} {told[2]:11.1f} {made_up:12.1f}")
    bias, surprise, support, lead, echo = (round(float(w), 4) for w in regression(x, right))
    fitted = Confidence(bias, surprise, support, lead, echo, above)
    print(f"\n{fitted}")
    if write is not None:
        config: Any = replace(config_of(write), confidence=fitted.as_dict())
        checkpoint.write_config(write, config.as_dict())


def regression(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights [F] of a logistic regression on x [N, F], by Newton's method."""
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        curvature = (x * (p * (1 - p))[:, None]).T @ x + 0.1 * np.eye(len(weights))
        weights += np.linalg.solve(curvature, x.T @ (y - p) - 0.1 * weights)
    return weights


def _features(row: dict[str, Any]) -> tuple[float, float, float, float]:
    given = (row["question"], row["answer"], row["surprise"], row["support"], row["scores"])
    return features(*given)


def _is_right(row: dict[str, Any]) -> bool:
    answer, expected = row["answer"], row["answers"]
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
