"""How fast the product is, as ratios taken side by side in one run.

    python -m benchmarks.speed --data FILE --checkpoint DIR [--store DIR] [--out FILE]

The two sides of every ratio take turns, and the ratio is that of their medians, so that other work
on the machine slows both. `--data` is a question-answering set of 2,000 documents or more;
ingesting it takes most of the time, and `--store` keeps it for the next run. Prints one Markdown
table; `--out` writes the same figures as JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.tools import process, synthetic
from benchmarks.tools.questions import store_documents
from maccli.evaluation.evaluation_store import EvaluationStore
from models.base.batching import batch_tokens, length_batches
from models.base.decode import decode_stream
from models.data.files import Example
from models.latent.features import document_ids
from models.latent.memory import LatentMemory
from models.memory import checkpoint
from models.stacks import load_model
from models.weights.resolve import resolve
from store import NewChunk

CHATS = (
    "Explain how rain forms.",
    "List five tips for learning a language.",
    "Write a short letter to a friend about a holiday by the sea.",
)
"""Requests to the base LM, in its chat format, that have long answers."""
SMALL, LARGE = 1_000, 20_000
"""Chunks in the two stores whose peak memory is compared."""
WARM_UP = 8
"""Turns that do not count: in the first ones a plain forward pass takes a fifth longer."""


@dataclass
class Figure:
    """A row of the table: a ratio and its goal."""

    name: str
    ours: str
    rival: str
    ratio: float
    goal: str
    reached: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", default=checkpoint.DEFAULT)
    parser.add_argument("--documents", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="default: torch's own choice")
    parser.add_argument("--store", type=Path, help="keep the stores here and use them again")
    parser.add_argument("--only", action="append", choices=MEASURES, help="default: all")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # of the processes started here
    path = checkpoint.find(arguments.checkpoint)
    memory = load_model(path)
    if not isinstance(memory, LatentMemory):
        raise SystemExit(f"{path} is no checkpoint of the latent stack")
    folder = arguments.store or Path(tempfile.mkdtemp(prefix="mac-speed-"))
    store, examples = store_documents(
        memory, folder / "bank", [arguments.data], questions=12, documents=arguments.documents
    )
    run = Run(memory, store, examples, path, folder, arguments.repeats)
    machine = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    print(f"{machine}, {memory.lm.dtype}, load {os.getloadavg()[0]:.1f}\n")
    print("| measure | ours | compared with | ratio | goal | |\n|---|---|---|---|---|---|")
    figures = []
    for name in arguments.only or MEASURES:
        for figure in MEASURES[name](run):
            figures.append(figure)
            print(
                f"| {figure.name} | {figure.ours} | {figure.rival} | {figure.ratio:.2f} "
                f"| {figure.goal} | {'yes' if figure.reached else 'NO'} |",
                flush=True,
            )
    if arguments.out:
        text = json.dumps({"machine": machine, "figures": list(map(asdict, figures))}, indent=2)
        arguments.out.write_text(text + "\n")


@dataclass
class Run:
    """What every measure needs."""

    memory: LatentMemory
    store: EvaluationStore
    examples: list[Example]
    checkpoint: Path
    folder: Path
    repeats: int


def decode(run: Run) -> Iterator[Figure]:
    """Tokens a second of our decoding over those of transformers' generate, each as it is used.

    Ours has few bits a weight where `mac ask` has, transformers' the weights as they are loaded.
    Two ways to compute the same may round to different tokens: how many agree is printed, too.
    """
    lm, full = run.memory.generating_lm, run.memory.lm
    tokens = 96
    agreed = compared = 0
    pairs: list[tuple[float, float]] = []
    for _ in range(run.repeats):
        for chat in CHATS:
            prompt = run.memory.chat_prompt(chat)
            ids = torch.tensor([prompt], device=full.device)

            def theirs(ids: torch.Tensor = ids) -> list[int]:
                row: list[int] = full.full_model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=False,
                    max_new_tokens=tokens,
                    pad_token_id=full.eos_id,
                    eos_token_id=full.eos_id,
                )[0, ids.shape[1] :].tolist()
                return [token for token in row if token != full.eos_id]

            def ours(prompt: list[int] = prompt) -> list[int]:
                return list(decode_stream(lm, prompt, None, tokens))

            rival, expected = _timed(theirs)
            mine, answer = _timed(ours)
            same = [a == b for a, b in zip(answer, expected, strict=False)]
            agreed += [*same, False].index(False)
            compared += len(expected)
            pairs.append((len(expected) / rival, len(answer) / mine))
    rival, mine = (statistics.median(side) for side in zip(*pairs, strict=True))
    yield Figure(
        f"decoding up to {tokens} tokens, {100 * agreed // compared} % of them the same in a row",
        f"{mine:.1f} tokens/s",
        f"{rival:.1f} tokens/s, generate()",
        mine / rival,
        ">= 2",
        mine >= 2 * rival,
    )


def ingest(run: Run) -> Iterator[Figure]:
    """Tokens a second of amortizing over those of the base LM's bare forward pass."""
    memory, lm = run.memory, run.memory.lm
    store = run.store.store
    texts = [row.text for d in store.documents(limit=64) for row in store.chunks(d.id)]
    ids = document_ids(lm, texts, memory.config.chunk_tokens)
    batches = list(length_batches([len(row) for row in ids], batch_tokens(lm.device)))

    def bare() -> None:
        with torch.inference_mode():
            for batch in batches:
                lm.full_model.base_model(lm.pad([ids[i] for i in batch]), use_cache=False)

    ours, rival = _alternate([lambda: memory.amortize(texts), bare], run.repeats)
    tokens = sum(map(len, ids))
    yield Figure(
        f"ingesting {len(texts)} chunks",
        f"{tokens / ours:.0f} tokens/s",
        f"{tokens / rival:.0f} tokens/s, the base LM's forward pass",
        rival / ours,
        ">= 0.95",
        rival / ours >= 0.95,
    )


