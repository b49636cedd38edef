"""The variants that torch.nn has no module for, as a loop over torch's own operations, gone back by torch.autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import elu, leaky_relu, linear, softsign

from rnnspect.cells.functions import parse
from rnnspect.engines.shared.autograd import Leaves
from rnnspect.engines.shared.layers import Place, Returned, layers_backward, run_steps
from rnnspect.network.recording import EngineInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnspect.network.gradients import EngineGradients, Upstream
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec

USUAL = {"rnn": ["tanh"], "gru": ["sigmoid", "tanh"], "lstm": ["sigmoid", "tanh", "tanh"]}


class Variants:
    """An engine of these loops."""

    name = "variants"

    def run(self, *_given: Any) -> Any:
        raise AssertionError("going back takes one pass")

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        info = EngineInfo(self.name, "", "cpu", spec.dtype)
        return layers_backward(spec, Leaves.of(sequence, parameters), info, _run_one, upstream)


def _function(written: str, clip: float | None) -> Any:
    known = parse(written)
    assert known is not None
    a, b = known.alpha, known.beta
    table: dict[str, Any] = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "softsign": softsign,
        "elu": lambda s: elu(s, a),
        "affine": lambda s: s * a + b,
        "leaky_relu": lambda s: leaky_relu(s, a),
        "hard_sigmoid": lambda s: (s * a + b).clamp(0, 1),
    }
    plain = table[known.name]
    return plain if clip is None else lambda s: plain(s.clamp(-clip, clip))


def _run_one(place: Place, x: Tensor) -> Returned:
    spec, p = place.spec, place.arrays
    f = [_function(written, spec.clip) for written in spec.activations or USUAL[spec.cell]]
    none = x.new_zeros(len(p["weight_ih"]))
    size = spec.hidden_size
    seen = p["weight_ch"].view(-1, size) if "weight_ch" in p else None

    def looking(s: Tensor, c: Tensor, gate: int) -> Tensor:
        return s if seen is None else s + seen[gate] * c

    def step(x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h = state[0]
        wx = linear(x_t, p["weight_ih"], p.get("bias_ih", none)).split(size, -1)
        if spec.cell == "gru":
            return (_gru(spec, p, f, wx, h),)
        uh = linear(h, p["weight_hh"], p.get("bias_hh", none)).split(size, -1)
        s = [one + other for one, other in zip(wx, uh, strict=True)]
        if spec.cell == "rnn":
            return (f[0](s[0]),)
        c = state[1]
        i = f[0](looking(s[0], c, 0))
        forget = 1 - i if spec.input_forget else f[0](looking(s[1], c, 1))
        g = f[1](s[1] if spec.input_forget else s[2])
        c = forget * c + i * g
        o = f[0](looking(s[-1], c, -1))
        return o * f[2](c), c

    return run_steps(place, x, step)


def _gru(spec: Spec, p: Mapping[str, Tensor], f: list[Any], wx: tuple[Tensor, ...], h: Tensor) -> Tensor:
    size = spec.hidden_size
    w, b = p["weight_hh"].split(size), p.get("bias_hh", h.new_zeros(3 * size)).split(size)
    r, z = (f[0](wx[n] + linear(h, w[n], b[n])) for n in (0, 1))
    n = linear(r * h, w[2], b[2]) if spec.reset == "before" else r * linear(h, w[2], b[2])
    return (1 - z) * f[1](wx[2] + n) + z * h
