"""How the store behaves as the bank grows: times, peak memory and bytes, without the base LM.

    python -m benchmarks.scale --articles FILE [--chunks 10000 --chunks 100000] [--folder DIR]
        [--approximate]

Texts are those of the articles, cut as `mac ingest` cuts them, over and over until there are
enough; latents have a modulation's shape and the spread of real ones, keys lie on the unit sphere.
There are only 512 different latents, and each is entropy-coded once: "stored a second" is what the
store itself does, and the coder's time stands beside it.
`--approximate` also makes the store's index and searches by it; what that finds among these keys
says nothing (see benchmarks/approximate.py), what it costs does.
Every measure is a process of its own. Prints one Markdown table; `--out` writes it as JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
import unittest.mock
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from benchmarks import process
from models.memory.modulation import quantise
from models.memory.relevance import RelevanceWeights, select
from models.text.chunking import split
from store import NewChunk, Store, entropy
from store.codec import Codec

LATENT_SIZE, KEY_SIZE = 384, 384
CHUNK_WORDS = 32
"""A chunk's length: about the 45 tokens of a news snippet."""
DOCUMENT_CHUNKS = 50
POOL = 512
"""Different modulations; more would only cost time to make."""
QUESTIONS = (
    "Who won the election in the north of the country?",
    "How many people were hurt when the bridge fell?",
    "Which company bought the maker of electric cars?",
    "What did the minister say about the price of bread?",
    "When will the team play in the final?",
)
COMMANDS = {
    "store ls": ["store", "ls", "--limit", "20"],
    "store stats": ["store", "stats"],
    "store verify": ["store", "verify"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--articles", type=Path, help="JSON lines with `text`, maybe .zst")
    parser.add_argument("--chunks", type=int, action="append")
    parser.add_argument("--folder", type=Path, help="keep the stores here and use them again")
    parser.add_argument("--approximate", action="store_true", help="make and use an index, too")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)  # a measured process
    arguments = parser.parse_args()
    if arguments.ask:
        print(json.dumps(aggregate(arguments.ask)))
        return
    if not arguments.articles:
        parser.error("--articles is needed to make texts of")
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="mac-scale-"))
    rows = []
    for chunks in arguments.chunks or (10_000, 100_000, 1_000_000):
        place = folder / f"chunks-{chunks}"
        row = measure(place, arguments.articles, chunks, approximate=arguments.approximate)
        rows.append(row)
        print(json.dumps(row), flush=True)
    print("\n| | " + " | ".join(f"{row['chunks']:,}" for row in rows) + " |")
    print("|---|" + "---|" * len(rows))
    for name in rows[0]:
        if name != "chunks":
            print(f"| {name} | " + " | ".join(f"{row[name]:,.4g}" for row in rows) + " |")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


def measure(
    folder: Path, articles: Path, chunks: int, *, approximate: bool = False
) -> dict[str, float]:
    """All figures of one size."""
    row: dict[str, float] = {"chunks": chunks}
    begun = time.perf_counter()
    if fill(folder, articles, chunks):
        row["stored a second"] = chunks / (time.perf_counter() - begun)
        row["to encode one, ms"] = encoding()
    if approximate:
        indexed = process.run(["-m", "maccli", "store", "index", "--store", str(folder)])
        row["mac store index, s"] = indexed.seconds
        row["peak MB of that"] = indexed.megabytes
    with Store.open(folder) as store:
        stats = store.stats()
    if stats.graph_bytes:
        row["bytes a chunk of the index"] = stats.graph_bytes / stats.chunks
    row["bytes a chunk on disk"] = stats.total_bytes / stats.chunks
    row["of it modulation"] = stats.modulation_bytes / stats.chunks
    said, _, peak = process.run(["-m", "benchmarks.scale", "--ask", str(folder)])
    row.update(json.loads(said))
    row["peak MB of it"] = peak
    for name, command in COMMANDS.items():
        measured = process.run(["-m", "maccli", *command, "--store", str(folder)])
        row[f"mac {name}, s"] = measured.seconds
    return row


