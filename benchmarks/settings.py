"""Choose on dev data what a checkpoint needs besides its weights.

BM25's share, that of the second look, and when to abstain.

    python -m benchmarks.settings --data FILE ... --checkpoint DIR [--write]

Retrieval only: nothing is generated. For every question, its own document must be found among
those of all files (recall), and once more with its own document taken out (abstention). For the
second look, what is nearly level for the first `--looks` questions is amortized on the way. With
`--write` the best settings go into the checkpoint's config.json; its fingerprint stays.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks import bank as banks
from maccli.service.evidence import support
from models.memory import checkpoint
from models.memory.modulation import Selected
from models.memory.relevance import LOOKS, RelevanceWeights, nearly_level, reconsider
from models.stacks import config_of, load_model

LIKELIHOODS = (0.0, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0)
COVERAGES = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0)
SHARES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0)
KEPT = 0.95
"""The share of the questions whose document is there that must be answered."""
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
    bank = banks.load(
        memory,
        arguments.store or Path(tempfile.mkdtemp(prefix="mac-settings-")),
        arguments.data,
        split_name=arguments.split,
        questions=arguments.questions,
        seed=0,
        documents=arguments.documents,
        amortize_late=True,
    )
    numbers, keys = map(np.concatenate, zip(*bank.store.keys(), strict=True))
    place = {int(number): i for i, number in enumerate(numbers)}
    with torch.no_grad():
        embeddings = memory.encoder.encode([e.question for e in bank.examples])
        queries = memory.stack.relevance.query(embeddings).cpu().numpy()
    dense = queries @ keys.astype(np.float32).T
    lexical = np.zeros_like(dense)
    own = np.zeros(dense.shape, bool)
    for n, example in enumerate(bank.examples):
        found = bank.store.search(example.question, 100)
        best = max((score for _, score in found), default=1.0)
        for number, score in found:
            lexical[n, place[number]] = score / best
        own[n, [place[number] for number in bank.chunks_of[example.document_id]]] = True
    print(f"{len(numbers)} chunks, {len(own)} questions\n")

    print("| BM25 weight | right in top 1 | 3 | 8 |\n|---|---|---|---|")
    best_share, best_rank = 0.0, 0.0
    for share in SHARES:
        total = dense + share * lexical
        rank = (total > np.where(own, total, -np.inf).max(1, keepdims=True)).sum(1)
        tops = [float((rank < k).mean()) for k in (1, 3, 8)]
        reciprocal = float((1 / (1 + rank)).mean())
        print(f"| {share:g} | " + " | ".join(f"{100 * t:.1f}" for t in tops) + " |")
        if reciprocal > best_rank:
            best_share, best_rank = share, reciprocal
    likelihood = second_look(bank, RelevanceWeights(best_share), arguments.looks)
    coverage, threshold = abstention(bank, RelevanceWeights(best_share))
    if arguments.write:
        config = config_of(path)
        chosen = replace(
            config,
            lexical_weight=best_share,
            likelihood_weight=likelihood,
            coverage_weight=coverage,
            abstain_below=round(threshold, 2),
        )
        text = json.dumps(chosen.as_dict(), indent=2) + "\n"
        checkpoint.replace(path / checkpoint.CONFIG, text.encode())


def second_look(bank: banks.Bank, weights: RelevanceWeights, questions: int) -> float:
    """The weight of the likelihood that finds best, of `LIKELIHOODS`."""
    memory = bank.memory
    ranks: dict[float, list[int]] = {weight: [] for weight in LIKELIHOODS}
    for example in tqdm(bank.examples[:questions], desc="second look", leave=False):
        candidates = bank.candidates(example.question, LOOKS, "hybrid", weights)
        own = set(bank.chunks_of[example.document_id])
        level = candidates[: nearly_level(candidates)]
        likelihoods: list[float] = []
        if own & {c.id for c in level}:
            views = bank.views([candidate.id for candidate in level])
            documents = [Selected(view.latents, view.scales, 0.0) for view in views]
            likelihoods = memory.question_likelihood(example.question, documents)
        for weight in LIKELIHOODS:
            found = [c.id for c in reconsider(candidates, likelihoods, LOOKS, weight)]
            ranks[weight].append(next((i for i, c in enumerate(found) if c in own), LOOKS))
    print("\n| weight of the likelihood | right in top 1 | 3 |\n|---|---|---|")
    quality = {}
    for weight, places in ranks.items():
        rank = np.array(places)
        print(f"| {weight:g} | {100 * (rank < 1).mean():.1f} | {100 * (rank < 3).mean():.1f} |")
        quality[weight] = float((1 / (1 + rank)).mean())
    return max(quality, key=quality.__getitem__)


def abstention(bank: banks.Bank, weights: RelevanceWeights) -> tuple[float, float]:
    """The weight of coverage that tells best whether a document is there, and the threshold."""
    found: dict[float, list[tuple[float, float]]] = {weight: [] for weight in COVERAGES}
    for example in tqdm(bank.examples, desc="abstention", leave=False):
        own = bank.chunks_of[example.document_id]
        both = [
            bank.candidates(example.question, CHUNKS, "hybrid", weights, without)
            for without in ((), own)
        ]
        for weight in COVERAGES:
            mixed = replace(weights, coverage=weight)
            there, gone = (support(bank.store, example.question, c, mixed) for c in both)
            found[weight].append((there, gone))
    print("\n| weight of coverage | refused where the document is not there | AUC |\n|---|---|---|")
    quality, thresholds = {}, {}
    for weight, pairs in found.items():
        there, gone = np.array(pairs).T
        thresholds[weight] = float(np.quantile(there, 1 - KEPT))
        refused = (gone < thresholds[weight]).mean()
        quality[weight] = float((there[:, None] > gone[None]).mean())
        print(f"| {weight:g} | {100 * refused:.1f} % | {quality[weight]:.3f} |")
    # The smallest that is nearly as good as the best: questions in other words share none with it.
    best = min(w for w in quality if quality[w] >= max(quality.values()) - NEARLY)
    print(
        f"\nCoverage {best:g}: below {thresholds[best]:.2f} nothing is answered; {KEPT:.0%} of the "
        "questions whose document is there are."
    )
    return best, thresholds[best]


if __name__ == "__main__":
    main()
