"""Expressions as lines of arithmetic: by what they rest on, then in numbers, each line one operation further."""

from __future__ import annotations

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


def words(expression: Expression, vector: Callable[[Expression], str]) -> list[Piece]:
    """An expression written with its leaves: b for a bias, p for a peephole, Σ w·h for a sum of products, which are
    listed beside it. What it takes of x, of a state or of another quantity is left to be named; `vector` names it as a
    whole."""

    def said(piece: Piece) -> Piece:
        if isinstance(piece, list):
            return list(map(said, piece))
        if isinstance(piece, str) or piece.kind in ("given", "quantity"):
            return piece
        if piece.kind == "sum":
            text = filled(multiplied(piece), vector)
            return f"Σ w·({text})" if " " in text else f"Σ w·{text}"
        letter = "b" if piece.name.startswith("bias") else "p"
        return letter if piece.kind == "parameter" else f"{piece.numbers[0]:g}"

    return list(map(said, levels(expression)[0]))


def multiplied(products: Expression) -> list[Piece]:
    """What the weights of a sum of products are multiplied with: h, or r · h."""
    return levels(products.of[0])[0]


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
