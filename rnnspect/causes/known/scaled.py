"""An input or an output that is multiplied by one number: pixels by 1/255, or by dropout's 1 − p without a mask.

The number is read off the first step, which has a known state before it, and has to explain all others.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._dropout_masks import Equations
from rnnspect.judging.assumption import Assumption

_NUMBERS = 2**10
"""Of the items that are looked at: of a wide layer few, which tell as much."""
_STARTS = [sign * 10 ** (n / 8) for n in range(-24, 25) for sign in (1.0, -1.0)]
"""From 1/1000 to 1000, and the same below 0."""
_BEST, _ITERATIONS, _MOVED = 3, 12, 1e-6
_NEARER = 16
"""The first step has to come so many times nearer to the equations with the factor."""
_SHORT, _MEASURED = 1e-2, 1e-4
"""How exactly a factor has to be known, relatively: one with three digits, and any other."""
_FIX = "dropout multiplies nothing where no element is set to zero (model.eval())."


def causes(assumed: Assumption) -> Iterator[Cause]:
    first = _First.of(assumed)
    if first is None:
        return
    if assumed.seen and (found := first.of_output()) is not None:
        factor, off = found
        yield Cause(
            "output-scaled",
            f"the output is multiplied by {_said(factor)}, and the state that goes on is not",
            f"Return h as it is; {_FIX}",
            functools.partial(_output, factor=factor, off=off),
            {"factor": _digits(factor)},
        )
    if (found := first.of_input()) is not None:
        factor, off = found
        what = f"what layer {assumed.layer} receives from the one below" if assumed.layer else "x"
        yield Cause(
            "input-scaled",
            f"{what} is multiplied by {_said(factor)}, or weight_ih is",
            f"Scale the input once, and alike on both sides; {_FIX}",
            functools.partial(_input, factor=factor, off=off),
            {"factor": _digits(factor)},
            reach="layer",
        )


@dataclass(frozen=True)
class _First:
    """The first step of some items, in float64: what came in, h after it, and the layers between the two."""

    x: Tensor
    h: Tensor
    layers: tuple[tuple[Equations, tuple[Tensor, ...]], ...]
    """Each with the state before the step."""
    room: float
    """About how far a correct engine's h may be off."""

    @classmethod
    def of(cls, assumed: Assumption) -> _First | None:
        """Of the layer itself; or, where nobody observed the lowest of several, of all of them in one direction."""
        run, stack, u = assumed.run, assumed.stack, assumed.u
        through = [assumed.at] if assumed.seen else [at for at in stack.spec.places if at in stack.h]
        if not run.x.shape[0] or not (assumed.seen or (assumed.layer == 0 and not stack.spec.bidirectional)):
            return None
        items = slice(max(1, min(run.x.shape[1], _NUMBERS // assumed.p.terms)))
        first = run.take(run.order(0, 1)[:, items], items)
        h = first.h if assumed.seen else stack.h[through[-1]][:1, items]
        layers = tuple((Equations(assumed.cell, stack.parameters[at], stack.spec.nonlinearity_of(at[1])),
                        tuple(state[items].double() for state in stack.states[at])) for at in through)  # fmt: skip
        sums = 4 * math.sqrt(assumed.p.terms) * max(u.sums, u.products, u.narrow)
        room = sums + 8 * max(u.stored, u.relative) + u.absolute
        if first.error is not None:
            room += math.sqrt(run.x.shape[2]) * float(first.error[:].max())
        return cls(first.x[:][0].double(), h[0].double(), layers, room)

    def of_output(self) -> tuple[float, float] | None:
        """By what h is multiplied, and how far that may be off, relatively. None where it is not."""
        own = self._own(1.0)
        square = float(own.square().sum())
        factor = float((own * self.h).sum()) / square if square else 0.0
        return self._told(factor, own * factor, math.sqrt(square) * abs(factor))

    def of_input(self) -> tuple[float, float] | None:
        """The same of x."""
        off = torch.tensor([self._off(start) for start in _STARTS]).nan_to_num(math.inf)
        found = [self._solved(_STARTS[at]) for at in off.argsort()[:_BEST]]
        factor, slope = min(found, key=lambda one: self._off(one[0]))
        return self._told(factor, self._own(factor), slope * abs(factor))

    def _solved(self, factor: float) -> tuple[float, float]:
        """A factor of x with which the equations give h, by Gauss and Newton's method, and ‖∂h/∂factor‖ there."""
        size = 0.0
        for _ in range(_ITERATIONS):
            h = self._own(factor)
            along = (self._own(factor * (1 + _MOVED)) - h) / (factor * _MOVED)
            size = float(along.norm())
            move = float(((h - self.h) * along).sum()) / size**2 if size else 0.0
            if not math.isfinite(move) or abs(move) <= 1e-12 * abs(factor):
                break
            factor -= max(-abs(factor), min(abs(factor) / 2, move))
        return factor, size

    def _own(self, factor: float) -> Tensor:
        """h (B, P) of the equations for x times a factor."""
        h = self.x * factor
        for equations, state in self.layers:
            h = equations.projected(equations.step(equations.input(h), state)[0])
        return h

    def _off(self, factor: float) -> float:
        return float((self._own(factor) - self.h).square().sum())

    def _told(self, factor: float, there: Tensor, size: float) -> tuple[float, float] | None:
        """`size`: how much h changes, together, with the logarithm of the factor."""
        before, after = (float((one - self.h).abs().max()) for one in (self._own(1.0), there))
        if not (size and math.isfinite(factor) and factor and after * _NEARER <= before):
            return None
        off = self.room * math.sqrt(self.h.numel()) / size
        short = min(_short(factor), key=lambda one: abs(one / factor - 1))
        if off < _SHORT and abs(short / factor - 1) <= off:
            return None if short == 1 else (short, 0.0)
        return None if off > _MEASURED or abs(factor - 1) <= 2 * off else (factor, off)


def _short(factor: float) -> tuple[float, float]:
    """The numbers next to it that have three digits, or are 1 by such a one."""
    return float(f"{factor:.3g}"), 1 / float(f"{1 / factor:.3g}")


def _digits(factor: float) -> float:
    return float(f"{factor:.6g}")


def _said(factor: float) -> str:
    one_by = 1 / factor
    is_part = abs(factor) < 1 and abs(one_by - round(one_by)) < 1e-9 * abs(one_by)
    return f"{factor:.6g}" + (f" (1/{one_by:.0f})" if is_part else "")


def _output(assumed: Assumption, factor: float, off: float) -> Assumption:
    run = assumed.run.mapped(lambda values: values[:].double() / factor, ("h", "h_error", "regrouped"))
    u = replace(assumed.u, relative=assumed.u.relative + 4 * assumed.u.stored + off)
    return replace(assumed, run=run, u=u)


def _input(assumed: Assumption, factor: float, off: float) -> Assumption:
    run, relative = assumed.run, 2 * assumed.u.stored + off
    x = run.x[:].double() * factor
    error = x.abs() * relative
    if run.error is not None:
        error += run.error[:] * abs(factor)
    return assumed.with_run(x=x, error=error)
