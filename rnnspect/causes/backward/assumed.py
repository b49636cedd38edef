"""What the results of a pass backwards alone tell of a layer and direction, as an assumption in which mistakes can be
made."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rnnspect.judging.assumption import At
from rnnspect.judging.backward.case import BackwardAssumption, SeenLayer
from rnnspect.judging.backward.judge import BackwardRun
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase
from rnnspect.judging.backward.results_words import ratio_of_results
from rnnspect.judging.chunks import LayerRun
from rnnspect.network.parameters import LayerParameters, suffix


def layer_of(assumed: BackwardAssumption, output: Tensor, parameters: Mapping[str, Tensor]) -> SeenLayer:
    back, x = assumed.back, assumed.run.x[:]
    return SeenLayer(x, None, output, back.last, assumed.grad_x, {}, assumed.states, parameters)


def assumption_of(case: ResultsCase, at: At) -> BackwardAssumption:
    """An assumption without the gradients of the gates, and below the top layer without the gradients of the output:
    nobody saw them."""
    spec, sequence, end = case.spec, case.sequence, suffix(*at)
    row, p = spec.row(*at), LayerParameters.of(case.parameters, *at, spec)
    lengths = None if sequence.lengths is None else torch.tensor(sequence.lengths)
    state = [initial[row] for initial in sequence.state]
    shape, dtype = (sequence.steps, sequence.batch), sequence.x.dtype
    h = torch.zeros(*shape, spec.output_size, dtype=dtype)
    x = torch.zeros(*shape, p.weight_ih.shape[1], dtype=dtype)
    run = LayerRun(x, h, state[0], state[1] if len(state) > 1 else None, lengths, at[1] == "reverse")
    seen = torch.zeros(*shape, len(p.weight_ih), dtype=dtype)
    finals = {name: g[row] for name, g in (("h", case.upstream.h_n), ("c", case.upstream.c_n)) if g is not None}
    gradients = {name.removesuffix(end): g for name, g in case.given.parameters.items() if name.endswith(end)}
    states = {name[0]: g[row] for name, g in case.given.named.items() if name in ("h0", "c0")}
    return BackwardAssumption(
        *at, spec.cell_type, spec.nonlinearity_of(at[1]), p, case.declared.over(p.terms),
        BackwardRun(run, seen, h, finals), x, states, gradients,
    )  # fmt: skip


def order_of(case: ResultsCase, told: Mapping[str, WithError], kept: Mapping[str, Tensor]) -> int | None:
    """How many steps are gone back over before the first wrong dL/dx, in a layer whose steps run forwards. `kept` is
    how far off each recorded number may be because of its rounding."""
    if case.given.x is None or case.spec.directions != ("forward",):
        return None
    own, bound = told["x"]
    wrong = ((own - case.given.x.double()).abs() > bound + kept["x"]).flatten(1).any(1).nonzero()
    return case.sequence.steps - 1 - int(wrong[-1]) if len(wrong) else None


def is_told(own: BackwardAssumption, made: BackwardAssumption) -> bool:
    """Whether the mistake changes nothing that the results do not show."""
    turned = made.back.seen is own.back.seen or made.mistake.given_x is not None
    return turned and made.back.run is own.run


def is_in_sums(own: BackwardAssumption, made: BackwardAssumption) -> bool:
    plain = (made.changes, made.cell, made.mistake) == (own.changes, own.cell, own.mistake)
    return plain and made.back is own.back


def ratios_of(
    given: Mapping[str, Tensor], told: Mapping[str, WithError], kept: Mapping[str, Tensor], unit: float
) -> dict[str, float]:
    found = {}
    for name, engine in given.items():
        none = torch.zeros_like(engine, dtype=torch.float64)
        own, bound = told.get(name, (none, none))  # with a mistake a weight may get no gradient
        allowed = bound + kept[name] + own.abs() * unit
        found[name] = float(ratio_of_results(own, engine.double(), allowed).max())
    return found
