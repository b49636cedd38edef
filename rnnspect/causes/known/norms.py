"""Mistakes in the norms of a cell of one's own, made in all of its norms at once, or in one that joins blocks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._line_forms import operations
from rnnspect.causes.known._operations import with_operations
from rnnspect.cells.interface import Cell
from rnnspect.cells.trial import normalises, tried
from rnnspect.judging.assumption import Assumption

EPSILONS = (0.0, 1e-12, 1e-8, 2.0**-23, 1e-6, 1e-5, 1e-4, 1e-3)
"""The values of ε that libraries have by default, and 0."""
_Form = Callable[..., Any]
"""From the arithmetic, "norm" or "rms_norm", its value or blocks, the name of ε and the number of heads, if any, to the
result."""


@dataclass(frozen=True)
class _Call:
    """One norm of a step: norm or rms_norm, how many blocks are normalised together, the name of ε, and the number of
    heads that are normalised by themselves."""

    operation: str
    blocks: int
    eps: str
    heads: int | None


@functools.cache
def _calls(cell: Cell) -> frozenset[_Call]:
    found = set()

    def seen(a: Any, operation: str, v: Any, eps: str, heads: int | None = None) -> Any:
        found.add(_Call(operation, len(v) if isinstance(v, tuple) else 1, eps, heads))
        return getattr(a, operation)(v, eps, heads)

    tried(_with(cell, seen))
    return frozenset(found)


@functools.cache
def _joining(cell: Cell) -> dict[int, str]:
    """The norms of several blocks together, each with its line and column, by their numbers among the operations."""
    found = list[int]()

    def called(_a: Any, number: int, operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        found.extend([number] if operation in ("norm", "rms_norm") and isinstance(values[0], tuple) else [])
        return meant(*values)

    tried(with_operations(cell, called))
    return {number: operations(cell)[number].place for number in found}


@functools.cache
def _with(cell: Cell, form: _Form, only: int | None = None) -> Cell:
    """The cell with all its norms in another form, or only the operation of this number."""

    def called(a: Any, number: int, operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        is_norm = operation in ("norm", "rms_norm") and only in (None, number)
        return form(a, operation, *values) if is_norm else meant(*values)

    return with_operations(cell, called)


def _other_mean(a: Any, operation: str, *given: Any) -> Any:
    return a.rms_norm(*given) if operation == "norm" else a.norm(*given)


def _apart(a: Any, operation: str, v: Any, *given: Any) -> Any:
    made = getattr(a, operation)
    return tuple(made(block, *given) for block in v) if isinstance(v, tuple) else made(v, *given)


def _all_heads(a: Any, operation: str, v: Any, eps: str, heads: int | None = None) -> Any:
    made = getattr(a, operation)
    return made(v, eps) if heads is None else made(v, eps, 1)


def _unbiased(a: Any, operation: str, v: Any, eps: str) -> Any:
    """(v − m) / √(n / (n − 1) var + ε), which is √((n − 1) / n) (v − m) / √(var + (n − 1) / n ε)."""
    blocks = v if isinstance(v, tuple) else (v,)
    named = f"{eps} over {len(blocks)}"
    made = tuple(a.constant(f"share of {named}") * one for one in getattr(a, operation)(blocks, named))
    return made if isinstance(v, tuple) else made[0]


def causes(assumed: Assumption) -> Iterator[Cause]:
    cell = assumed.cell
    if cell.torch_name or cell.variant or not normalises(cell):
        return
    calls, constants = _calls(cell), dict(assumed.functions.constants)
    layer_norms = all(call.operation == "norm" for call in calls)
    yield Cause(
        "norm-mean",
        "no mean is taken off before a norm" if layer_norms else "a norm takes a mean off where none is meant",
        "Use a layer norm where the cell has a.norm, and an RMS norm where it has a.rms_norm.",
        functools.partial(_read, form=_other_mean),
    )
    if any(call.blocks > 1 for call in calls):
        yield Cause(
            "norm-apart",
            "the blocks of gates are normalised each by itself, not all together as one vector",
            "Normalise all gates together, or write a norm for each block into the cell.",
            functools.partial(_read, form=_apart),
        )
        joining = _joining(cell)
        for number, place in joining.items() if len(joining) > 1 else ():
            at = f"{Path(cell.step.__code__.co_filename).name}:{place}"
            yield Cause(
                "norm-apart",
                f"the blocks of gates of one norm alone are normalised each by itself, where {at} has it",
                f"Normalise the blocks together, as {at} does, or write a norm for each block there.",
                functools.partial(_read, form=_apart, only=number),
                {"place": place},
            )
    if any((call.heads or 1) > 1 for call in calls):
        yield Cause(
            "norm-heads",
            "all heads are normalised together as one vector, not each by itself",
            "Normalise each head by itself, or leave the heads out of the cell's norm.",
            functools.partial(_read, form=_all_heads),
        )
    if all(call.heads is None and call.blocks * assumed.units > 1 for call in calls):
        yield Cause(
            "norm-unbiased",
            "the variance of a norm is divided by n − 1, not by n",
            "Use the biased variance: unbiased=False, correction=0, ddof=0.",
            functools.partial(_read, form=_unbiased, numbers=tuple(_shares(assumed, calls))),
        )
    for name in sorted({call.eps for call in calls}):
        for value in EPSILONS:
            if value != constants[name]:
                yield Cause(
                    "norm-epsilon",
                    f"ε of a norm, {name}, is {value:g} in the engine, not {constants[name]:g}",
                    f"Use {constants[name]:g} in the engine, or {value:g} in the cell's constants.",
                    functools.partial(_read, numbers=((name, value),)),
                    {"constant": name, "value": f"{value:g}"},
                )


def _shares(assumed: Assumption, calls: frozenset[_Call]) -> Iterator[tuple[str, float]]:
    """The constants of `_unbiased`: (n − 1) / n ε, and √((n − 1) / n)."""
    for call in calls:
        share, named = 1 - 1 / (call.blocks * assumed.units), f"{call.eps} over {call.blocks}"
        yield named, share * dict(assumed.functions.constants)[call.eps]
        yield f"share of {named}", math.sqrt(share)


def _read(
    assumed: Assumption, form: _Form | None = None, numbers: tuple[tuple[str, float], ...] = (), only: int | None = None
) -> Assumption:
    cell = assumed.cell if form is None else _with(assumed.cell, form, only)
    constants = tuple((dict(assumed.functions.constants) | dict(numbers)).items())
    cell = replace(cell, constants=tuple((dict(cell.constants) | dict(numbers)).items()))
    return replace(assumed, cell=cell).with_functions(constants=constants)
