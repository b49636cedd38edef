"""The second look at the gradients of parameters in a pass of which only the results were seen: each sum over time
evaluated in the orders that engines use, before an entry may be called wrong (`sums_again.py`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.assumed_mistake import Otherwise
from rnnspect.judging.backward.estimate import FreeLayer
from rnnspect.judging.backward.replicas import Told
from rnnspect.judging.backward.results import Differently, ResultsCase, expected
from rnnspect.judging.backward.sums import Term
from rnnspect.judging.backward.sums_again import orders_of
from rnnspect.judging.chunks import Chunk
from rnnspect.network.parameters import LayerParameters, suffix


def looked_again(case: ResultsCase, told: Mapping[str, Told], over: Mapping[str, Tensor]) -> dict[str, Told]:
    """`told`, with what adding up may err by where an order that engines use errs by more than was allowed. `over` has
    |difference| / bound of each parameter that has an entry above its bound."""
    found, spec = dict(told), case.spec
    names = {at: LayerParameters.of(case.parameters, *at, spec).names for at in spec.places}
    wrong = {at: own for at in spec.places if (own := [name for name in names[at] if name + suffix(*at) in over])}
    batch = torch.zeros(1, case.sequence.batch, 1)
    for at, summed in _terms(case, wrong).items():
        again = orders_of(partial(iter, summed), case.declared.over(1), batch)
        for name in wrong[at]:
            value, error = told[name + suffix(*at)]
            is_product = any(term.right is not None for step in summed for term in step if term.parameter == name)
            shape = value.shape if is_product else (-1,)  # a matrix of a cell's own is summed row by row
            _, allowed = again(name, value.reshape(shape), over[name + suffix(*at)].reshape(shape))
            found[name + suffix(*at)] = value, error + allowed.reshape(value.shape)
    return found


def _terms(case: ResultsCase, places: Collection[At]) -> dict[At, list[list[Term]]]:
    """By layer and direction, step by step from the last one on, what the parameters' gradients are sums of."""
    found: dict[At, list[list[Term]]] = {at: [] for at in places}
    batch = case.sequence.batch

    def watched(layer: FreeLayer, at: At) -> FreeLayer:
        def seen(terms: list[Term], _chunk: Chunk) -> list[Term]:
            own = [replace(t, left=first(t.left), right=None if t.right is None else first(t.right)) for t in terms]
            found[at].append(own)
            return terms

        return replace(layer, otherwise=Otherwise(terms=seen)) if at in found else layer

    def first(number: Number) -> Number:
        """Of all runs the exact one, which comes first."""
        return replace(number, v=number.v[:batch].clone())

    expected(case, Differently(layer=watched))
    return found
