"""How many bytes a token's latents take, coded in different ways.

    python -m benchmarks.compactness --store DIR [--step 0.5] [--tokens 45]

Reads a copy of the modulations of any store; nothing is written. With `--step` they are quantised
again with steps of so many root mean squares of a token (those of a store made with wider steps
cannot be made finer). `--tokens` takes so many tokens of each modulation: a short one shows what
tables and headers cost. Prints one Markdown table: bytes a token for the latents, and bytes of a
modulation of so many tokens with its key, scales and header. Every other modulation is
measured; the dictionary is trained on the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zstandard

from store import Store, entropy
from store.codec import Codec
from store.rounding import quantise

Latents = np.ndarray[tuple[int, int], np.dtype[np.int8]]
GROUP = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--step", type=float, action="append", help="default: as they are stored")
    parser.add_argument("--tokens", type=int, default=45)
    parser.add_argument("--limit", type=int, default=400, help="modulations")
    arguments = parser.parse_args()
    with Store.open(arguments.store) as store:
        blocks = [block for block, _ in store.keys()]  # noqa: SIM118 - no dictionary
        ids = np.concatenate(blocks)[: arguments.limit]
        stored = store.modulations(ids.tolist())
        key = np.zeros(store.key_size, np.float16)
    stored = [(q[: arguments.tokens], s[: arguments.tokens]) for q, s in stored]
    stored = [(q, s) for q, s in stored if len(q) == arguments.tokens]
    if len(stored) < 2:
        parser.error(f"the store has too few modulations of {arguments.tokens} tokens")
    for step in arguments.step or [None]:
        made = [
            q if step is None else quantise(q.astype(np.float32) * s[:, None], step)[0]
            for q, s in stored
        ]
        steps = "as stored" if step is None else step
        print(f"\nsteps {steps}, {len(made[::2])} modulations of {arguments.tokens} tokens\n")
        print("| | latents, B a token | modulation with key, B |\n|---|---|---|")
        fixed = len(Codec(made[0].shape[1], len(key)).encode(made[0], stored[0][1], key))
        fixed -= len(coded(made[0]))
        for name, encode in variants(made[1::2]).items():
            size = float(np.mean([encode(latents) for latents in made[::2]]))
            print(f"| {name} | {size / arguments.tokens:.1f} | {size + fixed:,.0f} |", flush=True)


def variants(others: list[Latents]) -> dict[str, Callable[[Latents], float]]:
    """By name, what says how many bytes the latents int8 [T, R] of a modulation take."""
    plain = zstandard.ZstdCompressor(level=3)
    high = zstandard.ZstdCompressor(level=19)
    samples = [latents.tobytes() for latents in others]
    dictionary = zstandard.train_dictionary(100_000, samples)
    trained = zstandard.ZstdCompressor(level=3, dict_data=dictionary)
    mean = np.rint(np.concatenate(others).mean(0)).astype(int)
    every = np.concatenate(others).astype(int)
    least = sum(_entropy(every[:, c : c + GROUP]) for c in range(0, every.shape[1], GROUP)) / 8
    return {
        "int8, nothing else": lambda q: q.size,
        "zstandard (version 1)": lambda q: len(plain.compress(q.tobytes())),
        "zstandard, level 19": lambda q: len(high.compress(q.tobytes())),
        "with a dictionary of 100 kB": lambda q: len(trained.compress(q.tobytes())),
        "component by component": lambda q: len(plain.compress(q.T.tobytes())),
        "that, centred": lambda q: len(plain.compress((q - mean).astype(np.int8).T.tobytes())),
        "two numbers a byte where they fit": lambda q: len(_blocks(nibbles(q))),
        "entropy coded by component (version 2)": lambda q: len(coded(q)),
        "entropy of groups of 16 components": lambda q: least * len(q) / len(every),
    }


def coded(latents: Latents) -> bytes:
    """As the codec writes latents."""
    groups = np.full(-(-latents.shape[1] // GROUP), GROUP * len(latents))
    groups[-1] -= groups.sum() - latents.size
    return entropy.encode(np.ascontiguousarray(latents.T).ravel(), groups)


def nibbles(latents: Latents) -> list[bytes]:
    """Component by component in groups of 96, two numbers a byte in groups that allow it."""
    pieces = []
    for start in range(0, latents.shape[1], 96):
        group = latents[:, start : start + 96].T.ravel()
        if group.min() < -8 or group.max() > 7:
            pieces.append(group.tobytes())
            continue
        low = np.resize(group, len(group) + len(group) % 2).astype(np.uint8) & 15
        pieces.append((low[::2] | low[1::2] << 4).tobytes())
    return pieces


def _blocks(pieces: list[bytes]) -> bytes:
    """A zstandard frame with a block, so a Huffman table, for each piece."""
    frame = zstandard.ZstdCompressor(level=3).compressobj(size=sum(map(len, pieces)))
    end = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return b"".join(frame.compress(p) + frame.flush(end) for p in pieces) + frame.flush()


def _entropy(numbers: np.ndarray[tuple[int, ...], np.dtype[np.int_]]) -> float:
    """Bits of all the numbers if each is coded by how frequent its value is."""
    counts = np.bincount(numbers.ravel() + 128)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


if __name__ == "__main__":
    main()
