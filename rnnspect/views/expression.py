"""Expressions as lines of arithmetic: by what they rest on, then in numbers, each line one operation further."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnspect.arithmetic.expression import Expression

    Piece = str | Expression | list["Piece"]
    """Text; an expression in whose place its name or number stands; or pieces that are put in parentheses where they
    begin with a minus."""

_FUNCTIONS = {"sigmoid": "σ"}
_SUM, _PRODUCT, _ALONE = 1, 2, 3
"""How strongly a text holds together."""


def levels(expression: Expression) -> list[list[Piece]]:
    """An expression written with its leaves, then with each operation carried out that can be, down to itself."""
    return [_written(expression, level)[0] for level in range(_height(expression) + 1)]


def filled(pieces: list[Piece], said: Callable[[Expression], str]) -> str:
    texts = []
    for piece in pieces:
        if isinstance(piece, list):
            text = filled(piece, said)
            texts.append(f"({text})" if text.startswith("-") else text)
        else:
            texts.append(piece if isinstance(piece, str) else said(piece))
    return "".join(texts)


def letter(parameter: Expression) -> str:
    """b of a bias and p of a peephole: the parameters of a sum are listed beside it."""
    return "b" if parameter.name.startswith("bias") else "p"


def _height(expression: Expression) -> int:
    """How many operations are above the leaves."""
    return max((1 + _height(operand) for operand in expression.operands), default=0)


def _written(expression: Expression, level: int) -> tuple[list[Piece], int]:
    """With the expressions of at most this height in place."""
    if _height(expression) <= level:
        return [expression], _ALONE
    inside = [_written(operand, level) for operand in expression.operands]
    if expression.kind not in ("+", "−", "·"):
        numbers = "".join(f", {number!r}" for number in expression.numbers)
        return [f"{_FUNCTIONS.get(expression.kind, expression.kind)}(", *inside[0][0], f"{numbers})"], _ALONE
    strength = _PRODUCT if expression.kind == "·" else _SUM
    pieces: list[Piece] = []
    for at, (text, own) in enumerate(inside):
        if at:
            pieces.append(f" {expression.kind} ")
        if own < strength or (own == strength and at):
            pieces += ["(", *text, ")"]
        else:
            pieces += [text] if at and expression.kind == "−" else text
    return pieces, strength
