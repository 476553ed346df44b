import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.base.device import prefer_onednn
from models.base.native import prepared
from models.base.native.prepared import FEWEST_TOKENS, FIRST_USES, PreparedLinear, prepare

TYPES = [torch.bfloat16, torch.float32]
needs_product = pytest.mark.skipif(
    not prepared._has_product(), reason="only where oneDNN multiplies bfloat16"
)


@pytest.fixture(autouse=True)
def onednn(torch_as_it_comes: None) -> None:
    """Let oneDNN multiply float32, too, where `mac` does."""
    prefer_onednn(torch.device("cpu"))


def linear(dtype: torch.dtype = torch.bfloat16, bias: bool = True) -> PreparedLinear:
    torch.manual_seed(0)
    plain = nn.Linear(64, 96, bias).to(dtype)
    return PreparedLinear(plain.weight.detach(), plain.bias.detach() if bias else None)


def used(module: PreparedLinear) -> PreparedLinear:
    """Return a map that was used so often that its weights are laid out anew."""
    with torch.no_grad():
        for _ in range(FIRST_USES + 1):
            module(torch.randn(FEWEST_TOKENS, 64).to(module.weight.dtype))
    return module


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 64), (8, 64), (31, 64), (1000, 64), (3, 7, 64)])
def test_numbers_are_the_same_to_the_last_bit(
    dtype: torch.dtype, bias: bool, shape: tuple[int, ...]
) -> None:
    module = used(linear(dtype, bias))
    x = torch.randn(*shape).to(dtype)
    for each in (x, x.transpose(0, 1).contiguous().transpose(0, 1)):
        with torch.inference_mode():
            assert torch.equal(module(each), F.linear(each, module.weight, module.bias))


@needs_product
def test_weights_are_laid_out_once_they_were_used_often() -> None:
    module = linear()
    with torch.no_grad():
        for _ in range(FIRST_USES):
            module(torch.randn(FEWEST_TOKENS, 64).bfloat16())
    assert not module._layouts
    assert used(module)._layouts.keys() == {torch.bfloat16}


@pytest.mark.parametrize("dtype", TYPES)
def test_a_change_of_the_weights_is_seen(dtype: torch.dtype) -> None:
    module, x = used(linear(dtype)), torch.randn(9, 64).to(dtype)
    with torch.no_grad():
        module.weight.mul_(2)
        assert torch.equal(module(x), F.linear(x, module.weight, module.bias))
        module.weight = nn.Parameter(module.weight.detach() * 2)
        assert torch.equal(module(x), F.linear(x, module.weight, module.bias))


@pytest.mark.parametrize("dtype", TYPES)
def test_gradients_are_those_of_the_plain_map(dtype: torch.dtype) -> None:
    module = used(linear(dtype))
    module.weight.requires_grad_(True)
    x = torch.randn(9, 64, dtype=dtype, requires_grad=True)
    module(x).sum().backward()
    got = x.grad, module.weight.grad
    x.grad = module.weight.grad = None
    F.linear(x, module.weight, module.bias).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(got, (x.grad, module.weight.grad), strict=True))


def test_autocast_and_float32_take_turns() -> None:
    module, x = used(linear(torch.float32)), torch.randn(2, 9, 64)
    for _ in range(FIRST_USES + 1):
        for half in (True, False):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                y = module(x)
                assert torch.equal(y, F.linear(x, module.weight, module.bias))
                assert y.dtype == (torch.bfloat16 if half else torch.float32)


def test_a_used_map_can_be_copied() -> None:
    module, x = used(linear()), torch.randn(9, 64).bfloat16()
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.weight.zero_()
        assert torch.equal(used(twin)(x), module.bias.expand(9, -1))
        assert torch.equal(module(x), F.linear(x, module.weight, module.bias))


def test_a_network_keeps_its_names_and_its_weights() -> None:
    network = nn.Sequential(nn.Linear(64, 64), nn.Sequential(nn.ReLU(), nn.Linear(64, 8, False)))
    before = dict(network.named_parameters())
    assert prepare(prepare(network)) is network
    after = dict(network.named_parameters())
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)
    assert sum(isinstance(module, PreparedLinear) for module in network.modules()) == 2
