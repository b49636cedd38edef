"""Expressions as lines of arithmetic: first their leaves by name, then numbers, each line one operation further."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from rnnspect.arithmetic.expression import POOLED, SUMS, Expression

TextPiece = str | Expression | list["TextPiece"]
"""Text; an expression, to be replaced by its name or number; or pieces that are put in parentheses where their text
begins with a minus."""

_FUNCTIONS = {"sigmoid": "σ"}
_SUM, _PRODUCT, _ALONE = 1, 2, 3
"""The precedence of a text's outermost operation; a text of a higher one needs no parentheses inside of a lower one."""
_MOST = 16
"""Leaves of a sum that is written out: eight products of two."""


def levels(expression: Expression, whole: bool = True) -> list[list[TextPiece]]:
    """The lines of a calculation: the first is written with the leaves of the expression, in each following one the
    operations whose operands are known have become their values, and the last is the value alone. If not `whole`, a
    long sum is one of the leaves."""
    return [_written(expression, level, whole)[0] for level in range(_height(expression, whole) + 1)]


def is_long(expression: Expression) -> bool:
    """Whether it is a sum of more than a line or two can hold, as over the keys of a matrix."""
    return expression.kind == "+" and next(itertools.islice(expression.leaves(), _MOST, None), None) is not None


def leaves(expression: Expression) -> Iterator[Expression]:
    """Those with which it is written where long sums are leaves."""
    if is_long(expression) or not expression.operands:
        yield expression
    else:
        yield from itertools.chain.from_iterable(map(leaves, expression.operands))


def in_short(long: Expression) -> str:
    what = "products" if all(term.kind == "·" for term in long.of) else "terms"
    return f"sum of {len(long.of)} {what}"


def filled(pieces: list[TextPiece], said: Callable[[Expression], str]) -> str:
    """The pieces as text; `said` gives the text of each expression in them."""
    texts = []
    for piece in pieces:
        if isinstance(piece, list):
            text = filled(piece, said)
            texts.append(f"({text})" if text.startswith("-") else text)
        else:
            texts.append(piece if isinstance(piece, str) else said(piece))
    return "".join(texts)


def words(expression: Expression, vector: Callable[[Expression], str], whole: bool = True) -> list[TextPiece]:
    """An expression written with its leaves: b for a bias, p for a peephole, the cell's
    name for a parameter of its own, Σ w·h for a sum of products, mean(c) for one over units. Units of x, of a state or
    of another quantity stay expressions, for `filled` to name. `vector` gives the name of the whole vector that such a
    unit is of, as in Σ w·h; `whole` is that of `levels`."""

    def said(piece: TextPiece) -> TextPiece:
        if isinstance(piece, list):
            return list(map(said, piece))
        if isinstance(piece, Expression) and piece.kind == "+":
            return f"({in_short(piece)})"
        if isinstance(piece, str) or piece.source.kind not in (*SUMS, *POOLED, "parameter", "number"):
            return piece
        piece = piece.source
        if piece.kind in POOLED:
            return pooled(piece, vector)
        if piece.kind in SUMS:
            text = filled(multiplied(piece), vector)
            return f"Σ w·({text})" if " " in text else f"Σ w·{text}"
        return _letter(piece.name) if piece.kind == "parameter" else f"{piece.numbers[0]:g}"

    return list(map(said, levels(expression, whole)[0]))


def pooled(one: Expression, vector: Callable[[Expression], str]) -> str:
    """mean(c), deviation(c), or rms(c) where no mean is taken off first; of blocks that are written alike one."""
    inner, kind = one.of, one.kind
    if kind == "deviation":
        centred = all(part.kind == "−" and part.of[1].kind == "mean" for part in inner)
        kind, inner = ("deviation", tuple(part.of[0] for part in inner)) if centred else ("rms", inner)
    texts = dict.fromkeys(filled(words(part, vector), vector) for part in inner)
    return f"{kind}({', '.join(texts)})"


def over(one: Expression) -> int:
    """Over how many units a mean or a deviation is."""
    return int(one.numbers[0]) * len(one.of)


def _letter(parameter: str) -> str:
    kind = parameter.rpartition("_l")[0]
    return "b" if kind.startswith("bias_") else "p" if kind == "weight_ch" else kind


def multiplied(products: Expression) -> list[TextPiece]:
    """What the weights of a sum of products are multiplied with: h, or r · h."""
    return levels(products.of[0])[0]


def _height(expression: Expression, whole: bool) -> int:
    """How many operations lie between an expression and its deepest leaf."""
    if not whole and is_long(expression):
        return 0
    return max((1 + _height(operand, whole) for operand in expression.operands), default=0)


def _written(expression: Expression, level: int, whole: bool) -> tuple[list[TextPiece], int]:
    """An expression written out down to the operands of at most this height, and its precedence, which decides where
    parentheses are needed."""
    if _height(expression, whole) <= level:
        return [expression], _ALONE
    inside = [_written(operand, level, whole) for operand in expression.operands]
    if expression.kind not in ("+", "−", "·"):
        numbers = "".join(f", {number!r}" for number in expression.numbers)
        parts = inside[0][0] if len(inside) == 1 else [*inside[0][0], ", ", *inside[1][0]]
        return [f"{_FUNCTIONS.get(expression.kind, expression.kind)}(", *parts, f"{numbers})"], _ALONE
    strength = _PRODUCT if expression.kind == "·" else _SUM
    pieces: list[TextPiece] = []
    for at, (text, own) in enumerate(inside):
        if at:
            pieces.append(f" {expression.kind} ")
        if own < strength or (own == strength and at):
            pieces += ["(", *text, ")"]
        else:
            pieces += [text] if at and expression.kind == "−" else text
    return pieces, strength
