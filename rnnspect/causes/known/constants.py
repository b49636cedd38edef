"""A cell of one's own with other numbers than the engine has: they are found by fitting them to the first steps, each
of which begins with the engine's own h."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._operations import with_operations
from rnnspect.cells.interface import Cell
from rnnspect.cells.trial import tried
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.resolution import without_effect

_STEPS, _ITEMS = 8, 4
_ROUNDS = 6
"""Iterations of Newton's method: most equations are nearly linear in their numbers."""
_TIMES = (1.0, 0.5, 2.0, 0.1, 10.0)
"""The fit of a single number starts at the best of these multiples of the cell's number."""
_SPARE = 4
"""There have to be so many values of h for each fitted number, or any run would fit."""
_NEAR = 100.0
"""At a first look the fit may leave differences of so many limits: a fitted number is not exact to the last digit."""
_DIGITS = 3
"""A fitted number that is so near to one of few digits is taken to be that one, as people write such numbers."""
_AS_WRITTEN, _ZERO = 1e-4, 1e-6


def causes(assumed: Assumption) -> Iterator[Cause]:
    cell = assumed.cell
    if cell.torch_name or cell.variant:
        return
    meant = dict(assumed.functions.constants)
    names = [name for name in _used(cell) if name in meant]
    for chosen in [(name,) for name in names] + [tuple(names)] * (len(names) > 1):
        found = {name: number for name, number in _fitted(assumed, chosen).items() if number != meant[name]}
        is_one = len(chosen) == 1
        if len(found) < min(2, len(chosen)) or (is_one and set(found.values()) & {1.0, -meant[chosen[0]]}):
            continue  # explained by one number alone, or by `lines.py`
        if not any(found.values()) and bool(without_effect(_with_numbers(assumed, found).equations).all()):
            continue  # factors of 0 remove everything that could be wrong
        theirs, ours = (listed(f"{of[name]:.7g}" for name in found) for of in (found, meant))
        yield Cause(
            "line-constant",
            f"the number{'' if is_one else 's'} {listed(found)} {'is' if is_one else 'are'} {theirs}, not {ours}",
            f"Use {ours} in the engine, or {theirs} in the cell's constants.",
            functools.partial(_with_numbers, numbers=found),
            {"constant": " ".join(found), "how": "another"},
        )


@functools.cache
def _used(cell: Cell) -> tuple[str, ...]:
    """The names of the numbers that the cell's lines multiply with."""
    found: list[str] = []

    def called(_a: Any, _number: int, operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        found.extend(values if operation == "constant" else ())
        return meant(*values)

    tried(with_operations(cell, called))
    return tuple(dict.fromkeys(found))


def _fitted(assumed: Assumption, names: Sequence[str]) -> dict[str, float]:
    """The numbers with which the equations give the engine's h in the first steps; empty where there are none."""
    meant = dict(assumed.functions.constants)
    now, size = torch.tensor([meant[name] for name in names], dtype=torch.float64), torch.inf
    if len(names) == 1:
        now = now * min(_TIMES, key=lambda times: float(_off(assumed, names, now * times)[0].norm()))
    for _ in range(_ROUNDS):
        off, _top = _off(assumed, names, now)
        if len(off) < _SPARE * len(names) or not float(off.norm()) < size / 2:
            break
        size = float(off.norm())
        steps = torch.diag(now.abs().clamp(min=0.1) * 1e-4)
        slopes = torch.stack([(_off(assumed, names, now + step)[0] - off) / step.sum() for step in steps], -1)
        if not bool(slopes.isfinite().all()):
            return {}
        now = now - torch.linalg.lstsq(slopes, off[:, None]).solution[:, 0]
    written = torch.tensor([float(f"{float(one):.{_DIGITS}g}") for one in now], dtype=torch.float64)
    written[now.abs() < _ZERO] = 0
    for numbers in (torch.where((written - now).abs() <= _AS_WRITTEN * now.abs() + _ZERO, written, now), now):
        if _off(assumed, names, numbers)[1] <= _NEAR:
            return dict(zip(names, numbers.tolist(), strict=True))
    return {}


def _off(assumed: Assumption, names: Sequence[str], numbers: Tensor) -> tuple[Tensor, float]:
    """The difference of each h in the first steps, and the largest ratio of difference to limit."""
    changed = _with_numbers(assumed, dict(zip(names, numbers.tolist(), strict=True)))
    layer, run = changed.equations, changed.run.first(_STEPS).take(items=slice(_ITEMS))
    found = list(layer.compared(run, _STEPS * _ITEMS, layer.wide))
    off = torch.cat([(one.q["h"].v - one.after)[one.chunk.inside].flatten() for one in found])
    return off, max(float(one.ratio.nan_to_num(0.0, torch.inf).max()) for one in found)


def _with_numbers(assumed: Assumption, numbers: dict[str, float]) -> Assumption:
    given = assumed.functions.constants
    return assumed.with_functions(constants=tuple((name, numbers.get(name, value)) for name, value in given))
