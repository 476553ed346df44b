"""`store` and `models` share no import, and each rounds latents by itself: how far are they apart?

`models` divides by the step in float32, `store` by the step as float16, which it then stores.
"""

from __future__ import annotations

import numpy as np

from models.memory.modulation import Modulation, Rounding, dequantise, quantise
from store.pruning import tokens


def test_the_store_rounds_as_the_models_do() -> None:
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(500, 256)) * rng.uniform(0.01, 30, size=256)).astype(np.float32)
    latents, scales = quantise(z)
    merged, merged_scales = tokens.quantise(z, Rounding().step)
    # A float16 is off by at most one part in 2,048: few numbers fall on the other side of a half.
    apart = np.abs(latents.astype(int) - merged)
    assert apart.max() <= 1 and 0 < np.mean(apart > 0) < 1e-3
    np.testing.assert_allclose(scales.astype(float), merged_scales.astype(float), rtol=0.02)
    errors = [
        float(np.square(dequantise(*pair) - z).sum())
        for pair in ((latents, scales), (merged, merged_scales))
    ]
    assert abs(errors[0] / errors[1] - 1) < 1e-3


def test_both_mean_the_same_by_latents_and_scales() -> None:
    latents, scales = quantise(np.random.default_rng(1).normal(size=(9, 32)).astype(np.float32))
    expected = tokens.dequantise(latents, scales)
    np.testing.assert_array_equal(dequantise(latents, scales), expected)
    modulation = Modulation(latents, scales, np.zeros(4, np.float16))
    np.testing.assert_array_equal(modulation.dequantised(), expected)