def first_token(run: Run) -> Iterator[Figure]:
    """Seconds from question to first token, over those of three texts in the prompt."""
    memory, store = run.memory, run.store
    weights = memory.relevance

    def ours(question: str) -> None:
        best = store.candidates(question, memory.config.documents, "hybrid", weights)
        next(memory.answer(question, store.selected(best)), None)

    def rag(question: str) -> None:
        best = store.candidates(question, 3, "hybrid", weights)
        next(memory.answer_rag(question, store.texts(best)), None)

    sides: list[list[float]] = [[], []]
    for example in run.examples:
        for side, answer in zip(sides, (ours, rag), strict=True):
            side.append(_timed(lambda a=answer, e=example: a(e.question))[0])
    mine, rival = (statistics.median(side[1:]) for side in sides)  # the first warms up
    yield Figure(
        f"first token, {store.store.stats().documents} documents",
        f"{mine:.2f} s, {memory.config.documents} modulations",
        f"{rival:.2f} s, 3 texts in the prompt",
        mine / rival,
        "<= 0.25",
        mine / rival <= 0.25,
    )


def start_up(run: Run) -> Iterator[Figure]:
    """Seconds of whole processes that need no model."""
    store = ["--store", str(run.folder / "bank")]
    for name, command in (("mac --help", ["--help"]), ("mac store ls", ["store", "ls", *store])):
        seconds = statistics.median(_mac(command, run.checkpoint).seconds for _ in range(10))
        yield Figure(name, f"{seconds:.2f} s", "0.4 s", seconds / 0.4, "< 1", seconds < 0.4)


