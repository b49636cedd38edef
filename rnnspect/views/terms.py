"""Terms as lines of arithmetic: by what they are called, then in numbers, each line one operation further."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.arithmetic.terms import Applied, Operation, Products, operands_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnspect.arithmetic.terms import Address, Term

_FUNCTIONS = {"sigmoid": "σ"}
_SUM, _PRODUCT, _ALONE = 1, 2, 3
"""How strongly a text holds together."""


def lines(term: Term, number: Callable[[float], str]) -> list[str]:
    """How a term comes about: in words, in numbers, and step by step to its value."""

    def at_level(level: int) -> str:
        return _text(term, lambda one: number(one.value) if _height(one) <= level else None)

    height = max((1 + _height(operand) for operand in operands_of(term)), default=0)
    return [symbols(term), *(at_level(level) for level in range(height)), number(term.value)]


def symbols(term: Term) -> str:
    """A term by what it rests on; parameters, which are listed beside it, by their letters."""

    def named(one: Term) -> str | None:
        return None if one.address is None else _letter(one.address) or str(one.address)

    return _text(term, named)


def of_each_unit(products: Products, unit: str) -> str:
    """What a sum of products multiplies its weights with, for the unit of that name: h[step 1, k]."""
    return _vector(products, lambda address: address.of(unit))


def column(products: Products) -> str:
    """The same without unit and step: h."""
    return _vector(products, lambda address: address.name)


def parts(term: Term) -> list[Term]:
    """The sums of products and the parameters that a term is written with, in reading order."""
    if isinstance(term.made, Products):
        return [term]
    found: list[Term] = []
    for operand in operands_of(term):
        if operand.address is None:
            found += parts(operand)
        elif _letter(operand.address):
            found.append(operand)
    return found


def _vector(products: Products, name: Callable[[Address], str]) -> str:
    term = products.vector.at(0)
    if term.address is not None:
        return name(term.address)
    return _text(term, lambda one: None if one.address is None else name(one.address))


def _letter(address: Address) -> str:
    """b of a bias and p of a peephole."""
    return next((letter for start, letter in (("bias", "b"), ("weight", "p")) if address.name.startswith(start)), "")


def _height(term: Term) -> int:
    """How many operations are above what has an address, or is a sum of products."""
    if term.address is not None:
        return 0
    return max((1 + _height(operand) for operand in operands_of(term)), default=0)


def _text(term: Term, leaf: Callable[[Term], str | None]) -> str:
    """A term written out, down to what `leaf` has a text for."""
    return _written(term, leaf)[0]


def _written(term: Term, leaf: Callable[[Term], str | None]) -> tuple[str, int]:
    match term.made:
        case Operation(sign, operands):
            strength = _PRODUCT if sign == "·" else _SUM
            texts = [_operand(operand, leaf, strength, sign, at) for at, operand in enumerate(operands)]
            return f" {sign} ".join(texts), strength
        case Applied(function, numbers, operand):
            inside = ", ".join([_inner(operand, leaf)[0], *map(repr, numbers)])
            return f"{_FUNCTIONS.get(function, function)}({inside})", _ALONE
        case Products():
            vector = column(term.made)
            return f"Σ w·({vector})" if " " in vector else f"Σ w·{vector}", _ALONE
    return str(term.address or f"{term.value:g}"), _ALONE


def _inner(term: Term, leaf: Callable[[Term], str | None]) -> tuple[str, int]:
    text = leaf(term)
    return _written(term, leaf) if text is None else (text, _ALONE)


def _operand(term: Term, leaf: Callable[[Term], str | None], strength: int, sign: str, at: int) -> str:
    text, own = _inner(term, leaf)
    loose = own < strength or (own == strength and at > 0)
    negative = text.startswith("-") and sign == "−" and at > 0
    return f"({text})" if loose or negative else text
