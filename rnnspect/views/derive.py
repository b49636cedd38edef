"""A derivation as text and as markdown: the number beside the engine's, then each quantity's arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial

from rich.console import RenderableType
from rich.text import Text

from rnnspect.engines.interface import NoEngine
from rnnspect.network.parameters import recurrent_repr
from rnnspect.network.places import unit_in_words
from rnnspect.reporting.data import Derivation, InTurn
from rnnspect.views import calculation, text
from rnnspect.views.calculation import MOST, NumberText, Said, Section, Writing, every_digit, rounded
from rnnspect.views.rendering import engine_line, engine_lines, indented, table


def as_markdown(derivation: Derivation, every: bool) -> str:
    """Every number with all its digits."""
    return "".join(f"{line}\n" for line in _markdown(derivation, None if every else MOST))


def as_keywords(arguments: Mapping[str, object]) -> str:
    """Arguments as they are typed in a call in Python: layer=0, direction='forward'."""
    texts = ("direction", "quantity")
    return ", ".join(f"{name}={value!r}" if name in texts else f"{name}={value}" for name, value in arguments.items())


def parts(
    derivation: Derivation, precision: int, every: bool = False, said: Said = calculation.as_flags
) -> Iterator[RenderableType]:
    """`precision` is a number of digits; with `every` no product is left out. `said` gives the text of the arguments
    that derive another number."""
    number = rounded(precision)
    yield Text(recurrent_repr(derivation.spec), "bold")
    yield from engine_lines(derivation.engine)
    yield from map(Text, derivation.notes)
    yield Text(_title(derivation), "bold")
    yield from map(indented, _beside(derivation, number, rounded(3)))
    yield from (indented(line, "dim") for line in _legend(derivation))
    for section in sections(derivation, number, None if every else MOST):
        yield Text(f"\n{section.head}", "bold")
        yield from (indented(line, "dim") for line in [section.written] if line)
        yield from (indented(f"= {line}") for line in section.lines)
        for one in section.listed:
            yield indented(f"\n{one.what}" if one.rows else one.what)
            if one.rows:
                yield indented(table(*(f">{column}" for column in one.columns), rows=one.rows))
    if derivation.in_turn:
        yield Text("\nTo derive what it is made of:")
        others = (f"{one.what}: {said(_other(derivation, one))}" for one in derivation.in_turn)
        yield from map(indented, others)


def _markdown(derivation: Derivation, most: int | None) -> Iterator[str]:
    yield f"# {_title(derivation)}\n"
    yield f"`{recurrent_repr(derivation.spec)}`, {engine_line(derivation.engine)}\n"
    yield from (f"- {line}" for line in _beside(derivation, every_digit, every_digit))
    yield from (f"- {note}" for note in derivation.notes)
    yield from (f"- {line}" for line in _legend(derivation))
    for section in sections(derivation, every_digit, most):
        yield from calculation.as_markdown(section)
    if derivation.in_turn:
        yield "\n## To derive what it is made of\n"
        yield from (f"- {one.what}: `{calculation.as_flags(_other(derivation, one))}`" for one in derivation.in_turn)


def sections(derivation: Derivation, number: NumberText, most: int | None) -> list[Section]:
    """A section for each equation; of each sum `most` products are listed, or all."""
    given = derivation.evaluation, derivation.names
    writing = partial(Writing, *given, number=number, most=most, spec=derivation.spec)
    return [writing(unit=one.unit).section(one.address, one.expression, one.written) for one in derivation.equations]


def _title(derivation: Derivation) -> str:
    at = derivation.at
    item = f", batch item {at.batch} of {derivation.items}" if derivation.items > 1 else ""
    unit = unit_in_words(derivation.spec, at.quantity, at.unit)
    return f"{at.quantity} of layer {at.layer}, {at.direction}, at step {at.step}, {unit}{item}"


def _legend(derivation: Derivation) -> Iterator[str]:
    """Where what is not derived comes from, and the order in which products stand."""
    yield from (f"{what}: {source}" for what, source in derivation.taken)
    leaves = [leaf for equation in derivation.equations for leaf in equation.expression.leaves()]
    if any(leaf.kind == "sum" for leaf in leaves):
        yield "Σ: the largest products are listed first"


def _beside(derivation: Derivation, number: NumberText, rough: NumberText) -> Iterator[str]:
    name = derivation.engine.name
    yield f"equations: {number(derivation.value)}"
    if name == NoEngine.name:
        return
    if derivation.engine_value is None or derivation.difference is None:
        yield f"{name}: returns h and the last c only, so there is nothing to compare with"
        return
    yield f"{name}: {number(derivation.engine_value)}"
    is_number = not math.isnan(derivation.difference)
    yield f"difference: {rough(derivation.difference) if is_number else 'not a number'} ({name} − equations)"
    if derivation.bound is not None and derivation.ratio is not None:
        ratio = derivation.ratio
        if not is_number:
            yield f"allowed: {rough(derivation.bound)} in {derivation.arithmetic}"
            return
        used = f"{rough(100 * ratio)} % of it" if ratio < 1 else f"{text.times(ratio)} as large"
        yield f"allowed: {rough(derivation.bound)} in {derivation.arithmetic}; the difference is {used}"


def _other(derivation: Derivation, one: InTurn) -> dict[str, object]:
    """The arguments to say in place of what was said."""
    there = {name: getattr(one, name) for name in ("layer", "direction", "step", "unit", "quantity")}
    always = ("step", "unit")
    return {name: value for name, value in there.items() if name in always or value != getattr(derivation.at, name)}
