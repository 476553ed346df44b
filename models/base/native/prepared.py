"""Linear maps whose weights are laid out for oneDNN's matrix product once, and not at each use.

Letters: N outputs, K inputs.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.base.device import multiplies_bfloat16, onednn_preferred

Network = TypeVar("Network", bound=nn.Module)

FIRST_USES = 8
"""So often a map is used as it is: laying it out takes the time that some ten uses save."""
FEWEST_TOKENS = 8
"""Fewer tokens, or such as do not lie one after the other, torch multiplies in another way."""
_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")  # not every version of torch has them


class PreparedLinear(nn.Linear):
    """A linear map that gives the same numbers, to the last bit, in less time.

    Once it was used often on a CPU, it keeps a second copy of its weights, as oneDNN wants them.
    Where gradients are computed it is the plain map.

    Args:
        weight: [N, K]; it may change later.
        bias: [N].
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight.shape
        self.weight = _parameter(weight)
        self.bias = None if bias is None else _parameter(bias)  # type: ignore[assignment]
        self._uses = 0
        self._layouts: dict[torch.dtype, tuple[object, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., N] of x [..., K]."""
        weight, bias = self.weight, self.bias
        many = x.numel() >= FEWEST_TOKENS * self.in_features and x.is_contiguous()
        dtype = _multiplied_in(x) if many and not torch.is_grad_enabled() else None
        if dtype is None:
            return F.linear(x, weight, bias)
        state = weight.data_ptr(), 0 if weight.is_inference() else weight._version
        made_for, layout = self._layouts.get(dtype, (None, weight))
        if made_for != state:
            self._uses += 1
            if self._uses <= FIRST_USES:
                return F.linear(x, weight, bias)
            plain = weight.detach().to(dtype).contiguous()
            layout = torch.ops.mkldnn._reorder_linear_weight(plain)
            self._layouts[dtype] = state, layout
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(dtype), layout, bias if bias is None else bias.to(dtype), "none", [], ""
        )
        return y

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the layouts, which cannot be copied."""
        return self.__dict__ | {"_layouts": {}}


def prepare(network: Network) -> Network:
    """Put a `PreparedLinear` in the place of each linear map of a network, and return it.

    The weights are the same, under the same names.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, PreparedLinear(child.weight, child.bias))
    return network


def _multiplied_in(x: Tensor) -> torch.dtype | None:
    """Return the type in which oneDNN multiplies x, or None where something else does."""
    if x.device.type != "cpu" or not _has_product():
        return None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if dtype == torch.bfloat16 or (dtype == torch.float32 and onednn_preferred()):
        return dtype
    return None


@cache
def _has_product() -> bool:
    return multiplies_bfloat16() and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)


def _parameter(x: Tensor) -> nn.Parameter:
    return x if isinstance(x, nn.Parameter) else nn.Parameter(x, requires_grad=False)
