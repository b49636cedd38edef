"""What the shapes of a packing's arrays tell. Arithmetic only; loads no framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnspect.errors import Problem, WeightsError, listed, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rnnspect.weights.layouts.interface import Packing


@dataclass(frozen=True)
class Sizes:
    """I, H, and P or 0, as a spec calls them, and whether there are biases."""

    input_size: int
    hidden_size: int
    proj_size: int
    bias: bool


def sizes_of(packing: Packing, shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
    """The sizes that arrays of these shapes mean, of one layer and direction.

    Raises `WeightsError` for arrays that are missing, unknown, or do not fit together.
    """
    _check_names(packing, shapes)
    for name, shape in shapes.items():
        axes = 2 if not packing.is_bias(name) or len(packing.blocks[name]) > 1 else 1
        if len(shape) != axes or 0 in shape:
            raise _unfit(packing, name, shape, f"{'two axes' if axes == 2 else 'one axis'} of at least 1")
    out, into = (0, 1) if packing.orientation == "out×in" else (1, 0)
    weights = [name for name in packing.weights if name in shapes]
    of_h = next(name for name in weights if packing.blocks[name][-1][0].side == "h")
    of_x = next(name for name in weights if packing.blocks[name][0][0].side == "i")
    hidden = shapes[of_h][out] // len(packing.blocks[of_h][-1])
    projection = next((shapes[name][out] for name in shapes if packing.is_projection(name)), 0)
    state = projection or hidden
    sides = {"h": state, "i": shapes[of_x][into] - (state if len(packing.blocks[of_x]) > 1 else 0)}
    for name, shape in shapes.items():
        fits = _expected(packing, name, sides, hidden, projection)
        if shape != fits or sides["i"] < 1:
            raise _unfit(packing, name, shape, f"{fits} beside {of_h} {shapes[of_h]}")
    bias = packing.bias_always or bool(packing.forget_bias) or any(packing.is_bias(name) for name in shapes)
    return Sizes(sides["i"], hidden, projection, bias)


def _expected(packing: Packing, name: str, sides: Mapping[str, int], hidden: int, projection: int) -> tuple[int, ...]:
    rows = packing.blocks[name]
    wide = len(rows[0]) * hidden
    if packing.is_bias(name):
        return (len(rows), wide) if len(rows) > 1 else (wide,)
    shape = (projection, hidden) if packing.is_projection(name) else (wide, sum(sides[row[0].side] for row in rows))
    return shape if packing.orientation == "out×in" else shape[::-1]


def _check_names(packing: Packing, given: Collection[str]) -> None:
    known = packing.arrays
    biases = [name for name in known if packing.is_bias(name)]
    needed = [*packing.weights, *(biases if any(name in given for name in biases) else [])]
    missing = [name for name in needed if name not in given]
    problems = [
        Problem(f"no array of it is called {name!r}", listed(known), nearest(name, known), packing.where)
        for name in given
        if name not in known
    ]
    if missing:
        problems.append(Problem(f"{listed(missing)} missing", listed(known), where=packing.where))
    if problems:
        raise WeightsError(problems)


def _unfit(packing: Packing, name: str, shape: tuple[int, ...], allowed: str) -> WeightsError:
    return WeightsError(f"{name} of shape {shape}", allowed=allowed, where=packing.where)
