"""A derivation as text and as markdown: the number beside the engine's, then each quantity's arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from rnnspect.arithmetic.expression import Expression, largest_first, total
from rnnspect.arithmetic.expression_norms import POOLED
from rnnspect.network.parameters import module_repr
from rnnspect.reporting.data import Derivation, InTurn
from rnnspect.views import text
from rnnspect.views.expression import filled, levels, multiplied, over, pooled, words
from rnnspect.views.rendering import engine_line, engine_lines, table

MOST = 8
"""Products of a sum that are listed where not all are asked for."""


def as_markdown(derivation: Derivation, every: bool) -> str:
    """Every number with all its digits."""
    return "".join(f"{line}\n" for line in _markdown(derivation, None if every else MOST))


def as_flags(arguments: Mapping[str, object]) -> str:
    """As they are said on the command line."""
    return " ".join(f"--{name} {value}" for name, value in arguments.items())


def as_keywords(arguments: Mapping[str, object]) -> str:
    """Arguments as they are typed in a call in Python: layer=0, direction='forward'."""
    texts = ("direction", "quantity")
    return ", ".join(f"{name}={value!r}" if name in texts else f"{name}={value}" for name, value in arguments.items())


def parts(
    derivation: Derivation, precision: int, every: bool = False, said: Callable[[Mapping[str, object]], str] = as_flags
) -> Iterator[RenderableType]:
    """`precision` is a number of digits; with `every` no product is left out. `said` gives the text of the arguments
    that derive another number."""
    number, most = rounded(precision), None if every else MOST
    yield Text(module_repr(derivation.spec.with_changes(head=None)), "bold")
    yield from engine_lines(derivation.engine)
    yield from map(Text, derivation.notes)
    yield Text(_title(derivation), "bold")
    for line in _beside(derivation, number, rounded(3)):
        yield Padding(Text(line), (0, 0, 0, 2))
    yield from (Text(f"  {line}", "dim") for line in _legend(derivation))
    for equation in derivation.equations:
        yield Text(f"\n{equation.address}", "bold")
        yield from (Text(f"  {line}", "dim") for line in [equation.written] if line)
        for line in lines(derivation, equation.expression, number):
            yield Padding(Text(f"= {line}"), (0, 0, 0, 2))
        for what, vector, rows in _listed(derivation, equation.expression, number, most):
            yield Text(f"\n  {what}" if rows else f"  {what}")
            if rows:
                made = table(">k", ">w", f">{vector}", ">product")
                for row in rows:
                    made.add_row(*row)
                yield Padding(made, (0, 0, 0, 2))
    if derivation.in_turn:
        yield Text("\nTo derive what it is made of:")
        yield from (Text(f"  {one.what}: {said(_other(derivation, one))}") for one in derivation.in_turn)


def _markdown(derivation: Derivation, most: int | None) -> Iterator[str]:
    yield f"# {_title(derivation)}\n"
    yield f"`{module_repr(derivation.spec.with_changes(head=None))}`, {engine_line(derivation.engine)}\n"
    yield from (f"- {line}" for line in _beside(derivation, every_digit, every_digit))
    yield from (f"- {note}" for note in derivation.notes)
    yield from (f"- {line}" for line in _legend(derivation))
    for equation in derivation.equations:
        yield f"\n## {equation.address}\n"
        yield "```text"
        yield from (line for line in (equation.written, equation.address) if line)
        yield from (f"  = {line}" for line in lines(derivation, equation.expression, every_digit))
        yield "```"
        for what, vector, rows in _listed(derivation, equation.expression, every_digit, most):
            yield f"\n`{what}`"
            if rows:
                yield f"\n| k | w | {vector} | product |\n| ---: | ---: | ---: | ---: |"
                yield from (f"| {' | '.join(row)} |" for row in rows)
    if derivation.in_turn:
        yield "\n## To derive what it is made of\n"
        yield from (f"- {one.what}: `{as_flags(_other(derivation, one))}`" for one in derivation.in_turn)


def _title(derivation: Derivation) -> str:
    at = derivation.at
    item = f", sequence {at.batch} of {derivation.items}" if derivation.items > 1 else ""
    return f"{at.quantity} of layer {at.layer}, {at.direction}, at step {at.step}, unit {at.unit}{item}"


def lines(derivation: Derivation, expression: Expression, number: Callable[[float], str]) -> list[str]:
    """How a quantity comes about: in words, in numbers, and step by step to its value."""
    names, unit = derivation.names, derivation.at.unit
    numbers = [filled(level, lambda one: number(derivation.number(one))) for level in levels(expression)]
    return [filled(words(expression, names.vector), lambda one: names.address(one, unit)), *numbers]


def _listed(
    derivation: Derivation, expression: Expression, number: Callable[[float], str], most: int | None
) -> Iterator[tuple[str, str, list[tuple[str, ...]]]]:
    """The parameters and the sums of products that it is written with: what it is; of a sum also what its weights are
    multiplied with, and rows of k, w, that vector's unit, and the product, the last of which may say what is left out.
    """
    unit, names = derivation.at.unit, derivation.names
    for one in expression.leaves():
        if one.kind == "parameter":
            yield f"{names.address(one, unit)} = {number(derivation.number(one))}", "", []
        elif one.kind in POOLED:
            yield f"{pooled(one, names.vector)} over {over(one)} units = {number(derivation.number(one))}", "", []
        elif one.kind == "sum":
            weights, vector, products = derivation.evaluation.factors(one, unit)
            count, order = len(products), largest_first(products)
            # One that is left out would take the line that says so.
            shown = count if most is None or count <= most + 1 else most
            rows = [(str(k), *(number(float(of[k])) for of in (weights, vector, products))) for k in order[:shown]]
            if shown < count:
                rest = total(float(products[k]) for k in sorted(order[shown:]))
                rows.append(("…", f"{count - shown} more", "together", number(rest)))
            vector_of = multiplied(one)
            each = filled(vector_of, lambda inner: names.address(inner, "k"))
            each = f"({each})" if " + " in each or " − " in each else each
            what = f"Σ {one.name}[{one.row + unit}, k] · {each} = {number(derivation.number(one))}"
            yield what, filled(vector_of, names.vector), rows


def _legend(derivation: Derivation) -> Iterator[str]:
    """Where what is not derived comes from, and the order in which products stand."""
    yield from (f"{what}: {source}" for what, source in derivation.taken)
    leaves = [leaf for equation in derivation.equations for leaf in equation.expression.leaves()]
    if any(leaf.kind == "sum" for leaf in leaves):
        yield "Σ: the largest products are listed first"


def _beside(derivation: Derivation, number: Callable[[float], str], rough: Callable[[float], str]) -> Iterator[str]:
    name = derivation.engine.name
    yield f"equations: {number(derivation.value)}"
    if derivation.engine_value is None or derivation.difference is None:
        yield f"{name}: returns h and the last c only, so there is nothing to compare with"
        return
    yield f"{name}: {number(derivation.engine_value)}"
    yield f"difference: {rough(derivation.difference)} ({name} − equations)"
    if derivation.bound is not None and derivation.ratio is not None:
        ratio = derivation.ratio
        used = f"{rough(100 * ratio)} % of it" if ratio < 1 else f"{text.times(ratio)} as large"
        yield f"allowed: {rough(derivation.bound)} in {derivation.arithmetic}; the difference is {used}"


def rounded(precision: int) -> Callable[[float], str]:
    """A number with so many digits as text."""
    return lambda value: f"{value + 0.0:.{precision}g}" if math.isfinite(value) else text.number(value, precision)


def every_digit(value: float) -> str:
    """A number as text that reads as the same number again."""
    return repr(value) if math.isfinite(value) else text.number(value, 1)


def _other(derivation: Derivation, one: InTurn) -> dict[str, object]:
    """The arguments to say in place of what was said."""
    there = {name: getattr(one, name) for name in ("layer", "direction", "step", "unit", "quantity")}
    always = ("step", "unit")
    return {name: value for name, value in there.items() if name in always or value != getattr(derivation.at, name)}
