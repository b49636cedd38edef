"""Estimates how many bytes a piece of work needs, before any are allocated: between the real amount and half as much
again, where that is above 500 MB. The factors are measured; `tests/cli/test_memory_taken.py` measures them again."""

from __future__ import annotations

from collections.abc import Iterable

from rnnspect.files.free_memory import LARGE
from rnnspect.network.quantities import PROJECTIONS
from rnnspect.network.shapes import shapes_of
from rnnspect.network.spec import Spec
from rnnspect.network.spec_keys import ITEMSIZE

WORKSPACE = 1 << 28
"""Bytes that a framework may take for one piece of a long run; a larger piece is not faster."""
_LONGEST = 1 << 16
"""How many steps a piece has in most engines."""
_STEP = 800
"""Bytes that PyTorch's own kernels keep for each step besides its numbers: about ten tensors. Measured on nn.GRU and
nn.RNN of 4 units; oneDNN, which runs nn.LSTM in float32, keeps none."""
_LIBRARIES = 48 << 20
"""The bytes of modules that are imported late, and of the allocator."""
_CHUNKS = 128 << 20
"""The bytes of the chunks in which a run is judged, however long it is."""
_ESTIMATED = 72
"""Bytes for each value of a layer below the top, which a live model does not show: it is computed in float64, several
times, for how far roundings may carry it. Measured."""
_WRITTEN = 80
"""The bytes of a number that waits to be written as JSON: 24 for the float, 8 for its place, and twice its 20 to 24
characters, once by themselves and once in the whole text."""
_RECORDED = 19_000
"""Bytes that autograd keeps for each step of a layer besides its numbers. Measured on nn.GRU of 4 units."""
_ROW = 88
"""The bytes of the list that holds the numbers of one step."""


def parameters_need(spec: Spec) -> int:
    """Bytes for the parameters: as drawn in float32, as cast to another dtype, and as the engine packs them."""
    shapes = shapes_of(spec)
    return (0 if spec.dtype == "float32" else shapes.total * 4) + 2 * shapes.bytes


def step_workspace(spec: Spec) -> int:
    """Bytes that a framework takes while it runs, for each step of an item: W x of all gates of the widest layer, that
    layer's x and h once more. Half types are computed in float32."""
    widest = max(spec.layer_input_size(layer) for layer in range(spec.num_layers))
    return (sum(spec.gate_sizes) + _state_units(spec) + widest) * max(4, ITEMSIZE[spec.dtype])


def _state_units(spec: Spec) -> int:
    """Of h and of the cell state, where there is none of another h."""
    return spec.hidden_size + (spec.units("c") if spec.cell_type.has_cell_state else spec.hidden_size)


def run_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for a run, with what is imported for it."""
    return _LIBRARIES + numbers_need(spec, steps, batch)


def numbers_need(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for the parameters, x, h of every layer, and what the framework takes while it runs.

    A run of one direction goes in pieces, which take `WORKSPACE` at most. Any other is one call for the whole stack,
    whose output, with both directions apart and side by side, stands beside that of its layers.
    """
    rows, itemsize = steps * batch, ITEMSIZE[spec.dtype]
    drawn = 0 if spec.dtype == "float32" else 4  # x is made in float32, and then cast
    x = rows * spec.input_size * (itemsize + drawn)
    working, outputs = rows * step_workspace(spec) + steps * _STEP * spec.num_directions, spec.num_layers
    if spec.directions == ("forward",) and spec.lengths is None:
        working = min(working, WORKSPACE, _LONGEST * (batch * step_workspace(spec) + _STEP))
    else:
        outputs += 2 if spec.num_layers == 1 else 4
    kept = rows * outputs * spec.output_width * itemsize
    return parameters_need(spec) + x + kept + working


def run_document_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for a run and for its JSON."""
    widths = [spec.input_size, spec.output_width]
    return run_needs(spec, steps, batch) + steps * batch * _as_json(widths)


def check_run_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for a run that is judged."""
    return run_needs(spec, steps, batch) + _CHUNKS


