"""The derivation of a gradient as text, as markdown and as a document: the number beside the engine's, then the sum
over steps that it is, or the chain rule with the numbers in it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from rnnspect.arithmetic.evaluation import largest_first, total
from rnnspect.arithmetic.expression import Expression
from rnnspect.network.axes import source_of
from rnnspect.network.losses import SAID
from rnnspect.network.parameters import parameters_of, recurrent_repr
from rnnspect.network.places import in_block
from rnnspect.reporting.gradients.data import GradientDerivation, Terms, in_turn
from rnnspect.views import calculation, kinks
from rnnspect.views.calculation import MOST, Listed, NumberText, Said, Section, Writing, every_digit, rounded, rows_of
from rnnspect.views.documents import engine_document, made, spec_document
from rnnspect.views.expression import filled, words
from rnnspect.views.rendering import engine_line, engine_lines, indented, table

_HEAD = 40
"""Characters of a factor that fit above a column; one that is longer is only called left or right there."""


def as_keywords(arguments: Mapping[str, object]) -> str:
    """As they are said in Python."""
    return ", ".join(f"{name.replace('-', '_')}={value!r}" for name, value in arguments.items())


def parts(
    derivation: GradientDerivation, precision: int, every: bool = False, said: Said = calculation.as_flags
) -> Iterator[RenderableType]:
    """`precision` is a number of digits; with `every` no product is left out."""
    number = rounded(precision)
    yield Text(recurrent_repr(derivation.spec), "bold")
    if derivation.engine is not None:
        yield from engine_lines(derivation.engine)
    yield from map(Text, derivation.notes)
    yield Text(_title(derivation), "bold")
    yield from map(indented, _beside(derivation, number, rounded(3)))
    yield from (indented(line, "dim") for line in _about(derivation, number))
    gap = "\n"
    for section in _sections(derivation, number, None if every else MOST):
        yield Text(f"{gap}{section.head}", "bold")
        gap = "\n"
        yield from (indented(f"= {line}") for line in section.lines)
        for one in section.listed:
            if one.what:
                yield indented(f"{gap}{one.what}")
            gap = "" if one.rows else "\n"  # a table ends with an empty line
            if one.rows:
                yield indented(table(*(f">{column}" for column in one.columns), rows=one.rows))
    others = [f"{one.what}: {said(one.arguments)}" for one in derivation.in_turn]
    others += _of_values(derivation, said)
    if others:
        yield Text(f"{gap}{_others(derivation)}:")
        yield from map(indented, others)


def as_markdown(derivation: GradientDerivation, every: bool) -> str:
    """Every number with all its digits."""
    return "".join(f"{line}\n" for line in _markdown(derivation, None if every else MOST))


def _markdown(derivation: GradientDerivation, most: int | None) -> Iterator[str]:
    yield f"# {_title(derivation)}\n"
    ran = "" if derivation.engine is None else f", {engine_line(derivation.engine)}"
    yield f"`{recurrent_repr(derivation.spec)}`{ran}\n"
    yield from (f"- {line}" for line in _beside(derivation, every_digit, every_digit))
    yield from (f"- {note}" for note in derivation.notes)
    yield from (f"- {line}" for line in _about(derivation, every_digit))
    for section in _sections(derivation, every_digit, most):
        yield from calculation.as_markdown(section)
    said = [f"- {one.what}: `{calculation.as_flags(one.arguments)}`" for one in derivation.in_turn]
    said += [f"- {line}" for line in _of_values(derivation, calculation.as_flags)]
    if said:
        yield f"\n## {_others(derivation)}\n"
        yield from said


def _title(derivation: GradientDerivation) -> str:
    at = derivation.at
    title = at.said[:1].upper() + at.said[1:] if at.is_part else at.said
    if at.is_parameter:
        return title
    item = f", batch item {at.batch} of {derivation.items}" if derivation.items > 1 else ""
    direction = "" if at.name == "x" else f", {at.direction}"  # both directions read x
    place = in_block(derivation.spec, at.name, at.indices[0]) if at.name in ("c", "c0") else ""
    title += f" ({place})" if place else ""
    return f"{title} of layer {at.layer}{direction}{item}"


def _beside(derivation: GradientDerivation, number: NumberText, rough: NumberText) -> Iterator[str]:
    of = f" of {number(derivation.whole)}, what all steps add" if derivation.at.is_part else ""
    yield f"equations: {number(derivation.value)}{of}"
    if derivation.engine is None:
        return
    name = derivation.engine.name
    if derivation.engine_value is None or derivation.difference is None:
        parts = "the parameters only" if not derivation.at.is_part else "the parameters only, over all steps"
        yield f"{name}: gives dL/d of the input x, the initial states and {parts}"
        return
    yield f"{name}: {number(derivation.engine_value)}"
    yield f"difference: {rough(derivation.difference)} ({name} − equations)"


def _about(derivation: GradientDerivation, number: NumberText) -> Iterator[str]:
    yield f"L = {derivation.loss} = {number(derivation.loss_value)}"
    if source := source_of(derivation.spec):
        yield f"x: the input, {source}"
    yield from kinks.of_expressions(one.expression for one in derivation.equations)
    at = derivation.at
    if not at.is_parameter:
        return
    gates = next(one.gates for one in parameters_of(derivation.spec) if one.name == at.name)
    row = at.indices[0]
    yield from (f"row {row}: gate {gate.name}, unit {row - gate.start}" for gate in gates
                if len(gates) > 1 and gate.start <= row < gate.stop)  # fmt: skip


def _of_values(derivation: GradientDerivation, said: Said) -> Iterator[str]:
    """How a number is derived that is no gradient."""
    at, name, unit = derivation.at, derivation.spec.cell_type.quantities[0], derivation.unit
    if at.step is None or at.name == "x" or at.is_part:
        return
    place = in_turn("", name, unit, at, derivation.spec).arguments
    del place["gradient"]
    how = said({"quantity": name, "step": at.step, "unit": unit} | place)
    without = "--gradient and --loss" if said is calculation.as_flags else "gradient and loss"
    yield f"a value, such as {name}[step {at.step}, {unit}]: {how}, without {without}"


def _others(derivation: GradientDerivation) -> str:
    """What stands above the gradients to derive in turn. Those of the sum, the default, need no loss."""
    same = "" if derivation.loss == SAID["sum"] else ", with the same loss"
    return f"To derive what it is made of{same}"


def _sections(derivation: GradientDerivation, number: NumberText, most: int | None) -> Iterator[Section]:
    """Of a parameter the sum over steps that its gradient is; of anything else the chain rule."""
    if derivation.terms:
        sums = [_steps(derivation, one, number, most) for one in derivation.terms]
        lines = [" + ".join(_written(derivation, one) for one in derivation.terms), number(derivation.value)]
        yield Section(derivation.at.said, lines, sums)
    if derivation.evaluation is not None:
        given = derivation.evaluation, derivation.names
        writing = functools.partial(Writing, *given, number=number, most=most, spec=derivation.spec)
        yield from (writing(unit=one.unit).section(one.address, one.expression) for one in derivation.equations)


def _written(derivation: GradientDerivation, terms: Terms) -> str:
    """Σ over steps of dL/ds_i[step, 3] · h[step before, 1]; of one step without Σ."""
    over = " and ".join(["steps"] * (not derivation.at.is_part) + ["items"] * (derivation.items > 1))
    factors = [
        filled(words(one, derivation.names.vector, whole=False), functools.partial(_address, derivation, unit))
        for one, unit in zip(terms.written, terms.units, strict=True)
        if one is not None
    ]
    return (f"Σ over {over}: " if over else "") + " · ".join(factors)


def _address(derivation: GradientDerivation, unit: int, one: Expression) -> str:
    return derivation.names.address(*one.place(unit))


def _steps(derivation: GradientDerivation, terms: Terms, number: NumberText, most: int | None) -> Listed:
    """The products of a sum over steps."""
    vector, several = derivation.names.vector, derivation.items > 1
    heads = [filled(words(one, vector, whole=False), vector) for one in terms.written if one is not None]
    heads = [said if len(said) <= _HEAD else ("left", "right")[at] for at, said in enumerate(heads)]
    factors = [] if terms.right is None else [terms.left, terms.right]
    columns = ("step", *(["item"] if several else []), *(heads if factors else []), "product" if factors else heads[0])
    places = [terms.steps, *([terms.items] if several else [])]
    return Listed("", columns, rows_of(places, (*factors, terms.products), number, most))


def gradient_document(derivation: GradientDerivation) -> dict[str, Any]:
    """Every product of every sum."""
    at, evaluation = derivation.at, derivation.evaluation
    equations = [
        {"address": one.address, **made(evaluation, derivation.names, one.expression, one.unit)}
        for one in derivation.equations
        if evaluation is not None
    ]
    return {
        "format": "rnnspect.gradient",
        "version": 1,
        "spec": spec_document(derivation.spec),
        "engine": None if derivation.engine is None else engine_document(derivation.engine),
        "loss": {"said": derivation.loss, "value": derivation.loss_value},
        "point": {
            "address": at.said,
            **vars(at),
            "manual": derivation.value,
            "manual_of_all_steps": derivation.whole,
            "engine": derivation.engine_value,
        },
        "difference": derivation.difference,
        "terms": [_terms_document(derivation, one) for one in derivation.terms],
        "equations": equations,
        "in_turn": [vars(one) for one in derivation.in_turn],
        "notes": derivation.notes,
    }


def _terms_document(derivation: GradientDerivation, terms: Terms) -> dict[str, Any]:
    """The products of a sum over steps and items, the largest first."""
    products = terms.products
    return {
        "written": _written(derivation, terms),
        "products": [
            {
                "step": int(terms.steps[k]),
                "batch": int(terms.items[k]),
                "left": float(terms.left[k]),
                "right": None if terms.right is None else float(terms.right[k]),
                "value": float(products[k]),
            }
            for k in largest_first(products)
        ],
        "value": total(products.tolist()),
    }
