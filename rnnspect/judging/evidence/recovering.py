"""Recovers an engine's parameters from its h: whether that is possible, in which way, and from which steps.

Each step starts from the engine's own h. Then a hidden unit depends only on its own rows of the weights, and all units
are solved side by side (`recovering_units.py`). Where a matrix comes between the units and h, or where gates and states
have other sizes than h, all parameters of the layer are found together (`recovering_layer.py`): by products with the
Jacobian, or with the Jacobian as a matrix, which is possible for any cell, but only for few parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal

from torch import Tensor

from rnnspect.arithmetic.hidden_calls import has_gates_in_h
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import Chunk, chunk_at
from rnnspect.judging.evidence.elsewhere import OtherLayer
from rnnspect.judging.evidence.jacobian_matrix import numbers
from rnnspect.judging.evidence.recovered import Claim, Recovered, unknowns
from rnnspect.judging.evidence.recovering_layer import Way, claimed_layer, follows_paths, recover_layer
from rnnspect.judging.evidence.recovering_units import claimed_units, recover_units
from rnnspect.judging.evidence.suspects import NO_GATES, NO_PARAMETERS, distinct, needs_matrix

_ROWS, _FEWEST = 6, 1.5
"""How many rows (step × item) are looked at for each parameter of a unit, and how few are enough."""
_ROWS_OF_ALL, _WORK = 3, 1.6e8
"""A whole layer is recovered the better the more rows there are: three for each of its parameters, as long as rows ×
parameters are no more than this."""
_PRODUCTS, _LINES = 10_000, 1e7
"""The time of products with the Jacobian, for each row and parameter in multiplications; and that of the lines of a
step, where the Jacobian is a matrix."""
_NUMBERS, _MOST, _ROUNDS = 2**25, 2000, 8
"""For a Jacobian as a matrix: at most so many numbers, at most so many parameters, and about how often it is
computed."""
_TRIED = 8
"""The steps on which it is tried whether h depends on the parameters as the paths say."""
_NAMED = 4
"""At most so many features and units are named as the reason why parameters are hidden."""


def cost(assumed: Assumption) -> float:
    """About how many multiplications a recovery takes."""
    rows, count = min(_rows(assumed), assumed.run.x.shape[0] * assumed.run.x.shape[1]), _together(assumed)
    match _way(assumed):
        case "units":
            return float(rows) * unknowns(assumed) ** 2 * assumed.units
        case "products":
            return float(rows) * (unknowns(assumed) ** 2 * assumed.units + _PRODUCTS * count)
        case _:
            return _ROUNDS * rows * (_LINES + float(assumed.run.h.shape[-1]) * count * (count + rows))


def why_not(assumed: Assumption) -> str | None:
    """Why nothing of a layer can be recovered; None where it can."""
    if (why := _why_never(assumed)) is not None:
        return why
    given, needed = _beginning(assumed), _least(assumed)
    if given.count < needed:
        alone = _way(assumed) == "units"
        said = (
            f"each unit has {unknowns(assumed)} weights" if alone else f"{_together(assumed)} weights move h together"
        )
        return f"{said}, so {needed} steps are needed; the run has {given.count}"
    if not given.is_finite:
        return "not all of its numbers are finite"
    return None


def steps_needed(assumed: Assumption) -> int | None:
    """From how many steps (of all items) on a layer can be recovered, if the run has fewer; None where it has as many,
    or where no run could do."""
    if _why_never(assumed) is not None or _beginning(assumed).count >= (needed := _least(assumed)):
        return None
    return needed


def _why_never(assumed: Assumption) -> str | None:
    """Why nothing of a layer could be recovered, however long its run were."""
    run = assumed.run
    if not assumed.seen:
        return f"its h was not recorded; record l{assumed.layer}.{assumed.direction}.h as well"
    if run.error is not None:
        below = (f"l{assumed.layer - 1}.{direction}.h" for direction in assumed.stack.spec.directions)
        return f"its input was not recorded; record {listed(below)} as well"
    if not assumed.p.names:
        return NO_PARAMETERS
    if not has_gates_in_h(assumed.cell):
        return NO_GATES
    count = _together(assumed)
    if _way(assumed) == "matrix" and (count > _MOST or _rows(assumed) < _least(assumed)):
        return f"it has {count} weights that must be found together, which is too many for such a cell"
    return None


def recover(
    assumed: Assumption,
    told: Callable[[int], None] = lambda _units: None,
    others: Iterable[OtherLayer] = (),
    thorough: bool = True,
) -> Recovered:
    """The parameters of a layer for which `why_not` gives None. `told` is called with how many more units are done; the
    weights of `others` may be a start, and random ones where it is to be `thorough`, which may take long."""
    way, given = _way(assumed), (assumed, _beginning(assumed), told, others)
    return recover_units(*given, thorough) if way == "units" else recover_layer(*given, way)


def why_untold(assumed: Assumption) -> str:
    """Why the numbers of a layer do not determine some parameters, and what would."""
    return _why_hidden(_beginning(assumed), _least(assumed), _way(assumed) == "matrix")


def as_claimed(assumed: Assumption, found: Recovered, claim: Claim) -> Recovered | None:
    """The recovered parameters with the values of a claim in place of their own, and the others found again. None where
    the run is explained less well by that, or where the claim covers less than half of the numbers."""
    told = sum(int(found.error[name].isfinite().sum()) for name in found.error.names)
    if 2 * sum(int(claim.open[name].sum()) for name in claim.open.names) > told:
        return None
    way, chunk = _way(assumed), _beginning(assumed)
    if way == "units":
        return claimed_units(assumed, chunk, found, claim)
    return claimed_layer(assumed, chunk, found, claim, way)


def _way(assumed: Assumption) -> Way | Literal["units"]:
    """Unit by unit; or all together, by products with the Jacobian or with the Jacobian as a matrix."""
    steps = assumed.run.x.shape[0]
    if needs_matrix(assumed):
        return "matrix"
    if not assumed.equations.mixes:
        return "units"
    return "products" if follows_paths(assumed, chunk_at(assumed.run, 0, min(steps, _TRIED))) else "matrix"


def _together(assumed: Assumption) -> int:
    """How many parameters a layer has; two biases that are only ever added count as one."""
    p = assumed.p
    return sum(p[name].numel() for name in p.names if name != "bias_hh" or p.bias_ih is None)


def _needed(assumed: Assumption) -> float:
    """How many rows have as many numbers as there are parameters."""
    if _way(assumed) == "units":
        return unknowns(assumed)
    of_unit = unknowns(assumed) if assumed.cell.is_by_unit else 0
    return max(of_unit, _together(assumed) / assumed.run.h.shape[-1])


def _least(assumed: Assumption) -> int:
    """How many rows are enough."""
    return math.ceil(_FEWEST * _needed(assumed))


def _rows(assumed: Assumption) -> int:
    """How many rows are looked at."""
    rows, count = _ROWS * _needed(assumed), _together(assumed)
    match _way(assumed):
        case "units":
            return math.ceil(rows)
        case "products":
            return math.ceil(max(rows, min(_ROWS_OF_ALL * count, _WORK / count)))
        case _:
            return int(min(rows, _NUMBERS // numbers(assumed)))


def _beginning(assumed: Assumption) -> Chunk:
    """The first steps of a run, as many as are looked at."""
    steps, batch = assumed.run.x.shape[:2]
    return chunk_at(assumed.run, 0, min(steps, math.ceil(_rows(assumed) / batch)))


def _why_hidden(chunk: Chunk, needed: int, alike: bool) -> str:
    """Why parameters are hidden in some steps, and what would show them. `needed` is how many steps that takes; `alike`
    says that other parameters may give the same h for any x."""
    differ = len(distinct(chunk))
    if differ < needed:
        return f"only {differ} of these steps differ from all before them; it takes {needed}, of a random x for example"
    still = [f"feature {at} of x" for at in _still(chunk, chunk.x)]
    still += [f"unit {at} of h" for at in _still(chunk, chunk.before)]
    if still:
        verb = "is" if len(still) == 1 else "are"
        return f"{listed(still, _NAMED)} {verb} the same at every step, which hides what is multiplied with it"
    if alike:
        return "other weights give the same h, whatever x is"
    return "units are saturated, or x and h move together; a random x, or one of another size, may show more"


def _still(chunk: Chunk, values: Tensor) -> list[int]:
    """The columns that have the same number at all steps, except for the first step of an item, which begins with an
    initial state."""
    rows = values[1:][chunk.inside[1:]]
    return (rows == rows[:1]).all(0).nonzero().flatten().tolist() if len(rows) else []