def steps_of_a_piece_back(spec: Spec, batch: int) -> int:
    """How many steps of a long run go back together, a multiple of 64: what autograd and the judge keep of them is
    about half of `WORKSPACE`."""
    return max(64, WORKSPACE // 2 // _step_back(spec, batch) // 64 * 64)


def _step_back(spec: Spec, batch: int) -> int:
    """Bytes of one step of a layer whose x has a feature more for each gate and unit, forwards and back."""
    packed = sum(spec.gate_sizes) * spec.num_directions
    widest = max(spec.layer_input_size(layer) for layer in range(spec.num_layers))
    numbers = 3 * (widest + packed) + 6 * packed + 4 * _state_units(spec) * spec.num_directions
    return _RECORDED * spec.num_directions + batch * numbers * max(4, ITEMSIZE[spec.dtype])


def check_backward_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for a run whose gradients are judged. A long one goes in pieces, and what a layer gives to the one above
    lies in a file then (`files/on_disk.py`)."""
    rows = steps_of_a_piece_back(spec, batch)
    if rows >= steps:
        return whole_backward_needs(spec, steps, batch)
    x = steps * batch * spec.input_size * ITEMSIZE[spec.dtype]
    units = _state_units(spec) * len(spec.places)
    edges = 2 * (steps // rows + 1) * batch * units * ITEMSIZE[spec.dtype]  # the states, and their gradients
    output = steps * batch * spec.output_width * ITEMSIZE[spec.dtype]
    kept = spec.num_layers * output if output < LARGE else 0
    return _LIBRARIES + 2 * _CHUNKS + parameters_need(spec) + x + edges + kept + rows * _step_back(spec, batch)


def whole_backward_needs(spec: Spec, steps: int, batch: int) -> int:
    """The same where the engine has to run all steps in one call."""
    kept = steps * batch * sum(_gradient_widths(spec)) * ITEMSIZE[spec.dtype]
    return run_needs(spec, steps, batch) + 2 * _CHUNKS + kept + steps * _step_back(spec, batch)


def check_needs(spec: Spec, _steps: int, _batch: int) -> int:
    """Bytes for judging a recorded run: it goes in chunks, so the steps do not count."""
    return _LIBRARIES + parameters_need(spec) + _CHUNKS


def model_needs(specs: Iterable[Spec], x_bytes: int, rows: int) -> int:
    """Bytes for running a live model on x twice and keeping what its stacks received and returned, if each runs on all
    `rows` of x, steps times items: x as it was given and as each run may change it, both runs' copies, and what PyTorch
    takes while the widest stack runs."""
    specs = list(specs)
    copies = sum(rows * (one.input_size + one.output_width) * ITEMSIZE[one.dtype] for one in specs)
    working = max((rows * one.num_directions * step_workspace(one) for one in specs), default=0)
    unseen = max((rows * one.output_width for one in specs if one.num_layers > 1), default=0)
    return _LIBRARIES + 2 * x_bytes + 2 * copies + working + _CHUNKS + unseen * _ESTIMATED


def trace_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for every quantity of every step, the engine's outputs, and the float64 differences of one layer."""
    kept = steps * batch * sum(_widths(spec)) * ITEMSIZE[spec.dtype]
    return run_needs(spec, steps, batch) + kept + 3 * 8 * steps * batch * spec.output_size


def document_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for a trace and for its JSON."""
    # besides the quantities: h of every layer as the engine gave it, both outputs, and x as the sequence
    widths = [*_widths(spec), *[spec.output_size] * len(spec.places), *[spec.output_width] * 2, spec.input_size]
    return trace_needs(spec, steps, batch) + steps * batch * _as_json(widths)


def gradients_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for every quantity of every step, its gradient, and what an engine keeps for its own pass backwards."""
    rows, itemsize = steps * batch, ITEMSIZE[spec.dtype]
    packed, gradients = sum(spec.gate_sizes), sum(_gradient_widths(spec))
    kept = rows * (sum(_widths(spec)) + gradients) * itemsize
    layer = rows * (gradients // len(spec.places) + 2 * packed + spec.hidden_size) * itemsize
    recorded = batch * (2 * packed + 2 * _state_units(spec)) * max(4, itemsize) + _RECORDED
    engine = steps * len(spec.places) * recorded
    return run_needs(spec, steps, batch) + kept + layer + engine + parameters_need(spec)


def derived_gradient_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for every quantity of every step in float64, and for the gradients of one layer: those of each step by
    themselves, and then all as one."""
    cell, wide = spec.cell_type, spec.with_changes(dtype="float64")
    quantities = sum(spec.units(name) for name in cell.quantities)
    of_a_step = (2 * sum(spec.gate_sizes) + quantities + 5 * _state_units(spec)) * spec.num_directions
    small = steps * spec.num_directions * _STEP * 8  # of some thirty tensors a step
    return trace_needs(wide, steps, batch) + 2 * 8 * steps * batch * of_a_step + small


def gradients_document_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for gradients and for their JSON."""
    widths = [*_gradient_widths(spec), *[spec.output_width] * 3, *[spec.input_size] * 2]
    return gradients_needs(spec, steps, batch) + steps * batch * _as_json(widths)


def _gradient_widths(spec: Spec) -> list[int]:
    """The numbers that each gradient has at a step of an item."""
    cell = spec.cell_type
    of_a_place = [spec.units(name) for name in (*cell.quantities, *cell.states, "h")] + [*spec.gate_sizes]
    inputs = [spec.layer_input_size(layer) for layer, _ in spec.places]
    return [*inputs, *of_a_place * len(spec.places)]


def _widths(spec: Spec) -> list[int]:
    """The numbers that each quantity of a trace has at a step of an item."""
    cell = spec.cell_type
    of_a_place = [*[sum(spec.gate_sizes)] * len(PROJECTIONS), *(spec.units(name) for name in cell.quantities)]
    inputs = [spec.layer_input_size(layer) for layer, _ in spec.places]
    return [*inputs, *of_a_place * len(spec.places)]


def _as_json(widths: list[int]) -> int:
    """Bytes of the lists and of the text for rows of so many numbers."""
    return sum(width * _WRITTEN + _ROW for width in widths)
