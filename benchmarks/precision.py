"""Do modulations made in one precision serve a base LM in another?

    python -m benchmarks.precision --data FILE [--examples 300]

Each question is answered from the modulation of its own document, amortized and answered with the
precision that is fastest here (bfloat16 where the processor multiplies it; few bits for generating)
and in float32: all four pairs. Prints how many latents are the same, and a table of F1 and of the
answers that are equal to those of float32 throughout.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np

from models.data import files
from models.evaluation.metrics import f1
from models.memory import checkpoint
from models.memory.modulation import Selected
from models.stacks import load_model

PRECISIONS = {"fastest": None, "float32": "fp32"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", default=checkpoint.DEFAULT)
    parser.add_argument("--examples", type=int, default=300)
    arguments = parser.parse_args()

    examples = files.read(arguments.data)
    random.Random(0).shuffle(examples)
    examples = examples[: arguments.examples]
    documents = list(dict.fromkeys(example.document for example in examples))
    path = checkpoint.find(arguments.checkpoint)
    models: dict[str, Any] = {
        name: load_model(path, precision=precision) for name, precision in PRECISIONS.items()
    }
    made = {
        name: dict(zip(documents, model.amortize(documents), strict=True))
        for name, model in models.items()
    }
    first, second = ([each[d].latents for d in documents] for each in made.values())
    same = np.mean([(a == b).mean() for a, b in zip(first, second, strict=True)])
    print(f"{len(examples)} questions; {100 * same:.1f} % of the latents are the same\n")
    answers = {
        (amortized, answered): [
            "".join(model.answer(e.question, [selected(made[amortized][e.document])])).strip()
            for e in examples
        ]
        for amortized in models
        for answered, model in models.items()
    }
    print("| amortized | answered | F1 | the same answers |\n|---|---|---|---|")
    exact = answers["float32", "float32"]
    for (amortized, answered), found in answers.items():
        score = np.mean([f1(a, e.answers) for a, e in zip(found, examples, strict=True)])
        equal = np.mean([a == b for a, b in zip(found, exact, strict=True)])
        print(f"| {amortized} | {answered} | {100 * score:.1f} | {100 * equal:.0f} % |")


def selected(modulation: Any) -> Selected:
    """Return a modulation as the only one that is answered from."""
    return Selected(modulation.latents, modulation.scales, 0.0)


if __name__ == "__main__":
    main()
