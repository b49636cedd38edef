"""Weight rows of some parameters read in another gate order, as if only the kernels had been reordered, and not the
biases."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.gates import orders, packed_so, read_as
from rnnspect.judging.assumption import Assumption

_SOME = {
    "the weight matrices": ("weight_ih", "weight_hh"),
    "the biases": ("bias_ih", "bias_hh"),
    "weight_ih and bias_ih": ("weight_ih", "bias_ih"),
    "weight_hh and bias_hh": ("weight_hh", "bias_hh"),
    **{name: (name,) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
}


def causes(assumed: Assumption) -> Iterator[Cause]:
    """The orders that some framework has, their inverses, and those in which two gates are exchanged."""
    gates, own = assumed.cell.gates, assumed.p
    for order in orders(gates):
        back = tuple(gates[order.index(gate)] for gate in gates)
        exchanged = sum(one != other for one, other in zip(order, gates, strict=True)) == 2
        known = packed_so(assumed, order)
        if not (exchanged or known or packed_so(assumed, back)):
            continue
        made, words = read_as(assumed, order).p, " ".join(order)
        moved = {name for name in own.names if name in _SOME and not torch.equal(made[name], own[name])}
        for which, names in _SOME.items():
            if moved.issuperset(names) and moved.difference(names):
                yield Cause(
                    "gate-order",
                    f"the gates of {which} are read in the order {words}, those of the other parameters are not",
                    f"Reorder the blocks of every parameter alike: they are {' '.join(gates)} in each.",
                    functools.partial(replace, p=own.with_changes(**{name: made[name] for name in names})),
                    {"order": words, "in": which},
                    frameworks=tuple(known),
                )
