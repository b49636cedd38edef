"""Gradients of parameters that are right, but in another arrangement: the gates in another order, or matrices
transposed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.errors import listed
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.backward.sums import ParameterGradients

_BY_GATE = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
_NEARER = 16
"""A block has to be so many times nearer to another gate's, or to itself transposed, than to its own."""


def causes(seen: Seen) -> Iterator[BackwardCause]:
    cell, names = seen.assumed.cell, [name for name in _BY_GATE if name in seen.names]
    gates = len(cell.gates)
    if not names or not all(_are_alike(seen, name, gates) for name in names):
        return
    if gates > 1:
        orders = {name: _order(seen, name, gates) for name in names}
        for order in dict.fromkeys(orders.values()):
            if order is None or order == tuple(range(gates)):
                continue
            where = [name for name, one in orders.items() if one == order]
            which, the = ("parameters", "the ") if where == names else (listed(where), "")
            theirs, ours = (", ".join(cell.gates[n] for n in one) for one in (order, range(gates)))
            yield BackwardCause(
                "grad-gate-order",
                f"the gradients of {the}{which} have their gates in the order {theirs}, not {ours}",
                f"Put the rows of each gate in the order {ours}, as in the parameters.",
                functools.partial(_in_order, names=where, order=order),
                {"in": which, "order": theirs},
                "sums",
            )
    turned = [name for name in names if name.startswith("weight") and _is_turned(seen, name, gates)]
    if turned:
        yield BackwardCause(
            "grad-transposed",
            f"the gradient of {listed(turned)} is transposed" + (", gate by gate" if gates > 1 else ""),
            "Use dL/dW = Σ dL/d(pre-activations) ⊗ what W was multiplied with, in this order.",
            functools.partial(_transposed, names=turned, gates=gates),
            {"in": listed(turned)},
            "sums",
        )


def _blocks(values: Tensor, gates: int) -> Tensor:
    """The gates of a parameter: (gates, units, ·)."""
    return values.double().view(gates, len(values) // gates, -1)


def _are_alike(seen: Seen, name: str, gates: int) -> bool:
    """Whether all gates have the same number of rows."""
    return len(seen.assumed.gradients[name]) % gates == 0 and len(set(seen.assumed.p.gate_sizes(gates))) == 1


def _order(seen: Seen, name: str, gates: int) -> tuple[int, ...] | None:
    """For each block of rows the gate whose gradient it has; None where a block has no gate's, or two have the same
    gate's."""
    given, own = (_blocks(of, gates).flatten(1) for of in (seen.assumed.gradients[name], seen.known[name][0]))
    apart = torch.cdist(given, own)
    itself = apart.diagonal()
    nearest = apart.argmin(1)
    moved = apart.amin(1) * _NEARER < itself
    order = torch.where(moved, nearest, torch.arange(gates)).tolist()
    return tuple(order) if sorted(order) == list(range(gates)) else None


def _is_turned(seen: Seen, name: str, gates: int) -> bool:
    given, own = (_blocks(of, gates) for of in (seen.assumed.gradients[name], seen.known[name][0]))
    if own.shape[1] != own.shape[2] or own.shape[1] == 1:
        return False
    return float((given - own.transpose(1, 2)).norm()) * _NEARER < float((given - own).norm())


def _in_order(assumed: BackwardAssumption, names: Collection[str], order: Sequence[int]) -> BackwardAssumption:
    return _arranged(assumed, names, len(order), lambda blocks: blocks[[*order]])


def _transposed(assumed: BackwardAssumption, names: Collection[str], gates: int) -> BackwardAssumption:
    return _arranged(assumed, names, gates, lambda blocks: blocks.mT)


def _arranged(
    assumed: BackwardAssumption, names: Collection[str], gates: int, change: Callable[[Tensor], Tensor]
) -> BackwardAssumption:
    def sums(known: ParameterGradients) -> ParameterGradients:
        made = dict(known)
        for name in names:
            value, bound = (change(_blocks(of, gates)).reshape(of.shape) for of in known[name])
            made[name] = value, bound
        return made

    return replace(assumed, sums=sums)
