"""A layer of torch on a drawn input, and what the equations need of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec


def drawn(kind: str, sizes: tuple[int, int, int, int]) -> tuple[nn.RNNBase, Tensor]:
    """The layer, and x. `sizes`: steps, batch, inputs, units."""
    steps, batch, inputs, hidden = sizes
    torch.manual_seed(0)
    module: nn.RNNBase = getattr(nn, kind)(inputs, hidden)
    return module, torch.randn(steps, batch, inputs)


def described(module: nn.RNNBase, x: Tensor) -> tuple[Spec, dict[str, Tensor], Sequence]:
    """The layer with its parameters, and x with states of zeros."""
    kind, h0 = type(module).__name__, torch.zeros(1, x.shape[1], module.hidden_size)
    spec = Spec(cell=kind.lower(), input_size=module.input_size, hidden_size=module.hidden_size, batch_first=False)
    p = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return spec, p, Sequence(x, h0, h0 if kind == "LSTM" else None, None, True)
