"""Where a function has a kink and no derivative: the convention that gradients follow there, which is PyTorch's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rnnspect.arithmetic.expression import Expression
from rnnspect.cells.functions import functions_of
from rnnspect.network.spec import Spec

_SLOPES = {
    "relu": "relu' is 0 at 0",
    "leaky_relu": "leaky_relu' is α at 0",
    "elu": "elu' is α at 0",
    "thresholded_relu": "thresholded_relu' is 0 at its threshold",
    "hard_sigmoid": "hard_sigmoid' is its slope where it reaches 0 or 1",
}
_CLIPPED = "what is clipped has a gradient up to the limit itself"
_WITHIN = "within(s, m) is 1 up to |s| = m, else 0: what is clipped has no gradient"


def of_network(spec: Spec) -> Iterator[str]:
    """What is said of the functions of a network."""
    found: dict[str, None] = {}
    for direction in spec.directions:
        chosen = functions_of(spec.nonlinearity_of(direction))
        found |= dict.fromkeys(chosen.named(name).name for name in spec.cell_type.functions)
        found |= {"clip": None} if chosen.clip is not None else {}
    said = _SLOPES | {"clip": _CLIPPED}
    yield from (said[name] for name in found if name in said)


def of_expressions(expressions: Iterable[Expression]) -> Iterator[str]:
    """What is said of the derivatives that stand in them."""
    said = {f"{name}'": text for name, text in _SLOPES.items()} | {"within": _WITHIN}
    yield from (said[kind] for kind in _kinds(expressions) if kind in said)


def _kinds(expressions: Iterable[Expression]) -> dict[str, None]:
    """Those of the expressions and of all that they are made of, each looked at once."""
    todo, seen, found = list(expressions), set[int](), dict[str, None]()
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            found[one.kind] = None
            todo += one.of
    return found