_OURS = """
import sys, torch
from pathlib import Path
from models.base.device import choose_dtype
from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
cpu, (lm, encoder) = torch.device("cpu"), map(Path, sys.argv[1:])
BaseLM.load(lm, device=cpu, dtype=choose_dtype(cpu)), SentenceEncoder.load(encoder, device=cpu)
"""
_THEIRS = """
import sys, torch
from models.base.device import choose_dtype
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
lm, encoder = sys.argv[1:]
AutoModelForCausalLM.from_pretrained(lm, dtype=choose_dtype(torch.device("cpu")))
AutoModel.from_pretrained(encoder), [AutoTokenizer.from_pretrained(each) for each in (lm, encoder)]
"""


def loading(run: Run) -> Iterator[Figure]:
    """Seconds and memory of processes that load both base models, over those by transformers."""
    config = run.memory.config
    folders = [str(resolve(name)) for name in (config.base_lm, config.encoder)]
    seen = [
        [process.run(["-c", code, *folders], {}) for code in (_OURS, _THEIRS)]
        for _ in range(run.repeats + 1)
    ][1:]
    for unit, what, goal in (("s", "seconds", 0.5), ("MB", "megabytes", 0.7)):
        ours, theirs = (
            statistics.median(getattr(each, what) for each in side)
            for side in zip(*seen, strict=True)
        )
        yield Figure(
            "loading both base models",
            f"{ours:.3g} {unit}",
            f"{theirs:.3g} {unit}, transformers",
            ours / theirs,
            f"<= {goal}",
            ours <= goal * theirs,
        )


def peak_memory(run: Run) -> Iterator[Figure]:
    """Peak memory of `mac ask` over a large store, over that over a small one."""
    chunks = stored_chunks(run.store)
    peaks = []
    for size in (SMALL, LARGE):
        folder = run.folder / f"chunks-{size}"
        if not folder.exists():
            synthetic.fill(
                folder,
                moved(chunks, size),
                key_size=run.memory.config.key_size,
                latent_size=run.memory.config.latent_size,
                fingerprint=run.memory.fingerprint,
            )
        # A chunk's own words: relevant enough that mac does not abstain before the LM is loaded.
        command = ["ask", chunks[0].text, "--store", str(folder)]
        peaks.append(_mac(command, run.checkpoint).megabytes)
    small, large = peaks
    yield Figure(
        f"peak memory of mac ask, {LARGE:,} chunks",
        f"{large:.0f} MB",
        f"{small:.0f} MB, {SMALL:,} chunks",
        large / small,
        "0.8-1.2",
        0.8 <= large / small <= 1.2,
    )


MEASURES: dict[str, Callable[[Run], Iterator[Figure]]] = {
    "decode": decode,
    "ingest": ingest,
    "first-token": first_token,
    "start-up": start_up,
    "loading": loading,
    "memory": peak_memory,
}


def stored_chunks(store: EvaluationStore) -> list[NewChunk]:
    """Return the first 500 chunks of a store."""
    ids, keys = next(store.store.keys(500))
    rows = store.store.chunk_rows(ids.tolist())
    stored = (modulation.spread() for modulation in store.store.modulations(ids.tolist()))
    return [
        NewChunk(0, row.start, row.end, row.text, latents, scales, key)
        for row, (latents, scales), key in zip(rows, stored, keys, strict=True)
    ]


def moved(chunks: Sequence[NewChunk], number: int) -> Iterator[NewChunk]:
    """Yield copies of chunks, over and over, with keys moved a little."""
    rng = np.random.default_rng(0)
    for chunk in itertools.islice(itertools.cycle(chunks), number):
        key = chunk.key + rng.normal(0, 0.01, len(chunk.key))
        yield replace(chunk, key=key.astype(np.float16))


def _alternate(sides: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Return the median seconds of each side; they take turns, the first of which warm up."""
    seconds = [[_timed(side)[0] for side in sides] for _ in range(WARM_UP + repeats)][WARM_UP:]
    return [statistics.median(column) for column in zip(*seconds, strict=True)]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def _mac(arguments: Sequence[str], model: Path) -> process.Measured:
    return process.run(["-m", "maccli", *arguments], {"MAC_MODEL": str(model)})


if __name__ == "__main__":
    main()
