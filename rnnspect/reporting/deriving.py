"""How a derivation is made: the engine runs once, then one step of the equations on what it showed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.expression import Evaluation, Expression, equations_of, given_of
from rnnspect.errors import InputError, SequenceError, listed, nearest
from rnnspect.judging.case import Case
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.declared import Declared, declared_by
from rnnspect.judging.judge import Judge
from rnnspect.judging.observation import Observation, observed_by
from rnnspect.judging.stack import runs_of
from rnnspect.network.device import plain_defaults
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.reporting.address import address
from rnnspect.reporting.derivation import At, Derivation, Equation, InTurn, Names
from rnnspect.tracing.prepare import Prepared


def locate(prepared: Prepared, at: At, where: Callable[[str], str] = lambda name: name) -> At:
    """The same address with nothing left open: a negative step counts from the end of its item.

    Raises `InputError` for one that is not there, `SequenceError` for a step that is padding. `where` says how an
    argument is called in messages.
    """
    spec, sequence = prepared.spec, prepared.sequence
    if at.direction:
        check_direction(at.direction, spec, where("direction"))
    there = spec.cell_type.quantities
    if at.quantity not in there:
        found, near = f"cell {spec.cell} has no quantity {at.quantity!r} to derive", nearest(at.quantity, there)
        raise InputError(found, allowed=listed(there), nearest=near, where=where("quantity"))
    check_item(at.batch, sequence.batch, where("batch_index"))
    length = sequence.length(at.batch)
    if length <= at.step < sequence.steps:
        found = f"step {at.step} is beyond item {at.batch}'s length {length}"
        raise SequenceError(found, allowed=_range(length), where=where("step"))
    counts = {
        "layer": spec.num_layers,
        "step": length,
        "unit": spec.output_size if at.quantity == "h" else spec.hidden_size,
    }
    for name, count in counts.items():
        place = getattr(at, name)
        if not -count <= place < count:
            raise InputError(f"no {name} {place}", allowed=_range(count), where=where(name))
    places = {name: getattr(at, name) % count for name, count in counts.items()}
    return replace(at, direction=at.direction or spec.directions[0], **places)


def check_direction(direction: str, spec: Spec, where: str) -> None:
    """Raises `InputError` for a direction that the network does not have."""
    if direction not in spec.directions:
        found, near = f"this network has no direction {direction!r}", nearest(direction, spec.directions)
        raise InputError(found, allowed=listed(spec.directions), nearest=near, where=where)


def check_item(item: int, batch: int, where: str) -> None:
    """Raises `InputError` for an item that a batch of this size does not have."""
    if not 0 <= item < batch:
        raise InputError(f"no batch item {item}", allowed="0" if batch == 1 else f"0 to {batch - 1}", where=where)


def derive_prepared(prepared: Prepared, at: At, progress: Callable[[int], None] = lambda _steps: None) -> Derivation:
    """Runs the engine, and the equations at one address on what it showed.

    An engine that does not show a layer leaves it to the equations. `progress` is told how many steps of the chain of
    cell states before the address are done.
    """
    recording = prepared.engine.run(prepared.spec, prepared.parameters, prepared.sequence)
    cpu = torch.device("cpu")
    parameters = {name: tensor.detach().to(cpu) for name, tensor in prepared.parameters.items()}
    with plain_defaults(), torch.inference_mode():
        seen, sequence = observed_by(recording), prepared.sequence.to(cpu)
        found = _derived(prepared.spec, parameters, sequence, seen, at, progress)
    return replace(found, notes=recording.notes)


def _derived(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    seen: Observation,
    at: At,
    progress: Callable[[int], None],
) -> Derivation:
    p, nonlinearity = LayerParameters.of(parameters, at.layer, at.direction), spec.nonlinearity_of(at.direction)
    declared = declared_by(seen.engine)
    run = runs_of(Case(spec, parameters, sequence, seen, declared))(at.layer, at.direction)
    last = sequence.length(at.batch) - 1
    order = last - at.step if at.direction == "reverse" else at.step

    def judge(held_to: Declared) -> Judge:
        return Judge(spec.cell_type, p, held_to.over(p.terms), nonlinearity)

    here = address(judge(declared), run, order, at.batch, at.unit, progress)
    if here.ratio > 1 and declared.permitted is not None:  # what it may also use, where it is not right without
        other = address(judge(declared.permitted), run, order, at.batch, at.unit)
        here, declared = (other, declared.permitted) if other.ratio <= 1 else (here, declared)
    shown: tuple[float | None, float | None] = (None, None)
    if run.h_error is None and at.quantity == "h":
        shown = here.engine, here.bound
    elif run.h_error is None and at.quantity == "c" and order == last:
        shown = _final(spec, judge(declared), run, seen, declared, at)
    before = at.step + 1 if at.direction == "reverse" else at.step - 1
    row = spec.row(at.layer, at.direction)
    place = (row, at.batch) if sequence.batched else (row,)
    names = Names(at.step, before if order else None, place)
    expressions = equations_of(spec.cell_type, parameters, at.layer, at.direction, nonlinearity)
    evaluation = Evaluation(expressions, parameters, given_of(here.x, here.h, here.c))
    equations = tuple(_equations(spec, expressions, at))
    for equation in equations:  # now, before the parameters of a live module can move on
        evaluation.value(equation.expression, at.unit)
    return Derivation(
        spec=spec,
        engine=seen.engine,
        at=at,
        items=sequence.batch,
        names=names,
        equations=equations,
        evaluation=evaluation,
        taken=tuple(_taken(spec, sequence, seen, at, names.before, order)),
        in_turn=tuple(_in_turn(spec, at, names, equations)),
        engine_value=shown[0],
        bound=shown[1],
        arithmetic=declared.name,
    )


def _final(
    spec: Spec, judge: Judge, run: LayerRun, seen: Observation, declared: Declared, at: At
) -> tuple[float | None, float | None]:
    """c_n, and how far a check lets it be from the equations."""
    if seen.c_n is None:
        return None, None
    state = judge(run)[1]
    assert state is not None
    number, u = state.number(torch.float64), declared.roundoff
    v, e = (float(values[at.batch, at.unit]) for values in (number.v, number.e))
    engine = float(seen.c_n[spec.row(at.layer, at.direction), at.batch, at.unit])
    return engine, e * judge.layer.bound_factor + abs(v) * u.stored + u.tiny


def _equations(spec: Spec, expressions: Mapping[str, Expression], at: At) -> Iterator[Equation]:
    """The quantity, what of the same step and unit it names, what that names, …"""
    waiting = [at.quantity]
    for name in waiting:
        address, expression = f"{name}[step {at.step}, {at.unit}]", expressions[name]
        yield Equation(name, address, written(spec, name), expression)
        named = dict.fromkeys(one.name for one in expression.leaves() if one.kind == "quantity")
        waiting += [other for other in named if other not in waiting]


def _taken(
    spec: Spec, sequence: Sequence, seen: Observation, at: At, before: int | None, order: int
) -> Iterator[tuple[str, str]]:
    """Where x and the state before come from."""

    def given(layer: int) -> str:
        shown = all((layer, direction) in seen.layers for direction in spec.directions)
        return f"as {seen.engine.name} gave it" if shown else f"from the equations, for {seen.engine.name} shows none"

    below = at.layer - 1
    yield f"x at step {at.step}", "the input" if not at.layer else f"h of layer {below} {given(below)}"
    if before is None:
        yield from ((name, "the initial state") for name in ("h0", "c0")[: len(sequence.state)])
        return
    yield f"h at step {before}", given(at.layer)
    if len(sequence.state) > 1:
        since = f"h {given(at.layer)} at each step since c0" if order > 1 else "h0 and c0"
        yield f"c at step {before}", f"from the equations, on {since}"


def _in_turn(spec: Spec, at: At, names: Names, equations: tuple[Equation, ...]) -> Iterator[InTurn]:
    """What the equations stop at, but for the parameters and what the whole run was given."""
    done = {equation.name for equation in equations}
    stops: dict[tuple[str, str], tuple[Expression, str]] = {}
    for one, unit in (stop for equation in equations for stop in _stops(equation.expression, str(at.unit))):
        if unit == "k" or one.kind == "given" or one.name not in done:
            known = stops.get((one.kind, one.name), (one, unit))
            stops[one.kind, one.name] = (one, "k") if unit == "k" else known
    for one, unit in stops.values():
        step, what = names.step_of(one), names.address(one, unit)
        if step is None:
            continue
        if one.name != "x":
            yield InTurn(what, at.layer, at.direction, step, unit, one.name)
        elif at.layer and spec.bidirectional:
            first = spec.output_size
            yield InTurn(f"{what}, k < {first}", at.layer - 1, "forward", step, "k", "h")
            yield InTurn(f"{what}, k ≥ {first}", at.layer - 1, "reverse", step, f"k − {first}", "h")
        elif at.layer:
            yield InTurn(what, at.layer - 1, at.direction, step, "k", "h")


def _stops(expression: Expression, unit: str) -> Iterator[tuple[Expression, str]]:
    """The quantities and given numbers that it is written with, and the unit of each: k in a sum of products."""
    for one in expression.leaves():
        if one.kind == "sum":
            yield from _stops(one.of[0], "k")
        elif one.kind in ("given", "quantity"):
            yield one, unit


def written(spec: Spec, name: str) -> str | None:
    """The line of the cell's docstring that says this quantity."""
    lines = (line for line in spec.cell_type.equations if line.partition(" = ")[0].strip().rstrip("'") == name)
    return next(lines, None)


def _range(count: int) -> str:
    return "0" if count == 1 else f"0 to {count - 1}, or -1 for the last"
