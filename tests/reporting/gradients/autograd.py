"""The gradients of a run by PyTorch's autograd, of every cell and variant: the equations run forward over tensors that
remember, and nothing of ours goes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.network.parameters import LayerParameters
from rnnspect.tracing.prepare import Prepared

Found = dict[tuple[Any, ...], Tensor]


def gradients(prepared: Prepared, loss: Callable[[Tensor], Tensor]) -> Found:
    """The gradient (B, ·) of each quantity by (layer, direction, step, name), with the name "pre" that of all
    pre-activations, packed; further ("x", step), ("h0",), ("c0",) and (parameter,).

    `loss` is of the output (T, B, D·P), which is zero beyond an item's length.
    """
    spec, sequence = prepared.spec, prepared.sequence
    leaves: Found = {(name,): one.double().clone().requires_grad_() for name, one in prepared.parameters.items()}
    leaves |= {("x", t): one.double().clone().requires_grad_() for t, one in enumerate(sequence.x)}
    states = [one.double().clone().requires_grad_() for one in sequence.state]
    leaves |= dict(zip((("h0",), ("c0",)), states, strict=False))
    parameters = {name: leaves[name,] for name in prepared.parameters}
    inner: Found = {}
    xs = [leaves["x", t] for t in range(sequence.steps)]
    for layer in range(spec.num_layers):
        outputs = []
        for direction in spec.directions:
            p = LayerParameters.of(parameters, layer, direction)
            a = Numbers(p, len(spec.cell_type.gates), spec.nonlinearity_of(direction))
            row = spec.row(layer, direction)
            now = [one[row] for one in states]
            made: dict[int, Tensor] = {}
            steps = range(sequence.steps)
            for t in reversed(steps) if direction == "reverse" else steps:
                inside = torch.tensor([[t < sequence.length(item)] for item in range(sequence.batch)])
                wx = torch.nn.functional.linear(xs[t], p.weight_ih, p.bias_ih)
                found = spec.cell_type.step(a, wx, *now)
                inner |= {(layer, direction, t, name): one for name, one in found.items()}
                inner[layer, direction, t, "pre"] = wx
                new = [found[name] for name in spec.cell_type.states]
                now = [torch.where(inside, one, old) for one, old in zip(new, now, strict=True)]
                made[t] = torch.where(inside, found["h"], 0)
            outputs.append(made)
        xs = [torch.cat([made[t] for made in outputs], -1) for t in range(sequence.steps)]
    named = leaves | inner
    given = torch.autograd.grad(loss(torch.stack(xs)), list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(one) if g is None else g for (name, one), g in zip(named.items(), given, strict=True)
    }
