"""What a report keeps of a run: every step where the file has room for all, else the steps that matter most."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.evaluation import Floats
from rnnspect.judging.case import Case
from rnnspect.judging.layer import ComparedChunk
from rnnspect.network.spec import Spec
from rnnspect.reporting.data import Kept
from rnnspect.reporting.deriving import cell_state_before

MOST_KEPT = 64
"""Steps that a report keeps where it has no room for every step."""
CELL = 4
"""Bytes of a cell of a picture in the file: a float32, or a smallest and a largest number of two bytes each."""
_EVERYTHING, _PICTURES, _DERIVATIONS, WEIGHTS = 5_700_000, 3_500_000, 1_300_000, 500_000
"""Bytes that base64 makes a third longer: of all that is kept where every step is; else of all pictures, all kept
steps and all weights."""
_GRADIENTS = 1_500_000
"""Bytes of the pictures of all gradients, at least, where every step is kept and not every gradient fits."""
_CURVE = 4096
"""Cells of a curve where every step is kept."""
_GRADIENT_CURVES = 6
"""Of a layer and direction: norms of dL/dh, of its two parts, and of dL/dc; and what two paths let through."""


@dataclass(frozen=True)
class Frame:
    """What a report shows of a run: an item of the batch, its number of steps, the steps that are kept, and how many
    cells a picture may have."""

    item: int
    length: int
    kept: tuple[int, ...]
    cells: int
    whole: bool = False
    """Whether every step and every weight is kept: then the page derives every number, and there are no pictures of
    quantities."""
    gradient_cells: int = 0
    """How many cells the picture of a gradient may have."""
    derives_gradients: bool = False
    """Whether the page derives the gradients of the pre-activations: it has every gradient of the gates."""

    @property
    def curve_cells(self) -> int:
        """How many cells a curve may have."""
        return min(self.cells, _CURVE)


def frame_of(
    cases: Sequence[Case],
    item: int,
    asked: tuple[int, ...] | None,
    interesting: int,
    with_gradients: bool,
    not_wrong: bool,
    of_parameters: int,
) -> Frame:
    """What a page keeps of one item of runs of the same network on the same input, the `cases`.

    Every step, if the file has room for all of them beside the pictures of parameters, which take the bytes
    `of_parameters`. Else the steps that were `asked` for, or those about the `interesting` one (-1: none). Of gradients
    every number, if there is room for that as well; if also nothing differs (`not_wrong`), the page computes those of
    the pre-activations from the values of the gates.
    """
    case = cases[0]
    spec, length = case.spec, case.sequence.length(item)
    widths = _gradient_widths(spec) if with_gradients else []
    pre_activations = [*spec.gate_sizes] * (len(spec.places) * with_gradients)
    taken = _bytes_of_input(case, length) + sum(_bytes_of_run(one, length) for one in cases)
    taken += of_parameters
    taken += min(length, _CURVE) * CELL * _GRADIENT_CURVES * len(spec.places) * with_gradients
    width = length * _width(case.sequence.x)
    derives = not_wrong and with_gradients and taken + sum(widths) * width <= _EVERYTHING
    widths += [] if derives else pre_activations
    every_gradient = sum(widths) * width
    if taken + min(every_gradient, _GRADIENTS) <= _EVERYTHING:
        all_fit = taken + every_gradient <= _EVERYTHING
        cells = length * max(widths, default=0) if all_fit else (_EVERYTHING - taken) // (CELL * len(widths))
        return Frame(item, length, tuple(range(length)), _CURVE, True, cells, derives)
    # So that all pictures fit: x, its projection, each quantity, and of h the engine's, the difference and the ratio.
    pictures = (len(spec.cell_type.quantities) + 5) * len(spec.places) * len(cases) + len(widths)
    cells = _PICTURES // (CELL * pictures)
    kept = asked or kept_steps(length, _kept_at_most(spec, len(cases)), interesting)
    return Frame(item, length, kept, cells, gradient_cells=cells)


def kept_steps(length: int, most: int, interesting: int) -> tuple[int, ...]:
    """All `length` steps, or `most` of them: the first two, the last, an interesting one (-1: none) with the step on
    each side of it, and others evenly between."""
    if length <= most:
        return tuple(range(length))
    about = [interesting, interesting - 1, interesting + 1] if interesting >= 0 else []
    wanted = dict.fromkeys([*about, 0, length - 1, 1])
    kept = [step for step in wanted if 0 <= step < length][:most]
    spread = np.linspace(0, length - 1, most).round().astype(int).tolist()
    others = [step for step in spread if step not in kept]
    free = most - len(kept)
    kept += [others[at * len(others) // free] for at in range(min(free, len(others)))]
    return tuple(sorted(kept))


def _bytes_of_input(case: Case, length: int) -> int:
    """The bytes of the weights and of x."""
    weights = sum(values.numel() * _width(values) for values in case.parameters.values())
    return weights + length * case.spec.input_size * _width(case.sequence.x)


def _bytes_of_run(case: Case, length: int) -> int:
    """The bytes of what each step starts from, of what the engine gave, and of its bound, for all steps; and of the
    curves."""
    spec, cell, total = case.spec, case.spec.cell_type, 0
    for place in spec.places:
        shown: Mapping[str, Tensor] = case.observation.layers.get(place, {})
        each = sum(values.shape[-1] * _width(values) for values in shown.values())
        each += spec.output_size * (4 if "h" in shown else 8)  # its bound; or h, which the equations give
        each += 8 * spec.units("c") if cell.has_cell_state else 0
        total += length * each + min(length, _CURVE) * CELL * (len(cell.gates) + 2)
    return total


def _gradient_widths(spec: Spec) -> list[int]:
    """How many numbers a step has of each gradient that is shown: of x, and of each gate and state."""
    each = [spec.units(name) for name in spec.cell_type.quantities]
    return [width for layer, _ in spec.places for width in (spec.layer_input_size(layer), *each)]


def _width(values: Tensor) -> int:
    """The bytes of the narrowest number that holds these exactly."""
    return max(values.element_size(), 4)


def _kept_at_most(spec: Spec, runs: int) -> int:
    """How many steps fit into a file of the usual size. The file holds x and the states of each and, where there is no
    room for the weights, both sums of products of each gate."""
    cell = spec.cell_type
    units = 2 * sum(spec.gate_sizes) + sum(spec.units(name) for name in cell.states)
    numbers = sum(units + spec.layer_input_size(layer) for layer in range(spec.num_layers))
    return max(min(MOST_KEPT, _DERIVATIONS // (8 * numbers * spec.num_directions * runs)), 1)


class KeptSteps:
    """The steps of a chunk by their index in the input, without those beyond the item's length."""

    def __init__(self, compared: ComparedChunk, reverse: bool, frame: Frame) -> None:
        chunk, self._reverse, self._item = compared.chunk, reverse, frame.item
        self.count = max(min(len(chunk.x), frame.length - chunk.start), 0)
        self.start = frame.length - chunk.start - self.count if reverse else chunk.start

    def of(self, values: Tensor) -> Floats:
        """(steps, 1, units) in processing order, as (n, units) by step of the input."""
        mine = values[: self.count, 0]
        return (mine.flip(0) if self._reverse else mine).double().numpy()

    def shown(self, values: Tensor) -> Floats:
        """The same for what an engine showed: (T, B, units), by step of the input."""
        return values[self.start : self.start + self.count, self._item].double().numpy()

    def order(self, step: int) -> int:
        """The place of a step in the chunk."""
        return self.start + self.count - 1 - step if self._reverse else step - self.start


