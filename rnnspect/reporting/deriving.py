"""How a derivation comes about: the engine once, then one step of the equations on what it showed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rnnspect.errors import InputError, SequenceError, listed, nearest
from rnnspect.network.parameters import LayerParameters, suffix
from rnnspect.reporting.derivation import At, Derivation, Equation, InTurn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from rnnspect.arithmetic.terms import Address, Term
    from rnnspect.judging.chunks import Run
    from rnnspect.judging.declared import Declared
    from rnnspect.judging.judge import Judge
    from rnnspect.judging.observation import Observation
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec
    from rnnspect.reporting.address import Here
    from rnnspect.tracing.prepare import Prepared


def locate(
    prepared: Prepared,
    step: int,
    unit: int,
    *,
    layer: int = 0,
    direction: str | None = None,
    batch_index: int = 0,
    quantity: str = "h",
    where: Callable[[str], str] = lambda name: name,
) -> At:
    """The address that these name. A negative step, unit or layer counts from the end, a step from that of its item.

    Raises `InputError` for one that is not there, `SequenceError` for a step that is padding. `where` says how an
    argument is called in messages.
    """
    spec, sequence = prepared.spec, prepared.sequence
    if direction is not None and direction not in spec.directions:
        found, near = f"this network has no direction {direction!r}", nearest(direction, spec.directions)
        raise InputError(found, allowed=listed(spec.directions), nearest=near, where=where("direction"))
    there = spec.cell_type.quantities
    if quantity not in there:
        found, near = f"cell {spec.cell} has no quantity {quantity!r} to derive", nearest(quantity, there)
        raise InputError(found, allowed=listed(there), nearest=near, where=where("quantity"))
    if not 0 <= batch_index < sequence.batch:
        allowed = "0" if sequence.batch == 1 else f"0 to {sequence.batch - 1}"
        raise InputError(f"no batch item {batch_index}", allowed=allowed, where=where("batch_index"))
    length = _length(sequence, batch_index)
    if length <= step < sequence.steps:
        found = f"step {step} is beyond item {batch_index}'s length {length}"
        raise SequenceError(found, allowed=_range(length), where=where("step"))
    units = spec.output_size if quantity == "h" else spec.hidden_size
    return At(
        layer=_place(layer, spec.num_layers, "layer", where),
        direction=direction or spec.directions[0],
        step=_place(step, length, "step", where),
        batch=batch_index,
        unit=_place(unit, units, "unit", where),
        quantity=quantity,
    )


def derive_prepared(prepared: Prepared, at: At, progress: Callable[[int], None] = lambda _steps: None) -> Derivation:
    """Runs the engine, and the equations at one address on what it showed.

    An engine that does not show a layer leaves it to the equations. `progress` is told how many steps of the chain of
    cell states before the address are done.
    """
    import torch

    from rnnspect.judging.observation import observed_by
    from rnnspect.network.device import plain_defaults

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
    from rnnspect.judging.case import Case
    from rnnspect.judging.declared import declared_by
    from rnnspect.judging.judge import Judge
    from rnnspect.judging.stack import runs_of
    from rnnspect.reporting.address import address

    p = LayerParameters.of(parameters, at.layer, at.direction)
    declared = declared_by(seen.engine)
    run = runs_of(Case(spec, parameters, sequence, seen, declared))(at.layer, at.direction)
    order = _order(sequence, at)

    def judge(held_to: Declared) -> Judge:
        u = held_to.over(p.weight_ih.shape[1] + p.weight_hh.shape[1] + 2)
        return Judge(spec.cell_type, p, u, spec.nonlinearity_of(at.direction))

    here = address(judge(declared), run, order, at.batch, at.unit, progress)
    if here.ratio > 1 and declared.permitted is not None:  # what it may also use, where it is not right without
        other = address(judge(declared.permitted), run, order, at.batch, at.unit)
        here, declared = (other, declared.permitted) if other.ratio <= 1 else (here, declared)
    shown: tuple[float | None, float | None] = (None, None)
    if run.doubt is None and at.quantity == "h":
        shown = here.engine, here.bound
    elif run.doubt is None and at.quantity == "c" and order == _length(sequence, at.batch) - 1:
        shown = _final(spec, judge(declared), run, seen, declared, at)
    equations = tuple(_equations(spec, p, sequence, at, order, here))
    return Derivation(
        spec=spec,
        engine=seen.engine,
        at=at,
        items=sequence.batch,
        equations=equations,
        taken=tuple(_taken(spec, sequence, seen, at, order)),
        in_turn=tuple(_in_turn(spec, at, equations)),
        engine_value=shown[0],
        bound=shown[1],
        arithmetic=declared.name,
    )


def _final(
    spec: Spec, judge: Judge, run: Run, seen: Observation, declared: Declared, at: At
) -> tuple[float | None, float | None]:
    """c_n, and how far a check lets it be from the equations."""
    import torch

    if seen.c_n is None:
        return None, None
    state = judge(run)[1]
    assert state is not None
    number, u = state.number(torch.float64), declared.roundoff
    v, e = (float(values[at.batch, at.unit]) for values in (number.v, number.e))
    row = at.layer * spec.num_directions + spec.directions.index(at.direction)
    return float(seen.c_n[row, at.batch, at.unit]), e * judge.layer.own + abs(v) * u.stored + u.tiny


def _equations(
    spec: Spec, p: LayerParameters, sequence: Sequence, at: At, order: int, here: Here
) -> Iterator[Equation]:
    """The quantity, what of the same step and unit it names, what that names, …"""
    from rnnspect.arithmetic.terms import Address, Known, Terms, Vector, below, step_of

    cell = spec.cell_type
    row = at.layer * spec.num_directions + spec.directions.index(at.direction)
    before = _before(at, order)
    place = (row, at.batch) if sequence.batched else (row,)

    def state(name: str, values: Tensor) -> Known:
        if before is None:
            return Known(values, lambda unit: Address(f"{name}0", (*place, unit)))
        return Known(values, lambda unit: Address(name, (unit,), before))

    states: list[Vector] = [state("h", here.h)]
    states += [] if here.c is None else [state("c", here.c)]
    a = Terms(p, len(cell.gates), spec.nonlinearity_of(at.direction), suffix(at.layer, at.direction))
    found = step_of(cell, a, Known(here.x, lambda unit: Address("x", (unit,), at.step)), tuple(states), at.step)
    waiting = [at.quantity]
    for name in waiting:
        address, term = Address(name, (at.unit,), at.step), found[name].at(at.unit)
        yield Equation(address, written(spec, name), term)
        named = [one.address for one in below(term) if one.address and one.address.step == at.step]
        waiting += [
            one.name for one in named if one.index == (at.unit,) and one.name in found and one.name not in waiting
        ]


def _taken(spec: Spec, sequence: Sequence, seen: Observation, at: At, order: int) -> Iterator[tuple[str, str]]:
    """Where x and the state before come from."""

    def given(layer: int) -> str:
        shown = all((layer, direction) in seen.layers for direction in spec.directions)
        return f"as {seen.engine.name} gave it" if shown else f"from the equations, for {seen.engine.name} shows none"

    below = at.layer - 1
    yield f"x at step {at.step}", "the input" if not at.layer else f"h of layer {below} {given(below)}"
    before = _before(at, order)
    if before is None:
        yield from ((name, "the initial state") for name in ("h0", "c0")[: len(sequence.state)])
        return
    yield f"h at step {before}", given(at.layer)
    if len(sequence.state) > 1:
        since = f"h {given(at.layer)} at each step since c0" if order > 1 else "h0 and c0"
        yield f"c at step {before}", f"from the equations, on {since}"


def _in_turn(spec: Spec, at: At, equations: tuple[Equation, ...]) -> Iterator[InTurn]:
    """What the equations stop at, but for the parameters and what the whole run was given."""
    stops: dict[tuple[str, int], tuple[Address, str]] = {}
    done = {equation.address for equation in equations}
    for equation in equations:
        for address, in_sum in _stops(equation.term):
            if address.step is not None and (in_sum or address not in done):
                known = stops.setdefault((address.name, address.step), (address, str(address.index[-1])))
                stops[address.name, address.step] = (address, "k") if in_sum else known
    for address, unit in stops.values():
        what, step = address.of(unit), address.step
        assert step is not None
        if address.name != "x":
            yield InTurn(what, at.layer, at.direction, step, unit, address.name)
        elif at.layer and spec.bidirectional:
            first = spec.output_size
            yield InTurn(f"{what}, k < {first}", at.layer - 1, "forward", step, "k", "h")
            yield InTurn(f"{what}, k ≥ {first}", at.layer - 1, "reverse", step, f"k − {first}", "h")
        elif at.layer:
            yield InTurn(what, at.layer - 1, at.direction, step, "k", "h")


def _stops(term: Term) -> Iterator[tuple[Address, bool]]:
    """The addresses that a term is written with, and whether each stands for all units of a sum of products."""
    from rnnspect.arithmetic.terms import Products, operands_of

    if isinstance(term.made, Products):
        unit = term.made.vector.at(0)
        if unit.address is not None:
            yield unit.address, True
        else:
            yield from ((address, True) for address, _ in _stops(unit))
    for operand in operands_of(term):
        if operand.address is not None:
            yield operand.address, False
        else:
            yield from _stops(operand)


def written(spec: Spec, name: str) -> str | None:
    """The line of the cell's docstring that says this quantity."""
    lines = (line for line in spec.cell_type.equations if line.partition(" = ")[0].strip().rstrip("'") == name)
    return next(lines, None)


def _before(at: At, order: int) -> int | None:
    """The step before, by its index in the input; None at the start."""
    return None if order == 0 else at.step + 1 if at.direction == "reverse" else at.step - 1


def _order(sequence: Sequence, at: At) -> int:
    """The place of the step in processing order."""
    return _length(sequence, at.batch) - 1 - at.step if at.direction == "reverse" else at.step


def _length(sequence: Sequence, item: int) -> int:
    return sequence.lengths[item] if sequence.lengths else sequence.steps


def _place(place: int, count: int, what: str, where: Callable[[str], str]) -> int:
    if not -count <= place < count:
        raise InputError(f"no {what} {place}", allowed=_range(count), where=where(what))
    return place % count


def _range(count: int) -> str:
    return "0" if count == 1 else f"0 to {count - 1}, or -1 for the last"
