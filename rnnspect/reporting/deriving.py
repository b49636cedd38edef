"""How a derivation is made: the engine runs once, then one step of the equations on what it showed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.evaluation import Evaluation, given_of
from rnnspect.arithmetic.expression import Expression, chained
from rnnspect.arithmetic.recorder import equations_of
from rnnspect.arithmetic.sum_orders import Ordered
from rnnspect.engines.interface import NoEngine
from rnnspect.judging.case import Case
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.declared import Declared, declared_by
from rnnspect.judging.judge import Judge
from rnnspect.judging.layer import ComparedChunk
from rnnspect.judging.observation import observed_by
from rnnspect.judging.stack import assumptions_of
from rnnspect.network.axes import source_of
from rnnspect.network.device import plain_defaults
from rnnspect.network.equations import written_equations
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.places import check_direction, check_item, from_start, refuse_padding
from rnnspect.network.progress import StepsDone, untold
from rnnspect.network.quantities import known
from rnnspect.network.spec import Spec
from rnnspect.reporting.data import Address, Derivation, Equation, InTurn, Names
from rnnspect.tracing.prepare import Prepared


def locate(prepared: Prepared, at: Address, where: Callable[[str], str] = lambda name: name) -> Address:
    """The same address with a direction, and with indices that count from the start: a negative step counted from the
    end of its item.

    Raises `InputError` for an address that is not there, `SequenceError` for a step that is padding. `where` gives the
    name of an argument in messages.
    """
    spec, sequence = prepared.spec, prepared.sequence
    if at.direction:
        check_direction(at.direction, spec, where("direction"))
    quantity = known(at.quantity, spec.cell_type.quantities, spec.cell, where("quantity"), " to derive")
    at = replace(at, quantity=quantity)
    check_item(at.batch, sequence.batch, where("batch_index"))
    refuse_padding(at.step, at.batch, sequence, where("step"))
    counts = {"layer": spec.num_layers, "step": sequence.length(at.batch), "unit": spec.units(at.quantity)}
    places: dict[str, Any] = {
        name: from_start(name, getattr(at, name), count, where(name)) for name, count in counts.items()
    }
    return replace(at, direction=at.direction or spec.directions[0], **places)


def derive_prepared(prepared: Prepared, at: Address, progress: StepsDone = untold) -> Derivation:
    """Runs the engine, and the equations at one address on what it showed.

    An engine that does not show a layer leaves it to the equations. `progress` is told how many steps of the chain of
    cell states before the address are done.
    """
    recording = prepared.run()
    with plain_defaults(), torch.inference_mode():
        seen, declared = observed_by(recording), declared_by(recording.engine)
        declared = declared.for_cell(prepared.spec.cell_type, recording.engine.one_by_one)
        case = Case(prepared.spec, prepared.parameters, prepared.sequence, seen, declared).on_cpu()
        return replace(_derived(case, at, progress), notes=recording.notes)


def _derived(case: Case, at: Address, progress: StepsDone) -> Derivation:
    spec, parameters, sequence, declared = case.spec, case.parameters, case.sequence, case.declared
    p = LayerParameters.of(parameters, at.layer, at.direction, spec)
    nonlinearity = spec.nonlinearity_of(at.direction)
    run = assumptions_of(case)(at.layer, at.direction).run
    last = sequence.length(at.batch) - 1
    order = last - at.step if at.direction == "reverse" else at.step

    def judge(held_to: Declared) -> Judge:
        return Judge(spec.cell_type, p, held_to.over(p.terms), nonlinearity)

    here = _at_one_unit(judge(declared), run, order, at, progress)
    for coarser in list(declared.in_turn)[1:] if here.ratio > 1 else []:  # what the engine may also use
        other = _at_one_unit(judge(coarser), run, order, at)
        if other.ratio <= 1:
            here, declared = other, coarser
            break
    shown: tuple[float | None, float | None] = (None, None)
    if run.h_error is None and at.quantity == "h":
        shown = here.engine, here.bound
    elif run.h_error is None and at.quantity == "c" and order == last:
        shown = _final(case, judge(declared), run, declared, at)
    before = at.step + 1 if at.direction == "reverse" else at.step - 1
    row = spec.row(at.layer, at.direction)
    place = (row, at.batch) if sequence.batched else (row,)
    names = Names(at.step, before if order else None, place)
    expressions = equations_of(spec, parameters, at.layer, at.direction)
    evaluation = Evaluation(expressions, parameters, given_of(here.x, here.h, here.c))
    equations = tuple(_equations(spec, expressions, at))
    for equation in equations:  # now, before the parameters of a live module can move on
        evaluation.value(equation.expression, equation.unit)
    return Derivation(
        spec=spec,
        engine=case.observation.engine,
        at=at,
        items=sequence.batch,
        names=names,
        equations=equations,
        evaluation=evaluation,
        taken=tuple(_taken(case, at, names.before, order)),
        in_turn=tuple(_in_turn(spec, at, names, equations)),
        engine_value=shown[0],
        bound=shown[1],
        arithmetic=declared.name,
    )


@dataclass(frozen=True)
class _Here:
    """The input of one step of one item, and h of one unit. The states before are those of a check."""

    x: Tensor
    """(I)"""
    h: Tensor
    """(P): the engine's of the step before."""
    c: Tensor | None
    """(H): of the step before, in float64; NaN for units that this one does not need."""
    engine: float | None
    bound: float | None
    """How far the engine's h may be from the equations'; None for a unit that h has not."""
    ratio: float