def encoding() -> float:
    """Median milliseconds in which a modulation becomes bytes, outside of the store."""
    codec, key = Codec(LATENT_SIZE, KEY_SIZE), np.zeros(KEY_SIZE, np.float16)
    seconds = []
    for latents, scales in itertools.islice(_modulations(np.random.default_rng(2)), 64):
        begun = time.perf_counter()
        codec.encode(latents, scales, key)
        seconds.append(time.perf_counter() - begun)
    return 1000 * float(np.median(seconds))


def aggregate(folder: Path) -> dict[str, float]:
    """Median seconds of the parts of `mac ask` that depend on the bank's size."""
    rng = np.random.default_rng(1)
    seconds: dict[str, list[float]] = {"search, s": [], "relevance, s": [], "reading, s": []}
    near: list[float] = []
    with Store.open(folder) as store:
        for question in QUESTIONS:
            query = rng.normal(0, 1, KEY_SIZE).astype(np.float32)
            times = [time.perf_counter()]
            lexical = dict(store.search(question, 100))
            times.append(time.perf_counter())
            found = select(query, store.keys(), 3, lexical, weights=RelevanceWeights(5.0))
            times.append(time.perf_counter())
            store.modulations([c.id for c in found])
            times.append(time.perf_counter())
            if store.indexed():
                times.append(time.perf_counter())
                blocks = store.near_keys(query, 16, lexical)
                select(query, blocks, 3, lexical, weights=RelevanceWeights(5.0))
                near.append(time.perf_counter() - times.pop())
            for part, begin, end in zip(seconds.values(), times, times[1:], strict=False):
                part.append(end - begin)
    medians = {name: float(np.median(part)) for name, part in seconds.items()}
    if near:
        medians["relevance by the index, s"] = float(np.median(near))
    exact = sum(medians[name] for name in seconds)
    return {"ask's aggregation, s": exact, **medians}


@contextmanager
def remembering() -> Iterator[None]:
    """Entropy-code what is the same only once."""
    encode, known = entropy.encode, dict[bytes, bytes]()

    def remembered(values: NDArray[np.int8], sizes: NDArray[np.int64]) -> bytes:
        key = values.tobytes()
        if key not in known:
            known[key] = encode(values, sizes)
        return known[key]

    with unittest.mock.patch.object(entropy, "encode", remembered):
        yield


@remembering()
def fill(folder: Path, articles: Path, chunks: int) -> bool:
    """Make the store, or fill it up; whether there was anything to do."""
    rng = np.random.default_rng(0)
    with Store.open(
        folder,
        fingerprint="scale",
        model="benchmark",
        key_size=KEY_SIZE,
        latent_size=LATENT_SIZE,
        create=True,
    ) as store:
        first = store.stats().chunks
        if first >= chunks:
            return False
        pool = list(_modulations(rng))
        texts = itertools.islice(_texts(articles), first, None)
        for start in range(first, chunks, DOCUMENT_CHUNKS):
            keys = rng.normal(0, 1, (DOCUMENT_CHUNKS, KEY_SIZE))
            keys /= np.linalg.norm(keys, axis=1, keepdims=True)
            made = []
            for key, text in zip(keys.astype(np.float16), texts, strict=False):
                latents, scales = pool[int(rng.integers(POOL))]
                made.append(NewChunk(0, len(text), text, latents, scales, key))
                if start + len(made) == chunks:
                    break
            store.put(f"made-{start}", content_hash=str(start), chunking="scale", chunks=made)
    return True


def _modulations(rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    """Quantised latents: components fall off as those of the shipped checkpoint do."""
    spread = np.geomspace(4.0, 0.7, LATENT_SIZE)
    for _ in range(POOL):
        tokens = int(rng.integers(30, 61))
        z = rng.normal(0, 1, (tokens, LATENT_SIZE)) * spread
        yield quantise(z.astype(np.float32))


def _texts(articles: Path) -> Iterator[str]:
    """Chunks of the articles, for ever; each round differs in a number."""
    for turn in itertools.count():
        with _open(articles) as lines:
            for line in lines:
                text = json.loads(line)["text"]
                for chunk in split(text, lambda ts: [len(t.split()) for t in ts], CHUNK_WORDS):
                    yield f"{chunk.text} ({turn})" if turn else chunk.text


def _open(path: Path) -> Any:
    return zstandard.open(path, "rt") if path.suffix == ".zst" else path.open()


if __name__ == "__main__":
    main()
