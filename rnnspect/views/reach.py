"""How far a gradient reaches, in words: a sentence, and what of the run decides it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

import torch

from rnnspect.tracing.gradient_reach_found import Reach
from rnnspect.tracing.gradients import LayerGradient
from rnnspect.views import text


def sentence(layer: LayerGradient, item: int, length: int) -> str:
    """From the step where the gradient comes in to the last one that it reaches, for one item of the batch."""
    h = layer.quantities["h"]
    least = torch.finfo(h.dtype).tiny
    small = bool((h[item, :length].abs() < least).logical_and(h[item, :length] != 0).any())
    dtype = str(h.dtype).removeprefix("torch.")
    return _sentence(layer, item, length) + (
        f"; {dtype} ends at {least:.0e}, so the smallest are inexact" if small else ""
    )


def _sentence(layer: LayerGradient, item: int, length: int) -> str:
    norms = layer.reach.norms
    order = list(range(length))[:: -1 if layer.direction == "forward" else 1]
    h, output = norms["h"][item].tolist(), norms["h_output"][item].tolist()
    if (odd := next((step for step in order if not math.isfinite(h[step])), None)) is not None:
        return f"dL/dh is not finite, from step {odd} on"
    there = [step for step in order if h[step] > 0]
    if not there:
        return "no gradient reaches h"
    start, goal = there[0], there[-1]
    if length == 1:
        return f"dL/dh is {text.number(h[start], 2)} at the only step"
    if start == order[-1]:
        return f"only step {start} has a gradient: this direction begins there, so nothing goes on"
    if start == goal:
        return f"dL/dh is zero before step {start}" + rates(layer.reach, item, ": ")
    share = h[goal] / h[start]
    than = f"{share:.2g} of that" if share < 1 else f"{text.two_digits(share)} times that"
    alike = 0.95 < share < 1.05
    if any(output[step] for step in order[1:] if step != start):
        later = norms["h_next"][item, goal] ** 2 / h[goal] ** 2
        said = f"dL/dh at step {goal} is {'about as large as' if alike else than} at step {start}"
        part = math.sqrt(float(later))
        where = "later" if layer.direction == "forward" else "earlier"
        said += f" (the part from {where} steps is {percent(part)} as large)"
    else:
        short = "" if goal == order[-1] else "no further than "
        said = f"dL/dh reaches {short}step {goal} with {than} at step {start}"
        if len(layer.reach.paths) > 1:
            whole = share ** (1 / abs(goal - start))
            return f"{said}: ×{_factor(whole)} a step in all" + rates(layer.reach, item, ", ").replace(" a step", "")
    return said + rates(layer.reach, item, ": ")


def rates(reach: Reach, item: int, before: str) -> str:
    """×0.82 a step through h, ×0.97 through c."""
    said: list[str] = []
    for path in reversed(reach.paths):
        rate, blocked = path.rate(item), path.blocked(item)
        if rate is not None:
            nothing = f" (zero at {text.counted(blocked, 'step')})" if blocked else ""
            said.append(f"×{_factor(rate)}{'' if said else ' a step'} through {path.name}{nothing}")
        elif blocked and reach.spectral_radius:  # a cell without W_hh has no such path
            said.append(f"zero through {path.name}")
    return before + ", ".join(said) if said else ""


def in_brief(reach: Reach, item: int) -> str:
    """h ×0.82, c ×0.97."""
    rates = [(path.name, path.rate(item)) for path in reversed(reach.paths)]
    return ", ".join(f"{name} ×{_factor(rate)}" for name, rate in rates if rate is not None)


def reasons(reach: Reach) -> Iterator[str]:
    """Saturated gates, dead units, time constants and spectral radii, a line each."""
    shares = ", ".join(f"{gate} {percent(share)}" for gate, share in reach.saturated.items())
    yield f"saturated: {shares} of the values; {_dead(reach.dead)}"
    if reach.time_constants is not None:
        ordered = reach.time_constants.sort().values.tolist()
        middle = statistics.median(ordered)
        span = "" if len(ordered) == 1 else f" ({_steps(ordered[0])} to {_steps(ordered[-1])})"
        yield f"time constants (steps until 1/e is left): median {_steps(middle)}{span}"
    radii = [f"{gate} {radius:.2f}" for gate, radius in reach.spectral_radius.items() if radius is not None]
    if radii:
        alone = len(radii) == 1
        yield f"spectral radius of W_hh: {radii[0].split()[-1] if alone else ', '.join(radii)}"


def _dead(units: tuple[int, ...]) -> str:
    if not units:
        return "no dead units"
    shown = ", ".join(map(str, units[:5])) + (", …" if len(units) > 5 else "")
    return f"{text.counted(len(units), 'dead unit')} ({shown})"


def percent(share: float) -> str:
    """12 %; <1 %."""
    return "0 %" if share == 0 else "<1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _steps(count: float) -> str:
    return "∞" if math.isinf(count) else f"{count:.3g}"


def _factor(rate: float) -> str:
    return f"{rate:.2f}" if 0.01 <= rate < 100 else f"{rate:.0e}"
