"""One number written out: each quantity as lines of arithmetic, and below them the largest products of its sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnspect.arithmetic.evaluation import Evaluation, largest_first, total
from rnnspect.arithmetic.expression import POOLED, SUMS, Expression
from rnnspect.views import text
from rnnspect.views.documents import Naming
from rnnspect.views.expression import filled, levels, multiplied, over, pooled, words

MOST = 8
"""Products of a sum that are listed where not all are asked for."""
Number = Callable[[float], str]
Said = Callable[[Mapping[str, object]], str]
"""The text of the arguments that derive another number."""
Rows = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Listed:
    """A parameter with its value, or a sum with a table of its products, the last of which may say what is left out."""

    what: str
    columns: tuple[str, ...] = ()
    rows: Rows = ()


@dataclass(frozen=True)
class Section:
    """One quantity: its equation as the cell's text has it, how its number comes about, and what its sums are of."""

    head: str
    lines: list[str]
    listed: list[Listed]
    written: str | None = None


def as_markdown(section: Section) -> Iterator[str]:
    yield f"\n## {section.head}\n"
    yield "```text"
    yield from filter(None, (section.written, section.head))
    yield from (f"  = {line}" for line in section.lines)
    yield "```"
    for one in section.listed:
        if one.what:
            yield f"\n`{one.what}`"
        if one.rows:
            yield f"\n| {' | '.join(one.columns)} |\n|{' ---: |' * len(one.columns)}"
            yield from (f"| {' | '.join(row)} |" for row in one.rows)


def rounded(precision: int) -> Number:
    """A number with so many digits as text."""
    return lambda value: f"{value + 0.0:.{precision}g}" if math.isfinite(value) else text.number(value, precision)


def every_digit(value: float) -> str:
    """A number as text that reads as the same number again."""
    return repr(value) if math.isfinite(value) else text.number(value, 1)


@dataclass(frozen=True)
class Writing:
    """The numbers and the names with which quantities are written out for one unit; of each sum the `most` largest
    products are listed, all of them where that is None."""

    evaluation: Evaluation
    names: Naming
    unit: int
    number: Number
    most: int | None

    def section(self, head: str, expression: Expression, written: str | None = None) -> Section:
        """In words, in numbers, and step by step to the value."""
        numbers = [filled(level, self._value) for level in levels(expression)]
        lines = [filled(words(expression, self.names.vector), self._address), *numbers]
        return Section(head, lines, list(self._listed(expression)), written)

    def _listed(self, expression: Expression) -> Iterator[Listed]:
        names, number = self.names, self.number
        for one, unit in (leaf.place(self.unit) for leaf in expression.leaves()):
            value = number(self.evaluation.value(one, unit))
            if one.kind == "parameter":
                yield Listed(f"{names.address(one, unit)} = {value}")
            elif one.kind in POOLED:
                yield Listed(f"{pooled(one, names.vector)} over {over(one)} units = {value}")
            elif one.kind in SUMS:
                weights, vector, products = self.evaluation.factors(one, unit)
                each = filled(multiplied(one), lambda inner: names.address(inner, "k"))
                each = f"({each})" if " + " in each or " − " in each else each
                k = f"k + {one.row}" if one.row else "k"
                place = f"{one.row + unit}, k" if one.kind == "sum" else f"{k}, {unit}"
                what = f"Σ {one.name}[{place}] · {each} = {value}"
                columns = ("k", "w", filled(multiplied(one), names.vector), "product")
                places = [range(len(products))]
                yield Listed(what, columns, rows_of(places, (weights, vector, products), number, self.most))

    def _value(self, one: Expression) -> str:
        return self.number(self.evaluation.value(one, self.unit))

    def _address(self, one: Expression) -> str:
        return self.names.address(*one.place(self.unit))


def rows_of(places: Sequence[Any], numbers: Sequence[Any], number: Number, most: int | None) -> Rows:
    """The largest products of a sum, a row each, and the others together. `places` are columns of whole numbers,
    `numbers` those of factors and, last, of the products."""
    *_, products = numbers
    count, order = len(products), largest_first(products)
    # One that is left out would take the line that says so.
    shown = count if most is None or count <= most + 1 else most
    rows: list[tuple[str, ...]] = [
        (*(str(int(of[k])) for of in places), *(number(float(of[k])) for of in numbers)) for k in order[:shown]
    ]
    if shown < count:
        rest = total(float(products[k]) for k in sorted(order[shown:]))
        said = [f"{count - shown} more", "together"][: len(places) + len(numbers) - 2]
        empty = [""] * (len(places) + len(numbers) - 2 - len(said))
        rows.append(("…", *said, *empty, number(rest)))
    return rows
