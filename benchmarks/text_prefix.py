"""The strongest prompt-based rival: text in the prompt behind trained constant prefix tokens.

    python -m benchmarks.text_prefix --data FILE[:WEIGHT] ... --out FILE.safetensors

P-tuning v2 (arXiv 2110.07602) on the same questions, with as many constant prefix tokens as
mac has, started from the same instruction, and the texts of the retrieved documents in the prompt.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from models.data.files import parse_source, read
from models.latent.initialise import instruction_constant
from models.latent.memory import LatentMemory
from models.memory import checkpoint
from models.rivals.text_prefix import TENSOR
from models.stacks import load_model
from models.text.prompts import text_prompt
from models.training.batches import Sampler
from models.training.corpus import build
from models.training.loss import answer_loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", default=checkpoint.DEFAULT)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--documents", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--limit", type=int, default=400, help="documents of a source")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    path = checkpoint.find(arguments.checkpoint)
    memory = load_model(path)
    if not isinstance(memory, LatentMemory):
        raise SystemExit(f"{path} is no checkpoint of the latent stack")
    lm, stack = memory.lm, memory.stack
    sources = [parse_source(text) for text in arguments.data]
    corpus = build(
        [read(source.path, "train") for source in sources],
        memory.count_tokens,
        chunk_tokens=memory.config.chunk_tokens,
        limits=[arguments.limit] * len(sources),
        seed=arguments.seed,
    )
    corpus.embed(memory.encoder)
    sampler = Sampler(
        corpus,
        [source.weight for source in sources],
        groups=arguments.batch,
        documents=arguments.documents,
        seed=arguments.seed,
    )
    constant = stack.head.constant
    constant.data.copy_(instruction_constant(stack, lm))
    constant.requires_grad_(True)
    optimiser = torch.optim.AdamW([constant], lr=arguments.learning_rate, weight_decay=0.0)
    began = time.perf_counter()
    for step in range(arguments.steps):
        rng = random.Random(f"{arguments.seed}:{step}")
        rate = min((step + 1) / 10, 1 - step / arguments.steps)
        optimiser.param_groups[0]["lr"] = arguments.learning_rate * rate
        pairs = []
        for group in sampler.batch(step).chunks:
            # One question a group; as when answering, the texts stand in order of relevance.
            question = rng.choice(corpus.of_chunk[group[0]])
            drawn = corpus.questions[question]
            alone = rng.random() < 0.34 or not drawn.standalone
            seen = group[: 1 if alone else rng.randint(2, len(group))]
            scores = corpus.keys[seen] @ corpus.queries[question]
            ranked = [seen[i] for i in scores.argsort(descending=True).tolist()]
            pairs.append((text_prompt(drawn.text, [corpus.chunks[c] for c in ranked]), drawn))
        prefix = stack.constant_prefix(lm)
        loss = answer_loss(
            lm,
            prefix._replace(bias=prefix.bias.expand(len(pairs), -1)),
            [(text, drawn.answers[0]) for text, drawn in pairs],
            prompt=lambda text: text,
            max_tokens=768,
        )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([constant], 1.0)
        optimiser.step()
        print(
            f"step {step + 1} loss {loss.item():.3f} {time.perf_counter() - began:.0f} s",
            flush=True,
        )
        if step % 25 == 24 or step == arguments.steps - 1:
            save_file({TENSOR: constant.detach().clone()}, arguments.out)


if __name__ == "__main__":
    main()
