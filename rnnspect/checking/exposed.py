"""Runs an engine backwards so that it shows its own gradient of every gate's pre-activation at every step.

A fused kernel returns only dL/dx and sums over time. So x gets G·H more features for each direction, all of them zero,
and W_ih gets the identity as their columns: the pre-activations do not change, and dL/d of the new features is dL/d of
the pre-activations. A stack runs layer by layer, from the top down, each layer on the gradient that the layer above it
gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.engines.interface import GoesBack
from rnnspect.errors import EngineError, InputError
from rnnspect.judging.backward.case import SeenLayer
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.parameters import LayerParameters, suffix
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import Prepared


def exposed_layers(
    engine: GoesBack,
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    upstream: Upstream,
    inputs: Seq[Tensor],
) -> tuple[SeenLayer, ...]:
    """What the engine shows of each layer, on the CPU. `inputs` is the x (T, B, ·) that each layer is given.

    Raises what the engine raises.
    """
    seen: list[SeenLayer] = []
    output = upstream.output
    for layer in reversed(range(spec.num_layers)):
        rows = _rows(spec, sequence, layer, inputs[layer])
        lasts = [None if g is None else of_layer(spec, layer, g) for g in (upstream.h_n, upstream.c_n)]
        shown = exposed_layer(engine, spec, layer, parameters, rows, Upstream(output, *lasts))
        seen.insert(0, shown)
        output = shown.grad_x.to(sequence.x.device)
    return tuple(seen)


_RESULTS_ALONE = "only the gradients of x, states and parameters were checked"
_WITHOUT_WEIGHTS = (
    "single steps were not checked: the gradients of gates are read through weight_ih, which this cell does not have; "
    f"{_RESULTS_ALONE}"
)
_INSEPARABLE = (
    "single steps were not checked: the gradients of this cell's gates do not show what a step gets from the next one; "
    f"{_RESULTS_ALONE}"
)


def seen_layers(
    engine: GoesBack, prepared: Prepared, upstream: Upstream, inputs: Seq[Tensor], own: bool
) -> tuple[tuple[SeenLayer, ...], str]:
    """What `exposed_layers` gives; nothing where no layer can show its gates, and why: that `own` code, which has run
    the network, does not run a layer of it alone."""
    spec = prepared.spec
    if not spec.cell_type.has_projection_of_x:  # it is by more columns of weight_ih that an engine shows its gates
        return (), _WITHOUT_WEIGHTS
    try:
        return exposed_layers(engine, spec, prepared.parameters, prepared.sequence, upstream, inputs), _INSEPARABLE
    except InputError as error:
        if not own:
            raise
        seen = f"the gradients of the gates were not checked: for this, {engine.name} must run each layer alone"
        why = f"with more features of x, and it does not ({error.problems[0].found})"
        return (), f"{seen}, {why}; a function that takes parameters and spec can"


def exposed_layer(
    engine: GoesBack, spec: Spec, layer: int, parameters: Mapping[str, Tensor], rows: Sequence, upstream: Upstream
) -> SeenLayer:
    """What the engine shows of one layer, on the CPU. `rows` is the layer's input, with the states (D, B, ·) that it
    starts from, and `upstream` dL/d of its output. Raises what the engine raises."""
    width, count = rows.x.shape[2], sum(spec.gate_sizes)
    wide = one_layer(spec, layer, count * spec.num_directions)
    own = own_parameters(parameters, spec, layer)
    for n, direction in enumerate(spec.directions):
        name = "weight_ih" + suffix(0, direction)
        more = own[name].new_zeros(count, count * spec.num_directions)
        more[:, n * count : (n + 1) * count] = torch.eye(count, dtype=more.dtype, device=more.device)
        own[name] = torch.cat([own[name], more], 1)
    zeros = rows.x.new_zeros(*rows.x.shape[:2], count * spec.num_directions)
    given = engine.backward(wide, own, replace(rows, x=torch.cat([rows.x, zeros], 2)), upstream)
    if given.x is None:
        raise EngineError(f"{engine.name} gives no dL/dx", advice="return the gradient of x, by the name x")
    x, *gates = (part.cpu().contiguous() for part in torch.split(given.x, [width, *[count] * spec.num_directions], -1))
    return SeenLayer(
        rows.x.cpu(),
        None if given.output is None else given.output.cpu(),
        upstream.output.cpu(),
        {name: g.cpu() for name, g in (("h", upstream.h_n), ("c", upstream.c_n)) if g is not None},
        x,
        dict(zip(spec.directions, gates, strict=True)),
        {name: g.cpu() for name, g in (("h", given.h0), ("c", given.c0)) if g is not None},
        _renamed(spec, layer, width, given),
    )


def _renamed(spec: Spec, layer: int, width: int, given: EngineGradients) -> dict[str, Tensor]:
    """The gradients of the parameters by their names in the stack, without the columns of the identity."""
    found = {}
    for direction in spec.directions:
        end = suffix(0, direction)
        for name, g in given.parameters.items():
            if name.endswith(end):
                own = (g[:, :width] if name.startswith("weight_ih") else g).cpu()
                found[name.removesuffix(end) + suffix(layer, direction)] = own
    return found


def layer_alone(prepared: Prepared, layer: int, x: Tensor) -> Prepared:
    """One layer as a network of its own that receives x (T, B, ·)."""
    spec = prepared.spec
    sequence = _rows(spec, prepared.sequence, layer, x)
    return replace(
        prepared,
        spec=one_layer(spec, layer),
        parameters=own_parameters(prepared.parameters, spec, layer),
        sequence=sequence,
    )


def one_layer(spec: Spec, layer: int, more: int = 0) -> Spec:
    """The layer as a network of its own, with `more` additional features."""
    width = spec.layer_input_size(layer) + more
    return spec.model_copy(
        update={"num_layers": 1, "input_size": width, "dropout": 0.0, "head": None, "weights": None, "layout": None}
    )


def own_parameters(parameters: Mapping[str, Tensor], spec: Spec, layer: int) -> dict[str, Tensor]:
    """The parameters of one layer, by the names that they have in a network of that layer alone."""
    own: dict[str, Tensor] = {}
    for direction in spec.directions:
        own |= LayerParameters.of(parameters, layer, direction, spec).named(0, direction)
    return own


def _rows(spec: Spec, sequence: Sequence, layer: int, x: Tensor) -> Sequence:
    return replace(sequence.with_each_state(lambda states: of_layer(spec, layer, states)), x=x)


def of_layer(spec: Spec, layer: int, states: Tensor) -> Tensor:
    """The rows (D, B, ·) of states (L·D, B, ·)."""
    count = spec.num_directions
    return states[layer * count : (layer + 1) * count].contiguous()
