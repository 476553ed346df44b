"""How likely answers are: each by itself, whatever stands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.memory.modulation import Selected

QUESTION = "Who opened the bridge?"
ANSWERS = ["Ida", "Ida Brandt of Varnholt", "the rain"]


def test_each_answer_is_scored_as_if_it_were_alone(tiny_llama: Path, build_memory: Any) -> None:
    memory = build_memory(tiny_llama)
    [modulation] = memory.amortize(["Ida Brandt opened the bridge in Varnholt."])
    selected = [Selected(modulation.latents, modulation.scales, 0.0, None)]
    together = memory.answer_likelihoods(QUESTION, ANSWERS, selected)
    alone = [memory.answer_likelihoods(QUESTION, [answer], selected)[0] for answer in ANSWERS]
    assert together == pytest.approx(alone, abs=1e-3)
    assert all(likelihood < 0 for likelihood in together)
    assert memory.answer_likelihoods(QUESTION, [], selected) == []
