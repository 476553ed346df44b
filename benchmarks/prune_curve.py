"""What a smaller bank costs in answers: F1 at several sizes, for every strategy of pruning.

    python -m benchmarks.prune_curve --data FILE --work DIR [--questions 500] [--plot FILE]

The whole bank is ingested once into DIR/bank. For every strategy and size it is copied, pruned with
the product's own code, and asked; every row is from the same questions. Rows are kept in
DIR/rows.jsonl as soon as they are measured: the same command goes on where it was interrupted.

`usage` needs answers to have been given before. So a share of the questions (--asked-before) is
asked first of the whole bank, and as many that are not scored; what they find is counted as used.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import bank as banks
from models import checkpoint
from models.evaluate import answer_many, score
from models.memory import Memory
from models.metrics import bootstrap_interval
from store import STRATEGIES, Store, Target

SIZES = (100, 75, 50, 25, 10)
WHOLE = "whole"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--split", default=None)
    parser.add_argument("--questions", type=int, default=None, help="drawn at random; default all")
    parser.add_argument("--limit", type=int, default=None, help="documents a file; default all")
    parser.add_argument("--checkpoint", default=checkpoint.DEFAULT)
    parser.add_argument("--strategy", action="append", choices=STRATEGIES)
    parser.add_argument("--size", type=int, action="append", help="percent of the modulations")
    parser.add_argument("-k", type=int, default=None, help="default: the checkpoint's")
    parser.add_argument("--asked-before", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="keeps the bank and the rows")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, help="draw F1 over size: PNG, SVG or PDF")
    arguments = parser.parse_args()

    memory = Memory.load(checkpoint.find(arguments.checkpoint))
    arguments.work.mkdir(parents=True, exist_ok=True)
    everything = banks.load(
        memory,
        arguments.work / "bank",
        arguments.data,
        split_name=arguments.split,
        questions=None,
        seed=arguments.seed,
        documents=arguments.limit,
    )
    rng = random.Random(arguments.seed)
    drawn = list(everything.examples)
    rng.shuffle(drawn)
    number = arguments.questions or len(drawn)
    bank = replace(everything, examples=drawn[:number])
    known = int(number * arguments.asked_before)
    before = [e.question for e in (*drawn[:known], *drawn[number : number + known])]

    log = arguments.work / "rows.jsonl"
    settings = {
        "fingerprint": memory.fingerprint,
        "questions": len(bank.examples),
        "chunks": bank.store.stats().chunks,
        "k": arguments.k or memory.config.documents,
        "seed": arguments.seed,
        "asked_before": arguments.asked_before,
    }
    rows = list(_measured(log, settings))
    done = {(row["strategy"], row["percent"]) for row in rows}
    sizes = arguments.size or SIZES
    steps = [(WHOLE, 100)] if 100 in sizes else []
    steps += [(s, p) for s in arguments.strategy or STRATEGIES for p in sizes if p < 100]
    for strategy, percent in steps:
        if (strategy, percent) in done:
            continue
        row = measure(bank, arguments.work / "pruned", strategy, percent, settings, before)
        rows.append(row)
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(line(row), flush=True)
    rows = [row for step in steps for row in rows if (row["strategy"], row["percent"]) == step]
    print("\n| strategy | % left | modulations | MB | F1 | 95% | of the whole bank's F1 |")
    print("|---|---|---|---|---|---|---|")
    whole = next((row["f1"] for row in rows if row["strategy"] == WHOLE), None)
    for row in rows:
        print(line(row, whole))
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    if arguments.plot:
        draw(rows, arguments.plot)


def _measured(log: Path, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows that an earlier run measured in the same way."""
    for text in log.read_text().splitlines() if log.exists() else []:
        row = json.loads(text)
        if all(row.get(name) == value for name, value in settings.items()):
            yield row


def measure(
    bank: banks.Bank,
    folder: Path,
    strategy: str,
    percent: int,
    settings: dict[str, Any],
    before: Sequence[str],
) -> dict[str, Any]:
    """Copy the bank, prune it, ask all questions."""
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(bank.store.path, folder)
    memory = bank.memory
    weights = memory.relevance
    with Store.open(folder, fingerprint=memory.fingerprint) as store:
        pruned = replace(bank, store=store)
        if strategy == "usage":
            for question in tqdm(before, desc="asked before", leave=False):
                found = pruned.candidates(question, settings["k"], "hybrid", weights)
                store.used({c.id: c.weight for c in found})
        begun = time.perf_counter()
        if strategy != WHOLE:
            store.prune(strategy, Target(share=percent / 100), seed=settings["seed"])  # type: ignore[arg-type]
        seconds = time.perf_counter() - begun
        found = [
            pruned.candidates(e.question, settings["k"], "hybrid", weights)
            for e in tqdm(bank.examples, desc=f"{strategy} {percent}% finds", leave=False)
        ]
        bar = tqdm(total=len(found), desc=f"{strategy} {percent}% answers", leave=False)
        predicted = answer_many(
            memory,
            [e.question for e in bank.examples],
            [pruned.modulations(c) for c in found],
            progress=lambda n: bar.update(n - bar.n),
        )
        bar.close()
        stats = store.stats()
    scores = [score(p, e.answers) for p, e in zip(predicted, bank.examples, strict=True)]
    f1 = [s.f1 for s in scores]
    low, high = bootstrap_interval(f1, seed=0)
    return {
        **settings,
        "strategy": strategy,
        "percent": percent,
        "modulations": stats.modulations,
        "bytes": stats.modulation_bytes,
        "em": 100 * sum(s.exact for s in scores) / len(scores),
        "f1": 100 * sum(f1) / len(f1),
        "interval": [100 * low, 100 * high],
        "prune_seconds": seconds,
    }


def line(row: dict[str, Any], whole: float | None = None) -> str:
    low, high = row["interval"]
    kept = f"{100 * row['f1'] / whole:.0f}%" if whole else ""
    return (
        f"| {row['strategy']} | {row['percent']} | {row['modulations']} "
        f"| {row['bytes'] / 1e6:.2f} | {row['f1']:.1f} | {low:.1f}-{high:.1f} | {kept} |"
    )


def draw(rows: Sequence[dict[str, Any]], picture: Path) -> None:
    """F1 over the number of modulations left, one line a strategy, all from the whole bank's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    whole = [row for row in rows if row["strategy"] == WHOLE]
    for strategy in STRATEGIES:
        own = whole + [row for row in rows if row["strategy"] == strategy]
        if len(own) > len(whole):
            own.sort(key=lambda row: -row["percent"])
            xs, ys = [row["percent"] for row in own], [row["f1"] for row in own]
            axes.plot(xs, ys, marker="o", label=strategy)
    axes.invert_xaxis()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("modulations left, %")
    axes.set_ylabel("F1")
    axes.legend()
    figure.savefig(picture)


if __name__ == "__main__":
    main()
