"""What hierarchical aggregation saves and costs: M against peak memory and F1 of a checkpoint.

    python -m benchmarks.paper.hierarchy --checkpoint DIR --data FILE [--split dev] [--plot FILE]

The bank is the first documents of the file, amortized once; every question reads all of it: at once
(flat), block by block (the same result), and in groups of M. Memory is that of the aggregation
alone, in a process of its own for each way, over what it takes to aggregate one document; on CUDA
that of the device. Prints one Markdown table; `--plot` draws it, `--out` writes it as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tools import process

WAYS = ("flat", "chunked")
BLOCK = 64
"""Documents that are read at once."""
NOTHING = "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="of the paper's stack")
    parser.add_argument("--data", type=Path, help="questions with documents")
    parser.add_argument("--split", help="of the data; the whole file without")
    parser.add_argument("--groups", type=int, action="append", help="M; several times")
    parser.add_argument("--documents", type=int, default=1024, help="documents in the bank")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, help="draw the figures into this file")
    # A measured process: what it does, and the folder it reads and writes.
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        way, folder = arguments.measure
        print(json.dumps(aggregate(arguments.checkpoint, way, Path(folder), arguments.device)))
        return
    if arguments.data is None:
        parser.error("--data is needed")
    rows = compare(arguments)
    show(rows)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    if arguments.plot:
        draw(rows, arguments.plot)


def compare(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the figures of every way to aggregate the same bank."""
    import torch

    from benchmarks.tools import answers
    from models.data import files as data
    from models.paper.memory import PaperMemory
    from models.paper.reading import collate
    from models.stacks import load_model

    memory = load_model(arguments.checkpoint, device=arguments.device)
    if not isinstance(memory, PaperMemory):
        raise SystemExit(f"{arguments.checkpoint} is no checkpoint of the paper's stack")
    examples = data.read(arguments.data, arguments.split)
    chosen = answers.first_examples(examples, arguments.documents, arguments.questions)
    texts = answers.texts_of(examples, memory, arguments.documents)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "bank.npy", np.stack([m.dequantised() for m in memory.amortize(texts)]))
        with torch.no_grad():
            rows_read = memory.reader.read([example.question for example in chosen])
            questions = memory.stack.question(collate(rows_read))
        np.save(folder / "questions.npy", questions.cpu().numpy())
        command = ["-m", "benchmarks.paper.hierarchy", "--checkpoint", str(arguments.checkpoint)]
        command += ["--device", arguments.device, "--measure"]
        nothing = json.loads(process.run([*command, NOTHING, name]).output.splitlines()[-1])
        for way in (*WAYS, *map(str, arguments.groups or (4, 16, 64, 256))):
            figures = json.loads(process.run([*command, way, name]).output.splitlines()[-1])
            merged = torch.from_numpy(np.load(folder / f"{way}.npy")).to(memory.lm.device)
            rows.append(
                {
                    "way": way,
                    "documents": len(texts),
                    "megabytes": max(0, figures["octets"] - nothing["octets"]) / 2**20,
                    "seconds_a_question": figures["seconds"] / len(chosen),
                    "f1": answers.mean_f1(memory, chosen, merged),
                }
            )
    return rows


def aggregate(path: Path, way: str, folder: Path, device_name: str) -> dict[str, float]:
    """Aggregate the bank in a folder for each of its questions, and save the result there."""
    import torch

    from maccli.evaluation.peak_memory import peak_memory
    from models.base.device import choose_device
    from models.paper.stack import PaperStack
    from models.stacks import load_stack

    device = choose_device(device_name)
    stack = load_stack(path)
    assert isinstance(stack, PaperStack)
    aggregator = stack.aggregator.to(device).requires_grad_(False)
    stored = np.load(folder / "bank.npy", mmap_mode="r")
    questions = torch.from_numpy(np.load(folder / "questions.npy")).to(device)

    def bank() -> Iterator[torch.Tensor]:
        for start in range(0, len(stored), BLOCK):
            yield torch.from_numpy(np.array(stored[start : start + BLOCK])).to(device)

    def aggregated(question: torch.Tensor) -> torch.Tensor:
        if way == "flat":
            whole: torch.Tensor = aggregator(
                question, torch.from_numpy(np.array(stored)).to(device)
            )
            return whole
        if way == "chunked":
            return aggregator.chunked(question, bank)
        return aggregator.hierarchical(question, bank(), int(way))

    aggregator(questions[:1], torch.zeros_like(questions[:1]))  # warms up
    begun = time.perf_counter()
    with peak_memory(device.type == "cuda") as measured:
        if way == NOTHING:
            aggregator(questions[:1], torch.from_numpy(np.array(stored[:1])).to(device))
        else:
            merged = torch.cat([aggregated(question[None]) for question in questions])
            np.save(folder / f"{way}.npy", merged.cpu().numpy())
    octets = measured.device if measured.device is not None else measured.process
    return {"octets": octets, "seconds": time.perf_counter() - begun}


def _label(way: str) -> str:
    return {"flat": "flat", "chunked": "flat, block by block"}.get(way, f"M = {way}")


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table with a row for each way."""
    print(f"| {rows[0]['documents']:,} documents | MB | s a question | F1 |")
    print("|---|---:|---:|---:|")
    for row in rows:
        print(
            f"| {_label(row['way'])} | {row['megabytes']:,.1f} "
            f"| {row['seconds_a_question']:.3f} | {row['f1']:.1f} |"
        )


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Draw F1 over memory, a point for each way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        axes.plot(max(row["megabytes"], 0.1), row["f1"], "o", color="tab:blue")
        axes.annotate(f" {_label(row['way'])}", (max(row["megabytes"], 0.1), row["f1"]))
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("peak memory of aggregation, MB")
    axes.set_ylabel("F1")
    figure.savefig(picture)


if __name__ == "__main__":
    main()
