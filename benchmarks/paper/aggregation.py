"""Peak memory of aggregating a bank: flat, block by block, and hierarchically, by size and M.

    python -m benchmarks.paper.aggregation [--documents 256 --documents 65536] [--groups 4]

The networks are the paper's (4 blocks, 8 heads of 96, T = 12 latents of size 576, random weights),
the bank is drawn block by block, as a store would give it. Every measure is a process of its own;
what the process takes without a bank is subtracted. Prints one Markdown table; `--plot` draws
it, `--out` writes it as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.tools import process

TOKENS, SIZE = 12, 576
BLOCK = 64
"""Documents that are read at once."""
MEASURE = ("-m", "benchmarks.paper.aggregation", "--measure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, action="append", help="size of the bank")
    parser.add_argument("--groups", type=int, action="append", help="M")
    parser.add_argument("--flat-up-to", type=int, default=65536, help="flat up to this size only")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, help="draw the memory into this file")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # a measured process
    arguments = parser.parse_args()
    if arguments.measure:
        aggregate(arguments.measure[0], int(arguments.measure[1]))
        return
    ways = ["flat", "chunked", *map(str, arguments.groups or (4, 16, 64, 256))]
    nothing = process.run([*MEASURE, "flat", "0"]).megabytes
    rows = []
    for documents in arguments.documents or [4**n for n in range(4, 9)]:
        for way in ways:
            if way != "flat" or documents <= arguments.flat_up_to:
                rows.append(measure(way, documents, nothing))
    show(rows)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    if arguments.plot:
        draw(rows, arguments.plot)


def measure(way: str, documents: int, nothing: float) -> dict[str, Any]:
    """Return the figures of one way to aggregate a bank of one size.

    `nothing` is the memory in MB of a process without a bank.
    """
    measured = process.run([*MEASURE, way, str(documents)])
    return {
        "way": way,
        "documents": documents,
        "megabytes": max(0.0, measured.megabytes - nothing),
        "seconds": json.loads(measured.output),
    }


def aggregate(way: str, documents: int) -> None:
    """Aggregate a random bank, and print the seconds that it took."""
    import time

    import torch

    from models.paper.aggregator import Aggregator

    torch.manual_seed(0)
    aggregator = Aggregator(SIZE).requires_grad_(False)
    question = torch.randn(1, TOKENS, SIZE)

    def bank() -> Iterator[torch.Tensor]:
        drawn = torch.Generator().manual_seed(1)
        for start in range(0, documents, BLOCK):
            count = min(BLOCK, documents - start)
            yield torch.randn(count, TOKENS, SIZE, generator=drawn)

    begun = time.perf_counter()
    if documents and way == "flat":
        whole = torch.empty(documents, TOKENS, SIZE)
        for i, block in enumerate(bank()):
            whole[i * BLOCK : i * BLOCK + len(block)] = block
        aggregator(question, whole)
    elif documents and way == "chunked":
        aggregator.chunked(question, bank)
    elif documents:
        aggregator.hierarchical(question, bank(), int(way))
    else:  # what torch and the weights take, the first product included
        aggregator(question, torch.randn(1, TOKENS, SIZE))
    print(time.perf_counter() - begun)


def _label(way: str) -> str:
    return {"flat": "flat", "chunked": "flat, block by block"}.get(way, f"in groups of {way}")


def show(rows: list[dict[str, Any]]) -> None:
    """Print the megabytes in a table: a row for each way, a column for each size of the bank."""
    sizes = sorted({row["documents"] for row in rows})
    megabytes = {(row["way"], row["documents"]): row["megabytes"] for row in rows}
    print("| MB over an empty process | " + " | ".join(f"{n:,} documents" for n in sizes) + " |")
    print("|---|" + "---:|" * len(sizes))
    for way in dict.fromkeys(row["way"] for row in rows):
        cells = [f"{megabytes[way, n]:,.0f}" if (way, n) in megabytes else "" for n in sizes]
        print(f"| {_label(way)} | " + " | ".join(cells) + " |")


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Draw memory over the size of the bank, a line for each way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for way in dict.fromkeys(row["way"] for row in rows):
        of = [row for row in rows if row["way"] == way]
        sizes, memory = [r["documents"] for r in of], [r["megabytes"] for r in of]
        axes.plot(sizes, memory, "o-", label=_label(way))
    axes.set_xscale("log", base=4)
    axes.set_yscale("log")
    axes.set_xlabel("documents in the bank")
    axes.set_ylabel("peak memory, MB")
    axes.legend()
    figure.savefig(picture)


if __name__ == "__main__":
    main()
