"""What backpropagation dropout saves and costs: p against the memory of a step and F1.

    python -m benchmarks.paper.backprop_dropout --data FILE --dev FILE [--steps 60] [--plot FILE]

Trains the paper's stack for so many steps with each p, every time in a process of its own and from
the same start, and measures

- kept: what the forward pass keeps for the backward pass besides weights, the mean of all steps;
- peak: the most memory of the process (on CUDA: of the device) during the second step, weights and
  optimiser included;
- F1 on the dev questions, each reading a memory bank of all dev documents.

Prints one Markdown table; `--plot` draws it, `--out` writes it as JSON. The base model, by
default the pinned one, may be any folder; `--amortizer` is `t5`, a tiny one with random weights
unless a model is named, or `encoder`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.tools import process

RATIOS = (0.0, 0.25, 0.5, 0.75, 0.9)
TINY_T5 = {
    "model_type": "t5",
    **{"d_model": 128, "d_kv": 32, "d_ff": 256, "num_heads": 4},
    **{"num_layers": 2, "num_decoder_layers": 2, "decoder_start_token_id": 0},
}
"""A T5 that reads the base LM's tokens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="questions to learn from")
    parser.add_argument("--dev", type=Path, required=True, help="questions that F1 is measured on")
    parser.add_argument("--p", type=float, action="append", help="a ratio; several times")
    parser.add_argument("--base", help="the base model")
    parser.add_argument("--encoder", help="the sentence encoder")
    parser.add_argument("--amortizer", default="encoder", choices=["encoder", "t5"])
    parser.add_argument("--amortizer-model", help="what a t5 starts from; tiny without")
    parser.add_argument("--tokens", type=int, help="T")
    parser.add_argument("--chunk-tokens", type=int, default=96)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--documents", type=int, default=64, help="documents in the dev bank")
    parser.add_argument("--questions", type=int, default=100, help="dev questions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, help="draw the figures into this file")
    parser.add_argument("--measure", type=float, help=argparse.SUPPRESS)  # a measured process
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure, arguments)))
        return
    rows = []
    for p in arguments.p or RATIOS:
        again = ["-m", "benchmarks.paper.backprop_dropout", *sys.argv[1:], "--measure", str(p)]
        rows.append(json.loads(process.run(again).output.splitlines()[-1]))
    show(rows)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    if arguments.plot:
        draw(rows, arguments.plot)


def measure(p: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a training run with this p."""
    import torch

    from benchmarks.tools import answers
    from maccli.evaluation.peak_memory import peak_memory
    from models.base.device import choose_device, choose_dtype
    from models.base.encoder import SentenceEncoder
    from models.base.lm import BaseLM
    from models.data import files as data
    from models.memory.base_models import BaseModels
    from models.memory.modulation import Selected
    from models.paper import setup
    from models.paper.memory import PaperMemory
    from models.training.settings import TrainConfig
    from models.training.trainer import StepReport, Trainer
    from models.weights import pinned
    from models.weights.resolve import resolve

    device = choose_device(arguments.device)
    base_name = arguments.base or pinned.DEFAULT_LM
    encoder_name = arguments.encoder or pinned.DEFAULT_ENCODER
    lm = BaseLM.load(resolve(base_name), device=device, dtype=choose_dtype(device))
    encoder = SentenceEncoder.load(resolve(encoder_name), device=device)
    tiny = arguments.amortizer == "t5" and arguments.amortizer_model is None
    amortizer = "encoder" if tiny else arguments.amortizer
    choice = setup.PaperOptions(amortizer, arguments.amortizer_model, arguments.tokens)
    model = setup.describe(
        choice, lm, encoder, base_lm=base_name, base_sha256=None, encoder=encoder_name,
        encoder_sha256=None, chunk_tokens=arguments.chunk_tokens,
    )  # fmt: skip
    if tiny:
        network = {**TINY_T5, "vocab_size": len(lm.tokenizer)}
        model = replace(model, amortizer="t5", network=network)
    config = TrainConfig(
        steps=arguments.steps, groups=arguments.batch // 2, documents=2,
        learning_rate=arguments.lr, backprop_dropout=p, seed=arguments.seed, save_minutes=1e9,
    )  # fmt: skip
    method = setup.method(config, model, lm, encoder)
    stack, reader = method.stack, method.reader
    weights_at = {t.untyped_storage().data_ptr() for n in (stack, lm.model) for t in n.parameters()}
    # By storage, since two operations may need the same tensor.
    saved: dict[int, int] = {}
    sizes: list[int] = []
    seconds: list[float] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights_at:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    second = ExitStack()
    step_peak = None

    def report(now: StepReport) -> None:
        nonlocal step_peak
        sizes.append(sum(saved.values()))
        saved.clear()
        seconds.append(now.seconds)
        if now.step == 1:
            step_peak = second.enter_context(peak_memory(device.type == "cuda"))
        elif now.step == 2:
            second.close()

    examples = data.read(arguments.data, "train")
    with (
        tempfile.TemporaryDirectory() as out,
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        trainer = Trainer(
            method, encoder, [examples], [1.0], Path(out),
            note=lambda line: print(line, file=sys.stderr),
        )  # fmt: skip
        trainer.run(report)
    assert step_peak is not None, "--steps must be at least 2"
    memory = PaperMemory(stack, BaseModels.loaded(lm, encoder), "", reader)
    dev = data.read(arguments.dev, "dev")
    examples = answers.first_examples(dev, arguments.documents, arguments.questions)
    modulations = memory.amortize(answers.texts_of(dev, memory, arguments.documents))
    bank = [Selected(m.latents, m.scales, 0.0) for m in modulations]
    aggregated = memory.aggregate_whole([e.question for e in examples], lambda: [bank])
    octets = step_peak.device if step_peak.device is not None else step_peak.process
    return {
        "p": p,
        "kept_megabytes": sum(sizes) / len(sizes) / 2**20,
        "peak_megabytes": octets / 2**20,
        "f1": answers.mean_f1(memory, examples, aggregated),
        "seconds_a_step": sorted(seconds)[len(seconds) // 2],
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table with a row for each ratio."""
    print("| p | kept for the backward pass, MB | peak of a step, MB | s a step | F1 |")
    print("|---:|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['p']:g} | {row['kept_megabytes']:,.1f} | {row['peak_megabytes']:,.0f} "
            f"| {row['seconds_a_step']:.2f} | {row['f1']:.1f} |"
        )


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Draw both memories and F1 over p."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    memory = figure.subplots()
    ratios = [row["p"] for row in rows]
    for name, label in (("peak", "peak of a step"), ("kept", "kept for the backward pass")):
        memory.plot(ratios, [row[f"{name}_megabytes"] for row in rows], "o-", label=label)
    memory.set_xlabel("p, share of documents without gradient")
    memory.set_ylabel("MB")
    memory.set_ylim(bottom=0)
    score = memory.twinx()
    score.plot(ratios, [row["f1"] for row in rows], "s--", color="tab:green", label="F1 (right)")
    score.set_ylabel("F1")
    score.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(picture)


if __name__ == "__main__":
    main()
