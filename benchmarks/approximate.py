"""What approximate search finds of what exact search finds, and in what time.

    python -m benchmarks.approximate --articles FILE --questions FILE --folder DIR
        [--keys 100000 --keys 1000000]

Some of the keys are the bundled encoder's, of pieces of the articles; the others are made of three
of those each, one plus half the difference of two others, so that they lie where real ones do.
(Keys drawn at random have no near ones among them, and no index finds any.) The queries are those
of real questions. Recall at k: the share of the k chunks with the largest product of query and key
that the cache of near keys proposes for one answer. The encoded texts and the stores stay in the
folder. Prints a line of JSON for each size.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tools import process, synthetic
from models.data import files as data
from models.memory.modulation import quantise
from models.memory.relevance import LOOKS, RelevanceWeights, select
from store import NewChunk, Store
from store.near import build, near_keys

SIZE = 384
BLOCK = 16384
CUTS = (1, 3, 10)
PROPOSED = 4 * max(LOOKS, *CUTS)
"""Chunks that are proposed for an answer of up to 10."""
TIMED = 5
"""Questions whose exact search is timed; each reads all keys."""
MEASURE = ("-m", "benchmarks.approximate", "--measure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--articles", type=Path, help="JSON lines with `text`, maybe .zst")
    parser.add_argument("--questions", type=Path, help="questions with documents, maybe .zst")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--encoded", type=int, default=8000, help="real keys among them")
    parser.add_argument("--asked", type=int, default=200, help="questions")
    parser.add_argument("--keys", type=int, action="append")
    parser.add_argument("--measure", choices=["exact", "near"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "queries.npy").exists():
        if not (arguments.articles and arguments.questions):
            parser.error("--articles and --questions are needed to make keys and queries of")
        encode(folder, arguments.articles, arguments.questions, arguments.encoded)
    queries = np.load(folder / "queries.npy")[: arguments.asked]
    for number in arguments.keys or (100_000, 1_000_000):
        place = folder / f"keys-{number}"
        if arguments.measure:
            print(json.dumps({"exact": exact, "near": near}[arguments.measure](place, queries)))
            return
        row: dict[str, float] = {"keys": number, **prepare(place, number)}
        for search in ("exact", "near"):
            options = [f"--folder={folder}", f"--asked={len(queries)}", f"--keys={number}"]
            measured = process.run([*MEASURE, search, *options])
            row |= json.loads(measured.output)
            row[f"{search}, peak MB"] = round(measured.megabytes)
        best, proposed = np.load(f"{place}-exact.npy"), np.load(f"{place}-near.npy")
        for k in CUTS:
            hits = [np.isin(e[:k], p).mean() for e, p in zip(best, proposed, strict=True)]
            row[f"recall at {k}"] = round(float(np.mean(hits)), 4)
        print(json.dumps(row), flush=True)


def encode(folder: Path, articles: Path, questions: Path, number: int) -> None:
    """Write real keys, float16 [number, E], and queries, float32 [n, E], into a folder."""
    from models.memory import checkpoint
    from models.stacks import load_model

    model = load_model(checkpoint.find(checkpoint.DEFAULT))
    rng = np.random.default_rng(0)
    pieces = list(synthetic.texts(articles, turns=1))
    texts = [pieces[i] for i in rng.permutation(len(pieces))[:number]]
    keys = model.encoder.encode_documents(texts).cpu().numpy().astype(np.float16)
    np.save(folder / "keys.npy", keys)
    all_questions = [example.question for example in data.read(questions)]
    drawn = [all_questions[i] for i in rng.permutation(len(all_questions))[:1000]]
    np.save(folder / "queries.npy", np.stack([model.encode_question(text) for text in drawn]))


def prepare(folder: Path, number: int) -> dict[str, float]:
    """Make the store and its cache, unless they are there; return what the cache took."""
    if folder.exists():
        return {}
    synthetic.fill(folder, chunks(folder.parent, number), key_size=SIZE, latent_size=1)
    with Store.open(folder) as store:
        begun, cpu = time.perf_counter(), time.process_time()
        indexed = build(store)
        return {
            "indexed in, s": round(time.perf_counter() - begun, 1),
            "of the processor, s": round(time.process_time() - cpu, 1),
            "bytes a key": round(indexed.bytes / indexed.keys),
        }


def chunks(folder: Path, number: int) -> Iterator[NewChunk]:
    """Yield chunks with keys like the real ones in a folder, and hardly any modulation."""
    real = np.load(folder / "keys.npy").astype(np.float32)
    rng = np.random.default_rng(1)
    empty = quantise(np.zeros((1, 1), np.float32))
    for start in range(0, number, BLOCK):
        size = min(BLOCK, number - start)
        first, second, third = rng.integers(0, len(real), (3, size))
        keys = real[first] + 0.5 * (real[second] - real[third])
        given = real[start : start + size]
        keys[: len(given)] = given
        keys /= np.linalg.norm(keys, axis=1, keepdims=True)
        for key in keys.astype(np.float16):
            yield NewChunk(0, 0, 4, "text", *empty, key)


def exact(folder: Path, queries: NDArray[np.float32]) -> dict[str, float]:
    """Find the best for every query in one pass over all keys; then time a few queries alone."""
    wall, cpu = [], []
    with Store.open(folder) as store:
        np.save(f"{folder}-exact.npy", nearest(store.keys(BLOCK), queries))
        for query in queries[:TIMED]:
            begun, busy = time.perf_counter(), time.process_time()
            select(query, store.keys(), max(CUTS), {}, weights=RelevanceWeights())
            wall.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - busy)
    return _seconds("exact", wall, cpu)


def near(folder: Path, queries: NDArray[np.float32]) -> dict[str, float]:
    """Let the cache propose keys for every query, and select among them."""
    proposed, wall, cpu = [], [], []
    with Store.open(folder) as store:
        for query in queries:
            begun, busy = time.perf_counter(), time.process_time()
            keys = near_keys(store, query, PROPOSED)
            if keys is None:
                raise SystemExit(f"{folder} has no usable cache: delete it, and run this again")
            blocks = list(keys)
            select(query, blocks, max(CUTS), {}, weights=RelevanceWeights())
            wall.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - busy)
            ids = itertools.chain.from_iterable(ids.tolist() for ids, _ in blocks)
            proposed.append(list(itertools.islice(ids, PROPOSED)))
    np.save(f"{folder}-near.npy", np.array(proposed))
    return _seconds("near", wall, cpu)


def _seconds(name: str, wall: list[float], cpu: list[float]) -> dict[str, float]:
    return {
        f"{name}, s": round(statistics.median(wall), 5),
        f"{name}, s of the processor": round(statistics.median(cpu), 5),
        f"{name}, first question, s": round(wall[0], 5),
    }


def nearest(
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float16]]], queries: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the ids of the keys with the largest product with each query, the largest first."""
    k = max(CUTS)
    ids, scores = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    for numbers, keys in blocks:
        scores = np.concatenate((scores, queries @ keys.astype(np.float32).T), axis=1)
        ids = np.concatenate((ids, np.broadcast_to(numbers, (len(queries), len(numbers)))), axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        ids, scores = np.take_along_axis(ids, best, 1), np.take_along_axis(scores, best, 1)
    return ids


if __name__ == "__main__":
    main()