def _at_one_unit(judge: Judge, run: LayerRun, order: int, address: Address, progress: StepsDone = untold) -> _Here:
    """One step, `order` in processing order, of the item and unit of an address. Runs only what the step rests on: of
    an LSTM the chain of cell states before, of any other cell the step itself."""
    layer, item, unit = judge.layer, address.batch, address.unit
    chunk, state = judge.until(run, order, progress)
    n, one = order - chunk.start, slice(item, item + 1)
    alone = None if layer.mixes else unit
    mine = slice(None) if alone is None else slice(unit, unit + 1)
    part = chunk.cut(n if state is None else 0, n + 1, one)

    def compare(kind: type[Bounded]) -> ComparedChunk:
        begun = None if state is None else state.of(one, mine)
        return layer.compare(part, begun, layer.one(alone, kind), alone)

    first = compare(Bounded)
    first.values.repair(layer.limit)
    c, before = None, cell_state_before(first, len(first.after) - 1)
    if before is not None:
        c = torch.full((len(before) if alone is None else layer.units,), torch.nan, dtype=torch.float64)
        c[mine] = before
    at = 0 if alone is not None else unit
    if at >= first.after.shape[2]:
        return _Here(chunk.x[n, item], chunk.before[n, item], c, None, None, 0.0)
    manual, engine, bound, ratio = (
        float(values[-1, 0, at]) for values in (first.q["h"].v, first.after, first.bound, first.ratio)
    )
    if ratio > 1:  # the bound of the first look at all units, and the second look, before anything is called wrong
        whole = layer.compare(chunk, state, layer.wide).bound[n, item, unit]
        bound = max(float(whole), float(compare(Ordered).bound[-1, 0, at]))
        ratio = abs(manual - engine) / bound
    return _Here(chunk.x[n, item], chunk.before[n, item], c, engine, bound, math.inf if math.isnan(ratio) else ratio)


def cell_state_before(compared: ComparedChunk, n: int) -> Tensor | None:
    """c (H) of the only item of a compared chunk before its step n, in float64; None for a cell without c."""
    if compared.c is None:
        return None
    return compared.q["c"].v[n - 1, 0] if n else compared.c.number(torch.float64).v[0]


def _final(
    case: Case, judge: Judge, run: LayerRun, declared: Declared, at: Address
) -> tuple[float | None, float | None]:
    """The engine's c_n, and how far it may be from that of the equations in a check."""
    c_n = case.observation.c_n
    if c_n is None:
        return None, None
    state = judge(run)[1]
    assert state is not None
    number, u = state.number(torch.float64), declared.roundoff
    v, e = (float(values[at.batch, at.unit]) for values in (number.v, number.e))
    engine = float(c_n[case.spec.row(at.layer, at.direction), at.batch, at.unit])
    return engine, e * judge.layer.bound_factor + abs(v) * u.stored + u.tiny


def _equations(spec: Spec, expressions: Mapping[str, Expression], at: Address) -> Iterator[Equation]:
    """The equation of the quantity, then those of the quantities of the same step that it needs one unit of."""
    for name, unit, expression, own in chained(expressions, "quantity", at.quantity, at.unit):
        line = written(spec, spec.block(name, unit)[0])
        yield Equation(name, f"{name}[step {at.step}, {unit}]", line, expression, own)


def _taken(case: Case, at: Address, before: int | None, order: int) -> Iterator[tuple[str, str]]:
    """Where x and the state before come from."""
    seen, state = case.observation, case.sequence.state

    def given(layer: int) -> str:
        if all((layer, direction) in seen.layers for direction in case.spec.directions):
            return f"as {seen.engine.name} returned it"
        ran = seen.engine.name != NoEngine.name
        return "from the equations" + f" ({seen.engine.name} does not return it)" * ran

    below = at.layer - 1
    source = source_of(case.spec)
    named = f"the input, {source}" if source else "the input"
    yield f"x at step {at.step}", f"h of layer {below} {given(below)}" if at.layer else named
    if before is None:
        yield from ((name, "the initial state") for name in ("h0", "c0")[: len(state)])
        return
    yield f"h at step {before}", given(at.layer)
    if len(state) > 1:
        since = f"h {given(at.layer)} at each step since c0" if order > 1 else "h0 and c0"
        yield f"c at step {before}", f"from the equations, with {since}"


def _in_turn(spec: Spec, at: Address, names: Names, equations: tuple[Equation, ...]) -> Iterator[InTurn]:
    """The numbers that the equations do not take further apart, except for parameters, x and initial states."""
    done = {equation.address for equation in equations}
    stops: dict[tuple[str, str], tuple[Expression, str]] = {}
    for one, which in (read for equation in equations for read in equation.expression.read(equation.unit)):
        unit = "k" if which is None else str(which)
        is_done = one.kind != "given" and names.address(one, unit) in done
        if one.kind in ("given", "quantity") and not is_done:
            _, known = stops.get((one.kind, one.name), (one, unit))
            stops[one.kind, one.name] = (one, unit if unit == known else "k")
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


def written(spec: Spec, name: str) -> str | None:
    """The equation of this network that defines this quantity."""
    lines = (line for line in written_equations(spec) if line.partition(" = ")[0].strip().rstrip("'") == name)
    return next(lines, None)
