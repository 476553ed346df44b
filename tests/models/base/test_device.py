"""Devices by name."""

import pytest
import torch

from models.base.device import choose_device, choose_dtype, prefer_onednn
from models.errors import ModelError, UnsupportedModelError


def test_auto_is_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == torch.device("cuda", 1)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnsupportedModelError, match="'cuda' is not available"):
        choose_device("cuda")
    with pytest.raises(ModelError, match="unknown device 'tpu'"):
        choose_device("tpu")


@pytest.mark.parametrize(("has", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, has: bool, expected: torch.dtype
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: has, raising=False)
    assert choose_dtype(torch.device("cpu")) == expected


@pytest.mark.parametrize(
    ("bf16", "amx", "precision", "chosen"),
    [
        (True, False, None, True),
        (True, False, "fp32", False),
        (True, True, None, False),
        (False, False, None, False),
    ],
)
def test_products_of_float32_stay_float32(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, amx: bool, precision: str | None, chosen: bool
) -> None:
    matmul, amx_here = torch.backends.mkldnn.matmul, torch.cpu._is_amx_tile_supported()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    before = matmul.fp32_precision
    try:
        prefer_onednn(torch.device("cpu"), precision)
        assert (matmul.fp32_precision == "bf16") is (chosen or before == "bf16")
        if chosen and not amx_here:
            x, y = torch.randn(64, 1024), torch.randn(1024, 64)
            exact = x.double() @ y.double()
            assert ((x @ y - exact).norm() / exact.norm()) < 1e-5
    finally:
        matmul.fp32_precision = before
