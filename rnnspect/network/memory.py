"""How many bytes a piece of work needs, estimated before any memory is taken."""

from __future__ import annotations

from rnnspect.network.keys import ITEMSIZE
from rnnspect.network.parameters import shapes_of
from rnnspect.network.spec import Spec

_WRITTEN = 56
"""Bytes of a number that waits to be written as JSON: 24 for the float, 8 for its place, 24 for its digits."""


WORKSPACE = 1 << 28
"""Bytes that a framework may take for one piece of a long run; measured: a larger piece is not faster."""
_STEP = 900
"""Bytes that PyTorch's own kernels keep for each step besides numbers: the tensors of a step, about ten. Measured on
nn.GRU and nn.RNN of 4 units; oneDNN, which runs nn.LSTM in float32, keeps none."""


def parameters_need(spec: Spec) -> int:
    """Bytes for the parameters: as drawn in float32, as cast, and once more in the engine."""
    shapes = shapes_of(spec)
    return shapes.total * 4 + 2 * shapes.bytes


def step_workspace(spec: Spec) -> int:
    """Bytes that a framework takes while it runs, for each step of an item: W x of all gates of the widest layer, that
    layer's x and h once more. Half types are computed in float32."""
    widest = max(spec.layer_input_size(layer) for layer in range(spec.num_layers))
    return ((len(spec.cell_type.gates) + 2) * spec.hidden_size + widest) * max(4, ITEMSIZE[spec.dtype])


def run_needs(spec: Spec, steps: int, batch: int) -> int:
    """Bytes for x, h of every layer, and what the framework takes while it runs.

    A run of one direction goes in pieces, which take `WORKSPACE` at most; any other is one call, which also returns the
    output of its whole stack beside that of its layers.
    """
    rows, itemsize = steps * batch, ITEMSIZE[spec.dtype]
    drawn = 0 if spec.dtype == "float32" else 4  # x is made in float32, and then cast
    x = rows * spec.input_size * (itemsize + drawn)
    working = rows * step_workspace(spec) + steps * _STEP
    outputs = spec.num_layers
    if spec.directions == ("forward",) and spec.lengths is None:
        working = min(working, WORKSPACE)
    else:
        outputs += 1 + (spec.num_layers > 1)  # and each direction before they are side by side
    return parameters_need(spec) + x + rows * outputs * spec.num_directions * spec.output_size * itemsize + working


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
