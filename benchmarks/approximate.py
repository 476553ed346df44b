"""What approximate search finds of what exact search finds, and in what time.

    python -m benchmarks.approximate --articles FILE --questions FILE --folder DIR
        [--keys 100000 --keys 1000000]

Some of the keys are the shipped encoder's, of chunks of the articles; the others are made of three
of those each, one plus half the difference of two others, so that they lie where real ones do.
(Keys drawn at random have no near ones among them, and no index finds any.) The queries are those
of real questions. Recall at k: how many of the k chunks with the largest product of query and key
are among what the index proposes for one answer. The encoded texts, the key file and the index stay
in the folder. Prints a line of JSON for each size.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from benchmarks import process
from models.memory.relevance import LOOKS, RelevanceWeights, select
from store import graph
from store.graph import Graph, Origin
from store.keys import Behind, KeyFile

SIZE = 384
BLOCK = 16384
CUTS = (1, 3, 10)
TIMED = 5
STORE_ID = bytes(range(16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--articles", type=Path, help="JSON lines with `text`, maybe .zst")
    parser.add_argument("--questions", type=Path, help="JSON lines with `question`, maybe .zst")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--encoded", type=int, default=8000, help="real keys among them")
    parser.add_argument("--asked", type=int, default=200)
    parser.add_argument("--keys", type=int, action="append")
    parser.add_argument("--measure", choices=["exact", "approximate"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "queries.npy").exists():
        if not (arguments.articles and arguments.questions):
            parser.error("--articles and --questions are needed to make keys and queries of")
        encode(folder, arguments.articles, arguments.questions, arguments.encoded)
    queries = np.load(folder / "queries.npy")[: arguments.asked]
    for number in arguments.keys or (100_000, 1_000_000):
        place = folder / f"{number}"
        place.mkdir(exist_ok=True)
        if arguments.measure:
            print(json.dumps(measured(place, queries, exact=arguments.measure == "exact")))
            return
        row = {"keys": number, **prepare(place, number)}
        for how in ("exact", "approximate"):
            options = ["--asked", str(len(queries)), "--keys", str(number), "--measure", how]
            module = ["-m", "benchmarks.approximate", "--folder", str(folder), *options]
            said, _, peak = process.run(module)
            row |= json.loads(said) | {f"{how}, peak MB": round(peak)}
        exact, near = np.load(place / "exact.npy"), np.load(place / "near.npy")
        for k in CUTS:
            hits = [np.isin(e[:k], n).mean() for e, n in zip(exact, near, strict=True)]
            row[f"recall at {k}"] = round(float(np.mean(hits)), 4)
        print(json.dumps(row), flush=True)


def encode(folder: Path, articles: Path, questions: Path, number: int) -> None:
    """Real keys float16 [number, E] and queries float32 [n, E]."""
    from models.memory import checkpoint
    from models.stacks import load_model
    from models.text.chunking import split

    memory = load_model(checkpoint.find(checkpoint.DEFAULT))
    words = [
        chunk.text
        for line in _lines(articles)
        for chunk in split(line["text"], lambda texts: [len(t.split()) for t in texts], 32)
    ]
    rng = np.random.default_rng(0)
    texts = [words[i] for i in rng.permutation(len(words))[:number]]
    np.save(folder / "keys.npy", memory.encoder.encode(texts).cpu().numpy().astype(np.float16))
    asked = [line["question"] for line in _lines(questions)]
    chosen = [asked[i] for i in rng.permutation(len(asked))[:1000]]
    np.save(folder / "queries.npy", np.stack([memory.encode_question(text) for text in chosen]))


def prepare(place: Path, number: int) -> dict[str, float]:
    """Write the key file and the graph, if they are not there; how long the graph took."""
    file = KeyFile(place / "keys.bin", SIZE, 1, STORE_ID)
    if (place / "graph.bin").exists():
        return {}
    file.create()
    rows, tail = file.append(0, 0, made(place.parent, number))
    (place / "end.json").write_text(json.dumps([rows, tail]))
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    begun, cpu = time.perf_counter(), time.process_time()
    index = graph.make(SIZE, file.blocks(rows, tail, 4096), threads=threads)
    graph.write(place / "graph.bin", index, Origin(SIZE, 1, STORE_ID, Behind(rows, tail, rows)))
    return {
        "indexed in, s": round(time.perf_counter() - begun, 1),
        "of the processor, s": round(time.process_time() - cpu, 1),
        "bytes a key": round((place / "graph.bin").stat().st_size / number),
    }


def made(folder: Path, number: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """The keys, block by block."""
    real = np.load(folder / "keys.npy").astype(np.float32)
    rng = np.random.default_rng(1)
    for start in range(0, number, BLOCK):
        size = min(BLOCK, number - start)
        one, two, three = rng.integers(0, len(real), (3, size))
        keys = real[one] + 0.5 * (real[two] - real[three])
        given = real[start : start + size]
        keys[: len(given)] = given
        keys /= np.linalg.norm(keys, axis=1, keepdims=True)
        yield np.arange(start + 1, start + size + 1), keys.astype(np.float16)


def measured(place: Path, queries: NDArray[np.float32], *, exact: bool) -> dict[str, float]:
    """Find what belongs to every question; median seconds of wall clock and processor for one.

    Exactly, only `TIMED` of them are asked one by one; for all, the keys are read once.
    """
    rows, tail = json.loads((place / "end.json").read_text())
    file = KeyFile(place / "keys.bin", SIZE, 1, STORE_ID)
    index = Graph(place / "graph.bin")
    if exact:
        np.save(place / "exact.npy", nearest(file.blocks(rows, tail, BLOCK), queries))
    found, wall, cpu = [], [], []
    for query in queries[:TIMED] if exact else queries:
        begun, busy = time.perf_counter(), time.process_time()
        if exact:
            blocks = file.blocks(rows, tail, BLOCK)
            select(query, blocks, max(CUTS), {}, weights=RelevanceWeights())
        else:
            # What mac ask wants: four times as many as get a second look, or as many for k = 10.
            found.append(index.nearest(query, 4 * max(LOOKS, max(CUTS))).tolist())
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - busy)
    if not exact:
        np.save(place / "near.npy", np.array(found))
    name = "exact" if exact else "approximate"
    return {
        f"{name}, s": round(float(np.median(wall)), 5),
        f"{name}, s of the processor": round(float(np.median(cpu)), 5),
        f"{name}, first question, s": round(wall[0], 5),
    }


def nearest(
    blocks: Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]], queries: NDArray[np.float32]
) -> NDArray[np.int64]:
    """The ids of the keys with the largest product with each query, the largest first."""
    k = max(CUTS)
    ids, scores = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    for numbers, keys in blocks:
        scores = np.concatenate((scores, queries @ keys.astype(np.float32).T), axis=1)
        ids = np.concatenate((ids, np.broadcast_to(numbers, (len(queries), len(numbers)))), axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        ids, scores = np.take_along_axis(ids, best, 1), np.take_along_axis(scores, best, 1)
    return ids


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with zstandard.open(path, "rt") if path.suffix == ".zst" else path.open() as lines:
        for line in lines:
            yield json.loads(line)


if __name__ == "__main__":
    main()
