"""Notes about gradients that are zero everywhere, or no numbers, and should not be."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from torch import Tensor

from rnnspect.errors import listed
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase
from rnnspect.network.gradients import EngineGradients
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.recording import RECORDING

_WHY = "perhaps because something is detached or frozen (requires_grad=False) on the way, or nothing is added up"


def zero_note(case: ResultsCase, told: Mapping[str, WithError], errors: Mapping[str, Tensor]) -> str | None:
    """What a run that has zeros in place of gradients most likely is; None for any other. `errors`: how far each number
    may be off as it was recorded."""
    given = case.given

    def is_wrong(name: str) -> bool:
        own, bound = told[name]
        return bool((own.abs() > bound + errors[name]).any())

    empty = [name for name, g in given.named.items() if not bool(g.any()) and is_wrong(name)]
    if not empty:
        return None
    if len(empty) == len(given.named):
        return note_of_all_zero(given)
    if given.engine.name == RECORDING and set(empty) == set(given.parameters):
        return "the gradients of all parameters are zero, and no others: most likely zero_grad() came after backward()"
    if empty == ["x"]:
        return "dL/dx is zero everywhere: no gradient reaches x, perhaps because it is detached"
    layers = [layer for layer in range(case.spec.num_layers) if _is_empty(case, layer, empty)]
    if layers:
        what = f"the gradients of all parameters of layer{'s' * (len(layers) > 1)} {listed(map(str, layers))}"
    else:
        what = listed(f"dL/d{name}" for name in empty)
    shared = any(all(name.startswith(f"bias_{of}") for name in empty) for of in ("ih", "hh"))
    why = f"{_WHY}, or the other bias gets it for both" if shared else _WHY
    return f"{what} {'are' if layers or len(empty) > 1 else 'is'} zero everywhere, {why}"


def not_finite_note(case: ResultsCase, told: Mapping[str, WithError]) -> str | None:
    """Which gradients are NaN or infinite where those of the equations are not; None where none is, and for half types,
    whose sums may overflow."""
    if case.declared.roundoff.largest < math.inf:
        return None
    lost = {name: (~g.isfinite() & told[name][0].isfinite()).flatten() for name, g in case.given.named.items()}
    counts = [f"{int(at.sum()):,} of {len(at):,} numbers of dL/d{name}" for name, at in lost.items() if at.any()]
    if not counts:
        return None
    return (
        f"{' and '.join(counts)} are NaN or infinite, where the equations give finite ones. No known mistake makes "
        "them: look for a division by 0, an overflow, or memory that was never written"
    )


def note_of_all_zero(given: EngineGradients) -> str | None:
    """The note on a run that gave nothing but zeros, where gradients were to be expected; None for any other."""
    if any(bool(g.any()) for g in given.named.values()):
        return None
    if given.engine.name == RECORDING:
        return "every recorded gradient is zero: most likely they were recorded before backward(), or after zero_grad()"
    return f"every gradient that {given.engine.name} gives is zero, {_WHY}"


def _is_empty(case: ResultsCase, layer: int, empty: Collection[str]) -> bool:
    """Whether all gradients of the layer's parameters are zero, of those that were given."""
    names: list[str] = []
    for direction in case.spec.directions:
        names += LayerParameters.of(case.parameters, layer, direction, case.spec).named(layer, direction)
    there: Mapping[str, Tensor] = {name: case.given.parameters[name] for name in names if name in case.given.parameters}
    return bool(there) and set(there) <= set(empty)
