"""Answers from the whole bank, side by side in one run: closed-book, retrieval with text, and mac.

    python -m benchmarks.quality --data FILE [--questions 500] [--method mac --method rag ...]

Every method has the same frozen LM; `rag` and `mac` have the same retriever. `oracle` rows are
given the right document. Prints one Markdown table and writes the same figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from benchmarks import bank as banks
from benchmarks import text_prefix
from models import checkpoint
from models.evaluate import answer_many, prompt_many, score
from models.memory import Memory
from models.metrics import bootstrap_interval
from models.relevance import RelevanceWeights

METHODS = (
    "closed-book",
    "rag",
    "rag-prefix",
    "mac",
    "rag-oracle",
    "rag-prefix-oracle",
    "mac-oracle",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--split", default=None)
    parser.add_argument("--questions", type=int, default=None, help="drawn at random; default all")
    parser.add_argument("--documents", type=int, default=None, help="a file; default all")
    parser.add_argument("--checkpoint", default=checkpoint.DEFAULT)
    parser.add_argument("--rag-prefix", type=Path, help="trained constant prefix tokens for rag")
    parser.add_argument("--method", action="append", choices=METHODS)
    parser.add_argument("-k", type=int, action="append", help="default: the checkpoint's")
    parser.add_argument("--retriever", action="append", choices=("dense", "bm25", "hybrid"))
    parser.add_argument("--lexical", type=float, default=None, help="BM25's weight in hybrid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, help="keep the store here and use it again")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    methods = arguments.method or [
        m for m in METHODS if arguments.rag_prefix or not m.startswith("rag-prefix")
    ]
    if not arguments.rag_prefix and any(m.startswith("rag-prefix") for m in methods):
        parser.error("the rag-prefix methods need --rag-prefix FILE")

    memory = Memory.load(checkpoint.find(arguments.checkpoint))
    folder = arguments.store or Path(tempfile.mkdtemp(prefix="mac-bench-"))
    bank = banks.load(
        memory,
        folder,
        arguments.data,
        split_name=arguments.split,
        questions=arguments.questions,
        seed=arguments.seed,
        documents=arguments.documents,
    )
    stats = bank.store.stats()
    print(f"{stats.documents} documents, {stats.chunks} chunks, {len(bank.examples)} questions")
    lexical = memory.config.lexical_weight if arguments.lexical is None else arguments.lexical
    weights = replace(memory.relevance, lexical=lexical)
    rows = []
    for method in methods:
        oracle = method.endswith("oracle") or method == "closed-book"
        for retriever in ["-"] if oracle else arguments.retriever or ["hybrid"]:
            for k in [0] if oracle else arguments.k or [memory.config.documents]:
                row = measure(bank, method, k, retriever, weights, arguments.rag_prefix)
                rows.append(row)
                print(line(row), flush=True)
    print("\n| method | k | retriever | EM | F1 | 95% | right in top k | s a question |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(line(row))
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


def measure(
    bank: banks.Bank,
    method: str,
    k: int,
    retriever: str,
    weights: RelevanceWeights,
    rag_prefix: Path | None,
) -> dict:
    memory, examples = bank.memory, bank.examples
    begun = time.perf_counter()
    found = []
    if method != "closed-book":
        for example in tqdm(examples, desc=f"{method} finds", leave=False):
            if method.endswith("oracle"):
                found.append(bank.right(example))
            else:
                found.append(bank.candidates(example.question, k, retriever, weights))
    recall = [
        float(bool({c.id for c in chosen} & set(bank.chunks_of[e.document_id])))
        for chosen, e in zip(found, examples, strict=False)
    ]
    bar = tqdm(total=len(examples), desc=f"{method} answers", leave=False)
    questions = [e.question for e in examples]

    def progress(done: int) -> None:
        bar.update(done - bar.n)

    if method.startswith("mac"):
        predicted = answer_many(
            memory, questions, [bank.modulations(c) for c in found], progress=progress
        )
    else:
        prefix = None
        if method == "closed-book":
            prompts = [memory.rag_prompt(q, []) for q in questions]
        elif method.startswith("rag-prefix"):
            prefix = text_prefix.load(rag_prefix, memory)
            texts = [
                text_prefix.prompt_text(e.question, bank.texts(c))
                for e, c in zip(examples, found, strict=True)
            ]
            prompts = memory.lm.tokenize(texts)
        else:
            prompts = [
                memory.rag_prompt(q, bank.texts(c)) for q, c in zip(questions, found, strict=True)
            ]
        predicted = prompt_many(memory, prompts, prefix, progress=progress)
    bar.close()
    scores = [score(p, e.answers) for p, e in zip(predicted, examples, strict=True)]
    f1 = [s.f1 for s in scores]
    low, high = bootstrap_interval(f1, seed=0)
    return {
        "method": method,
        "k": k,
        "retriever": retriever,
        "em": 100 * sum(s.exact for s in scores) / len(scores),
        "f1": 100 * sum(f1) / len(f1),
        "interval": [100 * low, 100 * high],
        "recall": 100 * sum(recall) / len(recall) if recall else None,
        "questions": len(examples),
        "seconds_a_question": (time.perf_counter() - begun) / len(examples),
    }


def line(row: dict) -> str:
    recall = "" if row["recall"] is None else f"{row['recall']:.1f}"
    low, high = row["interval"]
    return (
        f"| {row['method']} | {row['k'] or ''} | {row['retriever']} | {row['em']:.1f} "
        f"| {row['f1']:.1f} | {low:.1f}-{high:.1f} | {recall} | {row['seconds_a_question']:.2f} |"
    )


if __name__ == "__main__":
    main()
