"""How many bytes a modulation takes, and how long it takes to decode, coded in different ways.

    python -m benchmarks.compactness --store DIR [--limit 500]

Reads the modulations of any store that was not pruned; nothing is written. Prints one Markdown
table: bytes of a modulation with its scales and header, and microseconds to decode it on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import zstandard

from store import Store
from store.modulations.codec import Codec

Encode = Callable[[np.ndarray, np.ndarray], bytes]
Decode = Callable[[bytes], object]
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=500, help="modulations")
    arguments = parser.parse_args()
    with Store.open(arguments.store) as store:
        blocks = store.keys()  # not a dictionary's
        ids = list(islice((int(i) for ids, _ in blocks for i in ids), arguments.limit))
        stored = [(one.latents, one.scales) for one in store.modulations(ids)]
        codec = store.codec
    print("| | B a modulation | us to decode |\n|---|---|---|")
    for name, (encode, decode) in coders(codec).items():
        blobs = [encode(*arrays) for arrays in stored]
        size = sum(map(len, blobs)) / len(blobs)
        print(f"| {name} | {size:,.0f} | {1e6 * fastest(decode, blobs) / len(blobs):,.0f} |")


def coders(codec: Codec) -> dict[str, tuple[Encode, Decode]]:
    """Return how to encode and decode a modulation, by the name of the way."""

    def by_component(level: int) -> Encode:
        compressor = zstandard.ZstdCompressor(level=level)
        return lambda latents, scales: (
            compressor.compress(latents.T.tobytes()) + scales.tobytes() + bytes(14)
        )

    unpack = zstandard.ZstdDecompressor().decompress
    return {
        "int8, nothing else": (lambda q, s: q.tobytes() + s.tobytes() + bytes(14), len),
        "zstandard, level 3": (by_component(3), unpack),
        "zstandard, level 19": (by_component(19), unpack),
        "constriction (the store's)": (codec.encode, codec.decode),
    }


def fastest(decode: Decode, blobs: list[bytes]) -> float:
    """Return the seconds of the fastest of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for blob in blobs:
            decode(blob)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


if __name__ == "__main__":
    main()
