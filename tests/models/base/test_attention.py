import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.base import attention
from models.base.attention import attend_alone, causal_mask


def heads(sequences: int, tokens: int, number: int, dtype: torch.dtype) -> Tensor:
    """Return queries, keys or values [B, H, T, 16], laid out as a linear map gives them."""
    return torch.randn(sequences, tokens, number, 16).to(dtype).transpose(1, 2)


def masks(sequences: int, tokens: int) -> dict[str, Tensor | None]:
    real = torch.ones(sequences, 1, 1, tokens, dtype=torch.bool)
    real[0, ..., tokens // 2 :] = False
    like = torch.zeros(1)
    window = causal_mask(tokens, 3, like)
    return {"none": None, "causal": causal_mask(tokens, None, like), "window": window, "real": real}


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "onednn_preferred", lambda: True)


@pytest.mark.parametrize("kind", ["none", "causal", "window", "real"])
@pytest.mark.parametrize("shared", [1, 3])
@pytest.mark.parametrize("most", [attention.MOST_SCORES, 700])
def test_it_attends_as_the_fused_operation_does(
    monkeypatch: pytest.MonkeyPatch, kind: str, shared: int, most: int
) -> None:
    monkeypatch.setattr(attention, "MOST_SCORES", most)  # 700: two or so sequences at once
    b, t, h = 5, 7, 2
    q = heads(b, t, h * shared, torch.float32)
    k, v = heads(b, t, h, torch.float32), heads(b, t, h, torch.float32)
    mask = masks(b, t)[kind]
    wanted = F.scaled_dot_product_attention(q, k, v, mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(attend_alone(q, k, v, mask, 0.3), wanted)


def test_rounding_is_no_worse_than_the_fused_operation_s() -> None:
    q, k, v = (heads(4, 40, 4, torch.bfloat16) for _ in range(3))
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), scale=0.3)
    fused = F.scaled_dot_product_attention(q, k, v, scale=0.3)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend_alone(q, k, v, None, 0.3)
    assert found.dtype == torch.bfloat16
    assert (found - exact).norm() <= 1.02 * (fused - exact).norm()


def test_what_is_too_long_goes_through_the_fused_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MOST_SCORES", 100)
    q, k, v = (heads(2, 30, 2, torch.float32) for _ in range(3))
    for mask in masks(2, 30).values():
        shown = mask if mask is None else mask.expand(*mask.shape[:-2], 30, 30)
        wanted = F.scaled_dot_product_attention(q, k, v, shown, scale=0.3)
        assert torch.equal(attend_alone(q, k, v, mask, 0.3), wanted)
