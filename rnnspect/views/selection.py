"""Which steps, layers, units and quantities a table shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnspect.errors import InputError
from rnnspect.network.places import check_direction, check_item, span
from rnnspect.network.quantities import known

if TYPE_CHECKING:
    from rnnspect.network.spec import Spec

CHOOSES_ITEM = " (--batch-index chooses another)"
HEAD_AND_TAIL = 5
"""Steps shown at each end of a run that is too long to show whole."""


@dataclass(frozen=True)
class Selection:
    """What the user asked to see, as typed; None is what the view thinks best."""

    steps: str | None = None
    layers: str | None = None
    direction: str | None = None
    units: str | None = None
    batch_index: int = 0
    quantities: str | None = None
    precision: int | None = None

    @property
    def decimals(self) -> int:
        return 4 if self.precision is None else self.precision

    def shows(self, spec: Spec, layer: int, direction: str) -> bool:
        """Raises `InputError` for layers that are not there."""
        layers = indices(self.layers or ":", spec.num_layers, "layer")
        return layer in layers and self.direction in (None, direction)

    def chosen_units(self, count: int) -> list[int] | None:
        """Those that were asked for; None where none were. Raises `InputError` for units that are not there."""
        return None if self.units is None else indices(self.units, count, "unit")


def indices(text: str, count: int, what: str) -> list[int]:
    """The places that a text such as 0:10,95: names, in order, each once. Raises `InputError` for one outside."""
    chosen: list[int] = []
    for part in text.split(","):
        chosen += _part(part.strip(), count, what)
    return sorted(set(chosen))


def shown_steps(selection: Selection, count: int) -> list[int]:
    """Those that were asked for, else both ends of a run of `count` steps."""
    if selection.steps is not None:
        return indices(selection.steps, count, "step")
    if count <= 2 * HEAD_AND_TAIL + 2:
        return list(range(count))
    return [*range(HEAD_AND_TAIL), *range(count - HEAD_AND_TAIL, count)]


def with_gaps(steps: Iterable[int], length: int) -> Iterator[int | range]:
    """The steps of an item that has `length` of them, and between them the ranges that are not among `steps`."""
    following = 0
    for step in [*(step for step in steps if step < length), length]:
        if step > following:
            yield range(following, step)
        if step < length:
            yield step
        following = step + 1


def shown_quantities(selection: Selection, spec: Spec) -> list[str]:
    """In the order in which they are computed. Raises `InputError` for one that the cell does not have."""
    there = spec.quantities
    if selection.quantities is None:  # of several gates the rows of one projection are many already
        several = len(spec.cell_type.gates) > 1
        return [name for name in there if not (several and name == "hidden_projection")]
    said = map(str.strip, selection.quantities.split(","))
    asked = [known(name, there, spec.cell, "--quantities") for name in said]
    return [name for name in there if name in asked]


def check(selection: Selection, spec: Spec, steps: int, batch: int) -> None:
    """Raises `InputError` for anything asked for that is not there, before any work is done."""
    shown_quantities(selection, spec)
    shown_steps(selection, steps)
    indices(selection.layers or ":", spec.num_layers, "layer")
    widest = max(*map(spec.units, spec.cell_type.quantities), *map(spec.layer_input_size, range(spec.num_layers)))
    indices(selection.units or ":", widest, "unit")
    if selection.direction is not None:
        check_direction(selection.direction, spec, "--direction")
    check_item(selection.batch_index, batch, "--batch-index")


def _part(part: str, count: int, what: str) -> list[int]:
    option = "--layers" if what == "layer" else f"--{what}s"
    start, colon, stop = part.partition(":")
    try:
        bounds = [int(bound) if bound.strip() else None for bound in (start, stop)]
        if not colon and bounds[0] is None:
            raise ValueError(part)
    except ValueError:
        allowed = "numbers and ranges such as 0:10,95:"
        raise InputError(f"{part!r} is not a {what} or a range of them", allowed=allowed, where=option) from None
    if colon:
        chosen = list(range(count))[slice(*bounds)]
    else:
        place = bounds[0] or 0
        chosen = [place % count] if -count <= place < count else []
    if not chosen:
        raise InputError(f"no {what}{'s' if colon else ''} {part}", allowed=span(count), where=option)
    return chosen
