"""A second look at the gradients of parameters in a pass of which only the results were seen: before an entry is called
wrong, its sum over time is computed in the orders that engines use (`sums_again.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase
from rnnspect.judging.backward.sums_again import orders_of
from rnnspect.network.parameters import LayerParameters, suffix


def looked_again(case: ResultsCase, told: Mapping[str, WithError], over: Mapping[str, Tensor]) -> dict[str, WithError]:
    """The gradients of the parameters in `over`, with the error that adding up has in engines. `over` has |difference|
    / bound of each parameter that has an entry above its bound."""
    found = {}
    batch = torch.zeros(1, case.sequence.batch, 1)
    for at in case.spec.places:
        again = orders_of(partial(iter, case.terms[at]), case.declared.over(1), batch)
        for short in LayerParameters.of(case.parameters, *at, case.spec).names:
            if (name := short + suffix(*at)) not in over:
                continue
            value, error = told[name]
            is_product = any(t.right is not None for step in case.terms[at] for t in step if t.parameter == short)
            shape = value.shape if is_product else (-1,)  # a matrix of a cell's own is summed row by row
            _, allowed = again(short, value.reshape(shape), over[name].reshape(shape))
            found[name] = value, error + allowed.reshape(value.shape)
    return found
