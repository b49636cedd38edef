"""The equations, and engines, run forwards and backwards on what was prepared: what `Gradients` hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.going_back import LayerGradients, Products, go_back
from rnnspect.arithmetic.unroll import LayerQuantities, ended_of, output_of, unroll
from rnnspect.engines.interface import Engine, GoesBack, no_gradients
from rnnspect.errors import EngineError, listed
from rnnspect.network.device import plain_defaults
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.losses import Loss, loss_of
from rnnspect.network.parameters import LayerParameters, parameters_of, refuse_mixed
from rnnspect.network.progress import StepsDone, untold
from rnnspect.network.recording import EngineInfo
from rnnspect.network.tensors import batch_major, largest, max_abs_difference
from rnnspect.tracing.gradient_reach import reach_of
from rnnspect.tracing.gradients import STARTS, Gradients, LayerGradient, ParameterGradient
from rnnspect.tracing.prepare import Prepared
from rnnspect.tracing.trace import Pair

_TOGETHER = 1 << 22
"""Products of items with items of the batch that are made together."""


@dataclass(frozen=True)
class Manual:
    """What the equations give, forwards and backwards, for one loss."""

    prepared: Prepared
    loss: Loss
    loss_value: float
    upstream: Upstream
    output: Tensor
    layers: tuple[LayerGradient, ...]
    parameters: dict[str, tuple[Tensor, Tensor]]
    """By PyTorch's names, in their order: the gradient, and the norm (T,) of what each step adds."""
    starts: dict[str, Tensor]
    """dL/dx, dL/dh0 and dL/dc0."""


def gradients_prepared(prepared: Prepared, loss: Any = "sum", required: bool = True) -> Gradients:
    """The gradients by the equations, and beside them those of the engine: unless `required`, where it can give them.
    Raises what `loss_of` and the engine do."""
    manual = by_hand(prepared, loss_of(loss, prepared.spec, prepared.sequence, "loss"))
    return with_engine(manual, prepared.engine, required)


def by_hand(prepared: Prepared, loss: Loss, progress: StepsDone = untold) -> Manual:
    """Runs the equations forwards and backwards. `progress` is told how many steps more are done, of twice those of all
    layers and directions."""
    spec, parameters, sequence = prepared.spec, prepared.parameters, prepared.sequence
    refuse_mixed(parameters)
    with torch.no_grad(), plain_defaults():
        run = list(unroll(spec, parameters, sequence, progress))
        output = output_of([one.quantities["h"] for one in run if one.layer == spec.num_layers - 1], sequence)
        value, upstream = loss.of(output, sequence, ended_of(spec, run))
        forwards = {(one.layer, one.direction): one for one in run}
        found: dict[tuple[int, str], LayerGradient] = {}
        named: dict[str, tuple[Tensor, Tensor]] = {}
        states: dict[int, tuple[Tensor, ...]] = {}
        x = torch.zeros_like(sequence.x)
        for one in go_back(spec, parameters, sequence, upstream, run, progress):
            place = one.layer, one.direction
            found[place] = _of_layer(prepared, forwards[place], one)
            named |= {name: _of_parameter(parts) for name, parts in one.products.items()}
            states[spec.row(*place)] = one.state
            if one.layer == 0:
                x += one.x
        rows = [torch.stack(state).cpu() for state in zip(*(states[row] for row in sorted(states)), strict=True)]
    starts = {"x": batch_major(x)} | dict(zip(STARTS[1:], rows, strict=False))
    order = [one.name for one in parameters_of(spec) if one.name in named]
    layers = tuple(found[place] for place in spec.places)
    by_name = {name: named[name] for name in order}
    return Manual(prepared, loss, value, upstream, output, layers, by_name, starts)


def with_engine(manual: Manual, engine: Engine, required: bool) -> Gradients:
    """The gradients by the equations, and those of an engine in one pass forwards and backwards. An engine that has
    none is said in a note. Raises `EngineError` for what it cannot run; unless `required`, that is a note as well."""
    prepared = manual.prepared
    if not isinstance(engine, GoesBack):
        return _beside(manual, engine, None, (no_gradients(engine),))
    try:
        with plain_defaults():
            given = engine.backward(prepared.spec, prepared.parameters, prepared.sequence, manual.upstream)
    except EngineError as error:
        if required:
            raise
        reasons = listed(problem.found for problem in error.problems)
        return _beside(manual, engine, None, (f"only the equations' gradients are shown: {reasons}",))
    return _beside(manual, engine, given, given.notes)


def _beside(manual: Manual, engine: Engine, given: EngineGradients | None, notes: tuple[str, ...]) -> Gradients:
    """The gradients by the equations, and what the engine gave."""
    spec, sequence = manual.prepared.spec, manual.prepared.sequence
    theirs = {} if given is None else dict(given.parameters) | {name: getattr(given, name) for name in ("h0", "c0")}
    theirs = {name: values.detach().cpu() for name, values in theirs.items() if values is not None}
    output = None if given is None or given.output is None else batch_major(given.output.detach())
    if given is not None and given.x is not None:
        theirs["x"] = batch_major(given.x.detach())
    starts = {name: Pair(values, theirs.get(name)) for name, values in manual.starts.items()}
    parameters = {
        name: ParameterGradient(name, Pair(values, theirs.get(name)), steps)
        for name, (values, steps) in manual.parameters.items()
    }
    pairs = [*starts.values(), *(one.gradient for one in parameters.values())]
    apart = [max_abs_difference(pair.manual, pair.engine) for pair in pairs if pair.engine is not None]
    info = EngineInfo(engine.name, "", str(sequence.x.device), spec.dtype) if given is None else given.engine
    states = {name: state.cpu() for name, state in zip(("h0", "c0"), sequence.state, strict=False)}
    return Gradients(
        spec=spec,
        engine=info,
        loss=manual.loss.said,
        loss_value=manual.loss_value,
        given={"x": batch_major(sequence.x)} | states,
        lengths=sequence.lengths,
        batched=sequence.batched,
        output=Pair(batch_major(manual.output), output),
        upstream=batch_major(manual.upstream.output),
        layers=manual.layers,
        parameters=parameters,
        x=starts["x"],
        h0=starts["h0"],
        c0=starts.get("c0"),
        max_abs_difference=largest(apart),
        notes=notes,
    )


def _of_layer(prepared: Prepared, run: LayerQuantities, one: LayerGradients) -> LayerGradient:
    p = LayerParameters.of(prepared.parameters, one.layer, one.direction, prepared.spec)
    reach = reach_of(prepared.spec, p, prepared.sequence, run, one)
    named = {"x": one.x} | one.quantities
    quantities = {name: batch_major(values) for name, values in named.items()}
    pre = {gate: batch_major(values) for gate, values in one.pre_activations.items()}
    return LayerGradient(one.layer, one.direction, quantities, pre, reach)


def _of_parameter(parts: tuple[Products, ...]) -> tuple[Tensor, Tensor]:
    """The gradient, and the norm of what each step adds to it: several products are one of more items."""
    whole = sum((each.sum() for each in parts[1:]), parts[0].sum())
    rights = [part.right for part in parts]
    steps, items = parts[0].left.shape[0], parts[0].left.shape[1] * len(parts)
    count = max(1, _TOGETHER // items**2)
    norms = []
    for at in range(0, steps, count):
        piece = slice(at, at + count)
        left = torch.cat([part.left[piece] for part in parts], 1)
        right = [one[piece] for one in rights if one is not None]
        norms.append(Products(left, torch.cat(right, 1) if right else None).of_each_step())
    return whole.cpu(), torch.cat(norms).cpu()
