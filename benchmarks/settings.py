"""Choose a checkpoint's weights of BM25 and of the second look, and when it abstains, on dev data.

    python -m benchmarks.settings --data FILE ... --checkpoint DIR [--write]

Retrieval only: nothing is generated. For every question its document must be found among those of
all files (recall), and the selected chunks must tell whether it was taken out (abstention). For the
second look, chunks that are nearly level for the first `--looks` questions are amortized on the
way. With `--write` the best settings go into the checkpoint's config.json; its fingerprint stays.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.tools.questions import store_documents
from maccli.evaluation.evaluation_store import EvaluationStore
from maccli.service.selection import support
from models.data.files import Example
from models.memory import checkpoint
from models.memory.relevance import LOOKS, RelevanceWeights, nearly_level, reconsider
from models.stacks import config_of, load_model

LIKELIHOODS = (0.0, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0)
COVERAGES = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0)
SHARES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0)
KEPT = 0.95
"""The share of the questions with a stored document that must be answered."""
NEARLY = 0.01
"""How much of the AUC a smaller weight of coverage may cost."""
CHUNKS = 3
"""How many chunks a question selects when it is decided whether to answer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--documents", type=int, default=250, help="a file")
    parser.add_argument("--questions", type=int, default=1500, help="drawn at random")
    parser.add_argument("--looks", type=int, default=400, help="questions for the second look")
    parser.add_argument("--checkpoint", default=checkpoint.DEFAULT)
    parser.add_argument("--store", type=Path, help="keep the store here and use it again")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()

    path = checkpoint.find(arguments.checkpoint)
    memory = load_model(path)
    with tempfile.TemporaryDirectory(prefix="mac-settings-") as temporary:
        store, examples = store_documents(
            memory,
            arguments.store or Path(temporary, "store"),
            arguments.data,
            questions=arguments.questions,
            documents=arguments.documents,
            split=arguments.split,
            lazy=True,
        )
        weights = RelevanceWeights(lexical_share(store, examples))
        likelihood = second_look(store, examples[: arguments.looks], weights)
        coverage, threshold = abstention(store, examples, weights)
        store.store.close()
    if arguments.write:
        config = config_of(path)
        chosen = replace(
            config,
            lexical_weight=weights.lexical,
            likelihood_weight=likelihood,
            coverage_weight=coverage,
            abstain_below=round(threshold, 2),
        )
        checkpoint.write_config(path, chosen.as_dict())


def lexical_share(store: EvaluationStore, examples: Sequence[Example]) -> float:
    """Return the weight of BM25, of `SHARES`, that ranks the right chunk best."""
    ids, keys = map(np.concatenate, zip(*store.store.keys(), strict=True))
    column = {int(chunk_id): i for i, chunk_id in enumerate(ids)}
    queries = np.stack([store.model.encode_question(example.question) for example in examples])
    dense = queries @ keys.astype(np.float32).T
    lexical = np.zeros_like(dense)
    right = np.zeros(dense.shape, bool)
    for n, example in enumerate(examples):
        matches = store.store.search(example.question, 100)
        best = max((score for _, score in matches), default=1.0)
        for chunk_id, score in matches:
            lexical[n, column[chunk_id]] = score / best
        right[n, [column[chunk_id] for chunk_id in store.chunks_of[example.document_id]]] = True
    print(f"{len(ids)} chunks, {len(examples)} questions\n")
    print("| BM25 weight | right in top 1 | 3 | 8 |\n|---|---|---|---|")
    quality = {}
    for share in SHARES:
        total = dense + share * lexical
        rank = (total > np.where(right, total, -np.inf).max(1, keepdims=True)).sum(1)
        quality[share] = float((1 / (1 + rank)).mean())
        print(f"| {share:g} | " + " | ".join(f"{_percent(rank < k)}" for k in (1, 3, 8)) + " |")
    return max(quality, key=quality.__getitem__)


def second_look(
    store: EvaluationStore, examples: Sequence[Example], weights: RelevanceWeights
) -> float:
    """Return the weight of the likelihood, of `LIKELIHOODS`, that ranks the right chunk best."""
    ranks: dict[float, list[int]] = {weight: [] for weight in LIKELIHOODS}
    for example in tqdm(examples, desc="second look", leave=False):
        candidates = store.candidates(example.question, LOOKS, "hybrid", weights)
        right = set(store.chunks_of[example.document_id])
        level = candidates[: nearly_level(candidates)]
        likelihoods: list[float] = []
        if right & {candidate.id for candidate in level}:
            selected = store.selected(level)
            likelihoods = store.model.question_likelihood(example.question, selected)
        for weight in LIKELIHOODS:
            order = [c.id for c in reconsider(candidates, likelihoods, LOOKS, weight)]
            ranks[weight].append(next((i for i, c in enumerate(order) if c in right), LOOKS))
    print("\n| weight of the likelihood | right in top 1 | 3 |\n|---|---|---|")
    quality = {}
    for weight, places in ranks.items():
        rank = np.array(places)
        print(f"| {weight:g} | {_percent(rank < 1)} | {_percent(rank < 3)} |")
        quality[weight] = float((1 / (1 + rank)).mean())
    return max(quality, key=quality.__getitem__)


def abstention(
    store: EvaluationStore, examples: Sequence[Example], weights: RelevanceWeights
) -> tuple[float, float]:
    """Return the weight of coverage that tells best whether a document is stored.

    The second number is the threshold: what has less support is not answered.
    """
    supports: dict[float, list[tuple[float, float]]] = {weight: [] for weight in COVERAGES}
    for example in tqdm(examples, desc="abstention", leave=False):
        right = store.chunks_of[example.document_id]
        both = [
            store.candidates(example.question, CHUNKS, "hybrid", weights, without)
            for without in ((), right)
        ]
        for weight in COVERAGES:
            mixed = replace(weights, coverage=weight)
            with_it, without_it = (
                support(store.store, example.question, candidates, mixed) for candidates in both
            )
            supports[weight].append((with_it, without_it))
    print("\n| weight of coverage | refused where the document is missing | AUC |\n|---|---|---|")
    quality, thresholds = {}, {}
    for weight, pairs in supports.items():
        stored, missing = np.array(pairs).T
        thresholds[weight] = float(np.quantile(stored, 1 - KEPT))
        quality[weight] = float((stored[:, None] > missing[None]).mean())
        refused = _percent(missing < thresholds[weight])
        print(f"| {weight:g} | {refused} % | {quality[weight]:.3f} |")
    # The smallest that is nearly as good as the best: questions in other words share none with it.
    best = min(w for w in quality if quality[w] >= max(quality.values()) - NEARLY)
    print(
        f"\nCoverage {best:g}: below {thresholds[best]:.2f} nothing is answered; {KEPT:.0%} of the "
        "questions with a stored document are."
    )
    return best, thresholds[best]


def _percent(which: NDArray[np.bool_]) -> str:
    return f"{100 * which.mean():.1f}"


if __name__ == "__main__":
    main()