class Keeper:
    """Collects the numbers of a layer at the kept steps, chunk by chunk, in any order of chunks."""

    def __init__(self, frame: Frame, shown: Mapping[str, Tensor]) -> None:
        """`shown` is what the engine showed of the layer."""
        self._frame, self._shown = frame, shown
        self._arrays: dict[str, Floats] = {}

    def keep(self, compared: ComparedChunk, part: KeptSteps) -> None:
        steps = self._frame.kept
        first, last = (bisect_left(steps, step) for step in (part.start, part.start + part.count))
        if first == last:
            return
        orders = [part.order(step) for step in steps[first:last]]

        def add(name: str, values: Tensor) -> None:
            if name not in self._arrays:
                self._arrays[name] = np.empty((len(steps), values.shape[-1]))
            self._arrays[name][first:last] = values.double().numpy(force=True)

        chunk, v, ratio = compared.chunk, compared.q["h"].v, compared.ratio
        add("x", chunk.x[orders, 0])
        add("h", chunk.before[orders, 0])
        if (begun := cell_state_before(compared, 0)) is not None:
            add("c", torch.cat([begun[None], compared.q["c"].v[:-1, 0]])[orders])
        add("gave", compared.after[orders, 0])
        unjudged = (ratio == 0) & (v != compared.after)
        add("bound", compared.bound.masked_fill(unjudged, torch.inf)[orders, 0])

    def kept(self) -> Kept:
        steps, item = list(self._frame.kept), self._frame.item
        given = {name: values for name, values in self._arrays.items() if name in ("x", "h", "c")}
        others = {name: values[steps, item].double().numpy() for name, values in self._shown.items()}
        gave = others | {"h": self._arrays["gave"]}
        return Kept(self._frame.kept, given, gave, self._arrays["bound"] if "h" in self._shown else None)
