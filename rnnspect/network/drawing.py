"""Random parameters and inputs: the numbers that torch.manual_seed and building the same modules would give.

One CPU generator, float32, in the order in which modules are built.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from rnnspect.network.parameters import parameters_of
from rnnspect.network.spec import Spec

_CPU = torch.device("cpu")
"""Passed everywhere, as is float32: torch.set_default_device and set_default_dtype would change the numbers."""


def generator_of(spec: Spec) -> Generator:
    """On the CPU, seeded as the spec says."""
    return torch.Generator(_CPU).manual_seed(spec.seed)


def draw_parameters(spec: Spec, generator: Generator) -> dict[str, Tensor]:
    """Every parameter in float32, as torch.nn.RNN, LSTM, GRU and then Linear draw theirs when they are built.

    All of torch.nn.RNNBase.reset_parameters is U(−1/√H, 1/√H) over the parameters in order; torch.nn.Linear draws
    its weight with kaiming_uniform_(a=√5) and its bias from U(−1/√I, 1/√I).
    """
    drawn: dict[str, Tensor] = {}
    for parameter in parameters_of(spec):
        tensor = torch.empty(parameter.shape, dtype=torch.float32, device=_CPU)
        if parameter.name == "head.weight":
            torch.nn.init.kaiming_uniform_(tensor, a=math.sqrt(5), generator=generator)
        else:
            fan = drawn["head.weight"].shape[1] if parameter.name == "head.bias" else spec.hidden_size
            bound = 1 / math.sqrt(fan)
            tensor.uniform_(-bound, bound, generator=generator)
        drawn[parameter.name] = tensor
    return drawn


def draw_normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1) in float32."""
    return torch.randn(shape, generator=generator, dtype=torch.float32, device=_CPU)
