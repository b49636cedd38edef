"""What a check would have seen: the smallest error of each gate, or of each result of a pass backwards."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.table import Table

from rnnspect.judging.finding import PAST_USE
from rnnspect.judging.verdict import GateResolution, Verdict
from rnnspect.views.rendering import table

_TITLE = "\nsensitivity: the smallest {} this check would detect"


def part(verdict: Verdict) -> str:
    """The noun for what a line of the table is about: a gate, or a result."""
    return "result" if any(line.is_result for line in verdict.resolution) else "gate"


def is_known(verdict: Verdict) -> bool:
    """Whether some error would have been seen."""
    return any(line.finest < math.inf for line in verdict.resolution)


def detects(verdict: Verdict) -> str:
    """The error that every unit would show."""
    worst = max((line.coarsest for line in verdict.resolution), default=0.0)
    if not verdict.resolution:
        return "errors in the values that were recorded"
    errors = "gate errors"
    if verdict.backward:
        errors = "relative errors in " + ("a result" if part(verdict) == "result" else "the gradient of a gate")
    if worst < math.inf:
        usual = max(line.median for line in verdict.resolution)
        if worst > PAST_USE and usual < worst:  # a sum that cancels to nearly nothing is known to few digits
            return f"{errors} of {usual:.1e} and more in half of the units, of {worst:.1e} and more in every unit"
        return f"{errors} of {worst:.1e} and more"
    insensitive = sum(1 for line in verdict.resolution if line.coarsest == math.inf)
    for some, every in (("half of the units", "median"), ("some units", "finest")):
        if (size := max(getattr(line, every) for line in verdict.resolution)) < math.inf:
            errors += f" of {size:.1e} and more in {some}"
            break
    return f"{errors}, but not in all units for {insensitive} of {len(verdict.resolution)} {part(verdict)}s"


def lines(verdict: Verdict) -> Iterator[Table]:
    """A row for each gate, or for each result."""
    if not verdict.resolution:
        return
    numbers = (">best", ">median", ">worst", ">worst unit", f">units > {verdict.telling:g}")
    if part(verdict) == "result":
        made = table("result", *numbers, title=_TITLE.format("relative error"))
        for line in verdict.resolution:
            made.add_row(_result(line, verdict), *_numbers(line))
    else:
        title = _TITLE.format("relative error" if verdict.backward else "gate error")
        made, before = table("layer", "gate", *numbers, title=title), ""
        for line in verdict.resolution:
            place = f"{line.layer} {line.direction}"
            made.add_row("" if place == before else place, line.gate, *_numbers(line))
            before = place
    yield made


def _result(line: GateResolution, verdict: Verdict) -> str:
    """dL/dweight_ih_l0; dL/dh0, layer 0 forward, for all layers have one."""
    name = line.gate.removeprefix("grad.")
    several = len(verdict.spec.places) > 1 and name in ("h0", "c0")
    return f"dL/d{name}, layer {line.layer} {line.direction}" if several else f"dL/d{name}"


def _numbers(line: GateResolution) -> tuple[str, ...]:
    """None where no shift of a gate shows, nor any relative error of a gradient of zero."""
    sizes = (f"{one:.1e}" if one < math.inf else "none" for one in (line.finest, line.median, line.coarsest))
    return (*sizes, str(line.coarsest_unit), str(line.coarse_units or ""))
