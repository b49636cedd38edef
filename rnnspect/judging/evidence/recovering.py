"""An engine's parameters from its h: whether they can be recovered, and from which steps.

Each step starts from the engine's own h. Then a hidden unit answers to its own rows alone, and all units are solved
side by side (`recovering_units.py`); or a matrix comes between the units and h, and the layer is solved as a whole
(`recovering_whole.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from rnnspect.cells.trial import normalises
from rnnspect.judging.chunks import Chunk, chunk_at
from rnnspect.judging.evidence.recovered import Recovered, unknowns
from rnnspect.judging.evidence.recovering_units import recover_units
from rnnspect.judging.evidence.recovering_whole import is_linear, recover_whole
from rnnspect.judging.evidence.suspects import NORMALISES, NOT_BY_UNIT
from rnnspect.judging.interpretation import Interpretation

_ROWS, _FEWEST = 6, 1.5
"""Rows (step × item) that are looked at for each parameter of a unit, and as few as do."""
_ROWS_OF_ALL, _WORK = 3, 1.6e8
"""As a whole, a layer is known the better the more rows there are: for each parameter of it three, as long as rows ×
parameters are no more than this."""
_PRODUCTS = 2000
"""Multiplications by each parameter that it takes at each row, to solve a layer as a whole."""


def cost(reading: Interpretation) -> float:
    """Multiplications that a recovery takes, about."""
    rows = min(_rows(reading), reading.run.x.shape[0] * reading.run.x.shape[1])
    whole = _PRODUCTS * _together(reading) if reading.equations.mixes else 0
    return float(rows) * (unknowns(reading) ** 2 * reading.units + whole)


def why_not(reading: Interpretation) -> str | None:
    """Why nothing of a layer can be recovered; None where it can."""
    run = reading.run
    if not reading.seen:
        return "its h was not recorded"
    if run.error is not None:
        return "its input was not recorded"
    if not reading.cell.is_by_unit:
        return NOT_BY_UNIT
    if not reading.cell.torch_name and normalises(reading.cell):
        return NORMALISES
    given, needed = _beginning(reading), math.ceil(_FEWEST * _needed(reading))
    if given.count < needed:
        of_unit, of_all = f"each unit has {unknowns(reading)} weights", f"{_together(reading)} weights move h together"
        said = of_all if reading.equations.mixes else of_unit
        return f"{said}, so {needed} steps are needed; the run has {given.count}"
    if not all(bool(of[given.inside].isfinite().all()) for of in (given.x, given.before, given.after)):
        return "not all of its numbers are finite"
    if reading.equations.mixes and not is_linear(reading, given):
        return "its units are mixed by more than one matrix before h, or by one that is used twice"
    return None


def recover(reading: Interpretation, told: Callable[[int], None] = lambda _units: None) -> Recovered:
    """Of a layer of which `why_not` says nothing. `told` hears how many units more are done."""
    return (recover_whole if reading.equations.mixes else recover_units)(reading, _beginning(reading), told)


def _together(reading: Interpretation) -> int:
    """How many parameters a layer has, two biases that come together as one."""
    p = reading.p
    return sum(p[name].numel() for name in p.names if name != "bias_hh" or p.bias_ih is None)


def _needed(reading: Interpretation) -> float:
    """Rows that tell as many numbers as there are parameters."""
    whole = _together(reading) / reading.run.h.shape[-1] if reading.equations.mixes else 0
    return max(unknowns(reading), whole)


def _rows(reading: Interpretation) -> int:
    """That are looked at."""
    rows = _ROWS * _needed(reading)
    if reading.equations.mixes:
        together = _together(reading)
        rows = max(rows, min(_ROWS_OF_ALL * together, _WORK / together))
    return math.ceil(rows)


def _beginning(reading: Interpretation) -> Chunk:
    """As many steps as are looked at."""
    steps, batch = reading.run.x.shape[:2]
    return chunk_at(reading.run, 0, min(steps, math.ceil(_rows(reading) / batch)))
