"""How the store behaves as it grows: times, peak memory and bytes, without any model.

    python -m benchmarks.scale --articles FILE [--chunks 10000 --chunks 100000] [--folder DIR]

Texts are those of the articles, cut as `mac ingest` cuts them, over and over until there are
enough. Latents have the shape and the spread of real ones, keys lie on the unit sphere. There are
only 512 different modulations, and each is encoded once: "stored a second" is what the store
itself does; the time to encode a modulation stands beside it.

"Selecting" is what depends on the store's size when a question is asked: full-text search, reading
and scoring keys (all, then those that the cache of `mac store index` proposes), reading the
modulations of the best, all on one core. Scoring takes turns with the same work on a plain file of
the same keys; both are measured in processor time, so that the ratio hardly depends on the machine
and what else it does.

Every measure is a process of its own. Prints one Markdown table; `--out` writes it as JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tools import process, synthetic
from models.memory.modulation import quantise
from models.memory.relevance import READ, RelevanceWeights, select
from store import NewChunk, Store
from store.modulations.codec import Codec
from store.near import likely_keys

LATENT_SIZE, KEY_SIZE = 384, 384
POOL = 512
"""Different modulations; more would only cost time to make."""
BLOCK = 4096
"""Keys that are read together from the plain file."""
WEIGHTS = RelevanceWeights(lexical=5.0)
QUESTIONS = (
    "Who won the election in the north of the country?",
    "How many people were hurt when the bridge fell?",
    "Which company bought the maker of electric cars?",
    "What did the minister say about the price of bread?",
    "When will the team play in the final?",
)
COMMANDS = (("ls", "--limit", "20"), ("stats",), ("verify",), ("index",))
MEASURE = ("-m", "benchmarks.scale", "--measure")

Latents = tuple[NDArray[np.int8], NDArray[np.float16]]
Block = tuple[NDArray[np.int64], NDArray[np.float16]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--articles", type=Path, help="JSON lines with `text`, maybe .zst")
    parser.add_argument("--chunks", type=int, action="append")
    parser.add_argument("--folder", type=Path, help="keep the stores here and use them again")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    # A measured process: what it measures, and the store.
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, store = arguments.measure
        print(json.dumps(MEASURES[name](Path(store))))
        return
    if not arguments.articles:
        parser.error("--articles is needed to make texts of")
    with tempfile.TemporaryDirectory(prefix="mac-scale-") as temporary:
        folder = arguments.folder or Path(temporary)
        rows = []
        for chunks in arguments.chunks or (10_000, 100_000, 1_000_000):
            rows.append(measure(folder / f"chunks-{chunks}", arguments.articles, chunks))
            print(json.dumps(rows[-1]), flush=True)
    print("\n| chunks | " + " | ".join(f"{row['chunks']:,}" for row in rows) + " |")
    print("|---|" + "---:|" * len(rows))
    for name in dict.fromkeys(name for row in rows for name in row if name != "chunks"):
        cells = [f"{row[name]:,.4g}" if name in row else "" for row in rows]
        print(f"| {name} | " + " | ".join(cells) + " |")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


def measure(folder: Path, articles: Path, chunks: int) -> dict[str, float]:
    """Return all figures of a store of one size; it is made unless it is there."""
    row: dict[str, float] = {"chunks": chunks}
    if not folder.exists():
        begun = time.perf_counter()
        new = itertools.islice(synthetic_chunks(articles), chunks)
        synthetic.fill(folder, new, key_size=KEY_SIZE, latent_size=LATENT_SIZE)
        row["stored a second"] = chunks / (time.perf_counter() - begun)
        row["encoding a modulation, ms"] = encoding()
    with Store.open(folder) as store:
        stats = store.stats()
    row["bytes a chunk on disk"] = stats.total_bytes / stats.chunks
    row["of these, modulation"] = stats.modulation_bytes / stats.chunks
    row["of these, key"] = stats.key_bytes / stats.chunks
    for name in ("select", "compare"):
        measured = process.run([*MEASURE, name, str(folder)], {"OMP_NUM_THREADS": "1"})
        row |= json.loads(measured.output)
        if name == "select":
            row["peak memory of selecting, MB"] = measured.megabytes
    for command in COMMANDS:
        measured = process.run(["-m", "maccli", "store", *command, "--store", str(folder)])
        row[f"mac store {command[0]}, s"] = measured.seconds
        row[f"peak memory of {command[0]}, MB"] = measured.megabytes
    found = json.loads(
        process.run([*MEASURE, "near", str(folder)], {"OMP_NUM_THREADS": "1"}).output
    )
    return row | {f"with the index: {name}": seconds for name, seconds in found.items()}


def synthetic_chunks(articles: Path) -> Iterator[NewChunk]:
    """Yield chunks without end: texts of articles, drawn keys, one of 512 drawn modulations."""
    rng = np.random.default_rng(0)
    pool = list(itertools.islice(modulations(rng), POOL))
    for text in synthetic.texts(articles):
        key = rng.normal(0, 1, KEY_SIZE)
        key /= np.linalg.norm(key)
        latents, scales = pool[int(rng.integers(POOL))]
        yield NewChunk(0, 0, len(text), text, latents, scales, key.astype(np.float16))


def modulations(rng: np.random.Generator) -> Iterator[Latents]:
    """Draw modulations whose components differ in width as those of the bundled checkpoint do."""
    spread = np.geomspace(4.0, 0.7, LATENT_SIZE)
    while True:
        z = rng.normal(0, 1, (int(rng.integers(30, 61)), LATENT_SIZE)) * spread
        yield quantise(z.astype(np.float32))


def encoding() -> float:
    """Return the median milliseconds in which a modulation becomes bytes."""
    codec = Codec(LATENT_SIZE)
    seconds = []
    for latents, scales in itertools.islice(modulations(np.random.default_rng(2)), 64):
        begun = time.perf_counter()
        codec.encode(latents, scales)
        seconds.append(time.perf_counter() - begun)
    return 1000 * statistics.median(seconds)


def selecting(folder: Path, *, near: bool = False) -> dict[str, float]:
    """Return the median seconds of each step of a question that depends on the store's size.

    Args:
        folder: of the store.
        near: look at the keys that the cache of `mac store index` proposes, not at all.
    """
    steps: dict[str, list[float]] = {name: [] for name in ("search", "scores", "modulations")}
    with Store.open(folder) as store:
        for question, query in zip(QUESTIONS, queries(), strict=True):
            times = [time.perf_counter()]
            lexical = dict(store.search(question, 100))
            times.append(time.perf_counter())
            keys = likely_keys(store, query, READ, lexical) if near else store.keys()
            best = select(query, keys, READ, lexical, weights=WEIGHTS)
            times.append(time.perf_counter())
            store.modulations([candidate.id for candidate in best[:3]])
            times.append(time.perf_counter())
            for step, (begin, end) in zip(steps, itertools.pairwise(times), strict=True):
                steps[step].append(end - begin)
    medians = {name: statistics.median(seconds) for name, seconds in steps.items()}
    of_these = {f"of these, {name}, s": seconds for name, seconds in medians.items()}
    return {"selecting, s": sum(medians.values()), **of_these}


def selecting_near(folder: Path) -> dict[str, float]:
    """Return what `selecting` does, with the cache of near keys."""
    return selecting(folder, near=True)


def comparing(folder: Path) -> dict[str, float]:
    """Return the median seconds of the processor to score all keys, and their ratio.

    Store and plain file take turns, and must give the same chunks.
    """
    ours: list[float] = []
    plain: list[float] = []
    with tempfile.TemporaryDirectory(dir=folder.parent) as name, Store.open(folder) as store:
        files = Path(name, "ids"), Path(name, "keys")
        with files[0].open("wb") as ids_file, files[1].open("wb") as keys_file:
            for ids, keys in store.keys():  # noqa: SIM118 - not a dictionary
                ids.tofile(ids_file)
                keys.tofile(keys_file)
        for query in (queries()[0], *queries()):  # the first turn warms up
            best: list[list[int]] = []
            for seconds, blocks in ((ours, store.keys()), (plain, plain_keys(*files))):
                begun = time.process_time()
                candidates = select(query, blocks, 3, {}, weights=WEIGHTS)
                seconds.append(time.process_time() - begun)
                best.append([candidate.id for candidate in candidates])
            assert best[0] == best[1]
    stored, rival = statistics.median(ours[1:]), statistics.median(plain[1:])
    return {
        "processor time of scores, s": stored,
        "from a plain file, s": rival,
        "ratio of the two": stored / rival,
    }


def plain_keys(ids_file: Path, keys_file: Path) -> Iterator[Block]:
    """Read the keys of a plain file in blocks: ids int64 [n] and keys float16 [n, E]."""
    with ids_file.open("rb") as ids, keys_file.open("rb") as keys:
        while len(numbers := np.fromfile(ids, np.int64, BLOCK)):
            yield numbers, np.fromfile(keys, np.float16, BLOCK * KEY_SIZE).reshape(-1, KEY_SIZE)


def queries() -> list[NDArray[np.float32]]:
    """Draw a query float32 [E] for each question."""
    rng = np.random.default_rng(1)
    return [rng.normal(0, 1, KEY_SIZE).astype(np.float32) for _ in QUESTIONS]


MEASURES = {"select": selecting, "compare": comparing, "near": selecting_near}


if __name__ == "__main__":
    main()
