"""The gradient of a state, a gate, an input or a pre-activation at one step, by the chain rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from rnnspect.arithmetic.chain_rule import ZERO, ChainRule, GradientEvaluation
from rnnspect.arithmetic.evaluation import Floats
from rnnspect.arithmetic.expression import Expression, chained, moved
from rnnspect.reporting.data import Equation
from rnnspect.reporting.gradients.data import GradientAt, GradientInTurn, GradientNames, in_turn
from rnnspect.reporting.gradients.run import GradientRun


def of_step(run: GradientRun, at: GradientAt) -> dict[str, Any]:
    """The fields of a derivation by the chain rule, for the gradient of anything but a parameter."""
    spec, item = run.prepared.spec, at.batch or 0
    rule, last = run.rule(at.layer, at.direction), run.sequence.length(item) - 1
    is_initial = at.step is None
    step = at.step if at.step is not None else (last if at.direction == "reverse" else 0)
    after = step if is_initial else run.next_step(at, step, 1)
    before = run.next_step(at, step, -1)
    place = (spec.row(at.layer, at.direction), item) if run.sequence.batched else (spec.row(at.layer, at.direction),)
    names = GradientNames(f"step {step}", None if before is None or is_initial else f"step {before}",
                          None if after is None else f"step {after}", place)  # fmt: skip
    gradients = _gradients(run, at, rule, after is None)
    known = _known(run, at, step, before, after)
    values = {("quantity", name): one for name, one in rule.values.items()}
    values |= {("next quantity", name): at_next_step(one, "quantity") for name, one in rule.values.items()}
    evaluation = GradientEvaluation(gradients, run.parameters, known, values)
    equations = tuple(_equations(gradients, at, names))
    for equation in equations:  # now, before the parameters of a live module can move on
        evaluation.value(equation.expression, equation.unit)
    value = evaluation.value(equations[0].expression, equations[0].unit)
    others = tuple(_in_turn(run, equations, at, names, (step, after)))
    return {"names": names, "terms": (), "equations": equations, "evaluation": evaluation, "in_turn": others,
            "value": value, "whole": value}  # fmt: skip


def _gradients(run: GradientRun, at: GradientAt, rule: ChainRule, is_last: bool) -> dict[str, Expression]:
    """By name the gradients that can be derived at a step, with what the step after it gives in place of the leaves
    "after"."""
    if at.step is None:
        return {f"{name}0": at_next_step(one, "given") for name, one in rule.state.items()}
    if at.name == "x":
        directions = run.gradients
        parts = [_in_direction(run.rule(at.layer, one).x, one, len(directions) > 1) for one in directions]
        return {"x": _sum(parts) or ZERO}
    upstream = run.upstream
    came: dict[str, Expression | None] = {}
    for name, given in zip(run.prepared.spec.cell_type.states, (upstream.h_n, upstream.c_n), strict=False):
        output = [Expression("output", name="output")] if name == "h" else []
        final = [] if given is None else [Expression("final", name=name)]
        came[name] = _sum([*output, *(final if is_last else [at_next_step(rule.state[name], "quantity")])])
    return {name: _with_after(one, came) or ZERO for name, one in rule.gradients.items()}


def at_next_step(one: Expression, state: str) -> Expression:
    """The same at the step that is processed after this one. The states that it starts from are leaves of the kind
    `state` here."""
    if one.kind == "given" and one.name != "x":
        return replace(one, kind=state)
    kind = f"next {one.kind}" if one.kind in ("gradient", "quantity", "given") else one.kind
    return replace(one, kind=kind, of=tuple(at_next_step(operand, state) for operand in one.of))


def _in_direction(one: Expression, direction: str, is_one_of_two: bool) -> Expression:
    kind = f"{direction} gradient" if is_one_of_two and one.kind == "gradient" else one.kind
    return replace(one, kind=kind, of=tuple(_in_direction(part, direction, is_one_of_two) for part in one.of))


def _with_after(one: Expression, came: Mapping[str, Expression | None]) -> Expression | None:
    """The expression with what came from outside of the step in place of the leaves "after"; None for zero."""
    if one.kind == "after":
        return came[one.name]
    parts = [_with_after(operand, came) for operand in one.of]
    if one.kind == "+":
        return _sum(parts)
    if one.kind == "at" and parts[0] is not None:
        return moved(parts[0], one)
    return None if one.kind == "at" else replace(one, of=tuple(ZERO if part is None else part for part in parts))


def _sum(parts: list[Expression | None] | list[Expression]) -> Expression | None:
    there = [one for one in parts if one is not None and not one.is_zero]
    flat = [inner for one in there for inner in (one.of if one.kind == "+" else (one,))]
    return Expression("+", tuple(flat)) if len(flat) > 1 else flat[0] if flat else None


def _known(
    run: GradientRun, at: GradientAt, step: int, before: int | None, after: int | None
) -> dict[tuple[str, str], Floats]:
    """The values of each leaf that has no equation here."""
    cell, item, spec = run.prepared.spec.cell_type, at.batch or 0, run.prepared.spec
    q, back = run.quantities[at.direction].quantities, run.gradients_of(at.direction)
    known: dict[tuple[str, str], Tensor] = {("quantity", name): q[name][step, item] for name in cell.quantities}
    known |= {("given", "x"): q["x"][step, item], ("output", "output"): back["h_output"][step, item]}
    for name, start in zip(cell.states, run.sequence.state, strict=True):
        first = start[spec.row(at.layer, at.direction), item]
        known["given", name] = first if before is None else q[name][before, item]
        known["final", name] = back[f"{name}_next"][step, item]
    if after is not None:
        known |= {("next quantity", name): q[name][after, item] for name in cell.quantities}
        known |= {("next gradient", name): values[after, item] for name, values in back.items()}
        known["next given", "x"] = q["x"][after, item]
    for direction in run.gradients:
        kind = f"{direction} gradient" if len(run.gradients) > 1 else "gradient"
        if at.name == "x":
            known |= {(kind, name): values[step, item] for name, values in run.gradients_of(direction).items()}
    return {where: values.numpy() for where, values in known.items()}


def _equations(gradients: Mapping[str, Expression], at: GradientAt, names: GradientNames) -> Iterator[Equation]:
    """The equation of the gradient, then those of the gradients of the same step that it needs one unit of."""
    for name, unit, expression, own in chained(gradients, "gradient", at.name, at.indices[0]):
        address = f"dL/d{name}[{', '.join(map(str, (*([] if at.step is None else [names.now]), unit)))}]"
        yield Equation(name, address, None, expression, own)


def _in_turn(
    run: GradientRun,
    equations: tuple[Equation, ...],
    at: GradientAt,
    names: GradientNames,
    steps: tuple[int, int | None],
) -> Iterator[GradientInTurn]:
    """The gradients that the equations do not take further apart, but for those of the loss itself."""
    spec, item = run.prepared.spec, at.batch or 0
    done = {equation.address for equation in equations}
    stops: dict[tuple[str, str], tuple[Expression, object]] = {}
    for one, unit in (read for equation in equations for read in equation.expression.read(equation.unit)):
        k: object = "k" if unit is None else unit
        if k == "k" or one.kind != "gradient" or names.address(one, str(k)) not in done:
            _, known = stops.setdefault((one.kind, one.name), (one, k))
            stops[one.kind, one.name] = (one, k if k == known else "k")
    for one, k in stops.values():
        what, there = names.address(one, str(k)), replace(at, step=steps[0], batch=item)
        if one.kind == "output" and at.layer < spec.num_layers - 1:
            shift = spec.output_size if at.direction == "reverse" and spec.bidirectional else 0
            yield in_turn(what, "x", k + shift if isinstance(k, int) else k, replace(there, layer=at.layer + 1), spec)
        elif one.kind.endswith("gradient"):
            direction = one.kind.partition(" ")[0]
            there = replace(there, direction=direction) if direction in ("forward", "reverse") else there
            there = replace(there, step=steps[1]) if direction == "next" else there
            yield in_turn(what, one.name, k, there, spec)
