"""One number written out: each quantity as lines of arithmetic, and below them the largest products of its sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnspect.arithmetic.evaluation import Evaluation, largest_first, total
from rnnspect.arithmetic.expression import POOLED, SUMS, Expression
from rnnspect.network.places import in_block
from rnnspect.network.spec import Spec
from rnnspect.views import text
from rnnspect.views.documents import Naming
from rnnspect.views.expression import filled, in_short, is_long, leaves, levels, multiplied, over, pooled, words

MOST = 8
"""Products of a sum that are listed where not all are asked for."""
NumberText = Callable[[float], str]
Said = Callable[[Mapping[str, object]], str]
"""The text of the arguments that derive another number."""
_Rows = Sequence[tuple[str, ...]]
_NAMED = ("given", "quantity")
"""Leaves that are a unit of a state or of another quantity."""


@dataclass(frozen=True)
class Listed:
    """A parameter with its value, or a sum with a table of its products, the last of which may say what is left out."""

    what: str
    columns: tuple[str, ...] = ()
    rows: _Rows = ()


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


def as_flags(arguments: Mapping[str, object]) -> str:
    """As they are said on the command line. The name of a gradient has brackets, which a shell wants quoted."""
    return " ".join(f'--{name} "{value}"' if name == "gradient" else f"--{name} {value}"
                    for name, value in arguments.items())  # fmt: skip


def rounded(precision: int) -> NumberText:
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
    number: NumberText
    most: int | None
    spec: Spec

    def section(self, head: str, expression: Expression, written: str | None = None) -> Section:
        """In words, in numbers, and step by step to the value."""
        numbers = [filled(level, self._value) for level in levels(expression, whole=False)]
        listed = [Listed(said) for said in self._blocks(leaf for leaf in leaves(expression) if not is_long(leaf))]
        listed += (one for one in self._listed(expression) if one not in listed)
        return Section(head, [self._words(expression), *numbers], listed, written)

    def _words(self, expression: Expression) -> str:
        if is_long(expression):
            return in_short(expression)
        return filled(words(expression, self.names.vector, whole=False), self._address)

    def _listed(self, expression: Expression) -> Iterator[Listed]:
        names, number = self.names, self.number
        for leaf in leaves(expression):
            if is_long(leaf):
                yield from self._terms(leaf)
                continue
            one, unit = leaf.place(self.unit)
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

    def _terms(self, long: Expression, place: str = "") -> Iterator[Listed]:
        """The terms of a long sum, and what the largest of them is made of."""
        terms, values = long.of, np.array([self.evaluation.value(term, self.unit) for term in long.of])
        factors = [term.of if term.kind == "·" else (term, None) for term in terms]
        numbers = [
            [None if one is None else self.evaluation.value(one, self.unit) for one in of]
            for of in zip(*factors, strict=True)
        ]
        names = [self._names(term) for term in terms]
        yield Listed(
            f"{place}{in_short(long)} = {self._value(long)}",
            ("of", "left", "right", "product"),
            rows_of([names], (*numbers, values), self.number, self.most),
        )
        order = largest_first(values)
        shown = order[: _shown(len(terms), self.most)]
        factors_shown = (one for k in shown for one in _factors(terms[k]) if not one.operands)
        yield from map(Listed, self._blocks(factors_shown))
        largest = order[0]
        for one in _factors(terms[largest]):
            if is_long(one):
                yield from self._terms(one, f"in {names[largest]}: ")
                continue
            if one.operands:
                yield Listed(f"in {names[largest]}: {self._words(one)} = {self._value(one)}")
            if one.operands or one.source.kind in (*SUMS, *POOLED):
                yield from self._listed(one)

    def _blocks(self, used: Iterable[Expression]) -> Iterator[str]:
        """Which numbers of its blocks units of c are: c[…, 6] is S[1, 0, 0], c[…, 8] is S[1, 1, 0]."""
        places = (leaf.place(self.unit) for leaf in used)
        units = dict.fromkeys(unit for one, unit in places if one.kind in _NAMED and one.name == "c")
        said = [f"c[…, {unit}] is {block}" for unit in units if (block := in_block(self.spec, "c", unit))]
        if said:
            yield ", ".join(said)

    def _names(self, term: Expression) -> str:
        """The factors of a term by their addresses; (…) for one that is made of others."""
        return " · ".join(self._name(one) for one in _factors(term))

    def _name(self, one: Expression) -> str:
        if one.operands:
            return "(…)"
        is_named = one.source.kind not in (*SUMS, *POOLED, "number")
        return self._address(one) if is_named else self._words(one)

    def _value(self, one: Expression) -> str:
        return self.number(self.evaluation.value(one, self.unit))

    def _address(self, one: Expression) -> str:
        return self.names.address(*one.place(self.unit))


def _factors(term: Expression) -> list[Expression]:
    return [one for factor in term.of for one in _factors(factor)] if term.kind == "·" else [term]


def _shown(count: int, most: int | None) -> int:
    """How many of so many terms have a row. One that is left out would take the line that says so."""
    return count if most is None or count <= most + 1 else most


def rows_of(places: Sequence[Any], numbers: Sequence[Any], number: NumberText, most: int | None) -> _Rows:
    """The largest products of a sum, a row each, and the others together. `places` are columns of whole numbers or
    names, `numbers` those of factors and, last, of the products; None is none."""

    def said(value: Any) -> str:
        return "" if value is None else number(float(value))

    *_, products = numbers
    count, order = len(products), largest_first(products)
    shown = _shown(count, most)
    rows: list[tuple[str, ...]] = [
        (*(of[k] if isinstance(of[k], str) else str(int(of[k])) for of in places), *(said(of[k]) for of in numbers))
        for k in order[:shown]
    ]
    if shown < count:
        rest = total(float(products[k]) for k in sorted(order[shown:]))
        left_out = [f"{count - shown} more", "together"][: len(places) + len(numbers) - 2]
        empty = [""] * (len(places) + len(numbers) - 2 - len(left_out))
        rows.append(("…", *left_out, *empty, number(rest)))
    return rows
