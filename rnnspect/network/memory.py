"""How many bytes a piece of work needs, estimated before any memory is taken."""

from __future__ import annotations

from rnnspect.network.keys import ITEMSIZE
from rnnspect.network.parameters import shapes_of
from rnnspect.network.spec import Spec

_WRITTEN = 56
"""Bytes of a number that waits to be written as JSON: 24 for the float, 8 for its place, 24 for its digits."""


def parameters_need(spec: Spec) -> int:
    """Bytes for the parameters: as drawn in float32, as cast, and once more in the engine."""
    shapes = shapes_of(spec)
    return shapes.total * 4 + 2 * shapes.bytes


def run_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for x and the outputs of one run."""
    width = spec.input_size + (2 * spec.num_layers + 1) * spec.num_directions * spec.output_size
    return parameters_need(spec) + steps * batch * width * ITEMSIZE[spec.dtype]


def document_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for a trace and for its JSON: every number as a Python float and as text."""
    return trace_needs(spec, steps, batch) * (1 + _WRITTEN // ITEMSIZE[spec.dtype])


def check_needs(spec: Spec, _steps: int, _batch: int) -> int:
    """Bytes for judging a recorded run: it goes in chunks, so the steps do not count."""
    return parameters_need(spec)


def trace_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for every quantity of every step, the engine's outputs, and the float64 differences of one layer."""
    cell = spec.cell_type
    units = (len(cell.gates) + len(cell.quantities)) * spec.hidden_size
    inputs = sum(spec.layer_input_size(layer) for layer in range(spec.num_layers))
    kept = steps * batch * (len(spec.places) * units + inputs) * ITEMSIZE[spec.dtype]
    return run_needs(spec, steps, batch) + kept + 3 * 8 * steps * batch * spec.output_size
