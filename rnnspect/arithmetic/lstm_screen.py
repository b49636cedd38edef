"""Going back over an LSTM with a cheap lower estimate of the bound, as `screen.py` has it going forward: where every
difference lies within it, nobody needs the whole bound.

Its derivatives are written out here, beside the tape that has them from a cell's own lines: so a block of steps is gone
over in few operations, most of them in place, while it stays in the cache, which is several times as fast.

Every error here is at most the one that `BackwardBounded` gives. Left out are errors of errors, roundings of sums and
products but those of matrices, and what a cell state brings along from earlier steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rnnspect.arithmetic.backward_bounded import BackwardBounded
from rnnspect.arithmetic.bounded import KERNEL
from rnnspect.arithmetic.bounded_values import Number, Product
from rnnspect.arithmetic.product_bounds import LAMBDA, Rows, affine, largest, squashed
from rnnspect.arithmetic.scan import Scan
from rnnspect.arithmetic.slopes import sigmoid_slope, tanh_slope

BLOCK = 2**18
"""Numbers of one quantity that are gone over together: a dozen times as many fit into the cache that cores share."""
_LARGE = 2.0**80  # far below where anything overflows


@dataclass(frozen=True, eq=False)
class LstmForwards:
    """The gates of some steps, (steps, batch, H); the cell state before the first step and after each."""

    gates: Mapping[str, Tensor]
    c: Tensor
    begun_error: Tensor
    """The error of the cell state before the first step."""
    reach: Tensor
    """The largest error of the sum of g in any unit, (steps, batch, 1); at most 1."""
    least: Mapping[str, float]
    """The least errors of the sums of i, f and o in any step and unit."""
    kernel: float
    """The error of σ and tanh."""

    def g_error(self, at: slice, slope: Tensor) -> Tensor:
        return torch.mul(slope, self.reach[at]).add_(self.kernel)

    def c_error(self, n: int) -> Tensor:
        """The error of the cell state after so many of the steps, (batch, H)."""
        if not n:
            return self.begun_error.expand_as(self.c[0])
        at = slice(n - 1, n)
        e: Tensor = self.gates["i"][at] * self.g_error(at, tanh_slope(self.gates["g"][at]))
        return e[0]


@dataclass(frozen=True, eq=False)
class ShownBackwards:
    """The engine's dL/d of the pre-activations of some steps (steps, batch, 4 H), the part of dL/dh that comes from the
    output, the gradients of the states after the last step, and (steps, batch, 1) whether an item has that step, None
    where each has."""

    seen: Tensor
    upstream: Tensor
    after: Mapping[str, Number]
    valid: Tensor | None


@dataclass(eq=False)
class LstmBackwards:
    """Some steps gone back over. `to_h` is what comes to h before each step, `c` dL/dc with all that came to it."""

    forwards: LstmForwards
    shown: ShownBackwards
    to_h: Number
    c: Number
    before: dict[str, Number] = field(default_factory=dict)
    """The gradients of the states before the first step."""
    top: float = -1.0
    """The largest ratio of difference to error of a gate's gradient, and its step and item."""
    nearest: tuple[int, int] = 0, 0
    largest: float = 0.0
    """The largest of all gradients, and of all cell states."""

    @property
    def is_moderate(self) -> bool:
        """Whether no number is near the end of the dtype's range, where the whole bound may be infinite."""
        return self.largest < _LARGE

    def see(self, ratio: Tensor, start: int) -> None:
        """Takes the ratios of the steps from `start` on, and may overwrite their memory."""
        top = largest(ratio)
        if top <= self.top or math.isnan(self.top):
            return
        row = int(ratio.abs_().amax(2).argmax())
        self.top, self.nearest = top, (start + row // ratio.shape[1], row % ratio.shape[1])

    def coming(self, n: int, items: slice) -> dict[str, Number]:
        """The gradients of the states after step n, as far as they come from later steps."""
        if n + 1 == len(self.c.v):
            return {name: Number(g.v[items], g.e.expand_as(g.v)[items], g.u) for name, g in self.shown.after.items()}
        f, valid = self.forwards.gates["f"][n + 1, items], self.shown.valid
        f = f if valid is None else torch.where(valid[n + 1, items], f, 1)
        h, c = (Number(g.v[n + 1, items], g.e[n + 1, items], g.u) for g in (self.to_h, self.c))
        return {"h": h, "c": Number(f * c.v, f * c.e, c.u)}


class LstmScreen:
    """The quick arithmetic that belongs to a whole one, whose bound is multiplied by `factor`."""

    def __init__(self, whole: BackwardBounded, factor: int) -> None:
        self._a, self._factor, self._back = whole, factor, whole.columns("weight_hh")

    def forwards(self, x: Tensor, h: Tensor, c: Number) -> LstmForwards:
        """`h` is that before each step, `c` the cell state before the first."""
        sums = dict(zip("ifgo", self._a.gates(self._a.input(x), self._a.observed(h)), strict=True))
        gates = {name: s.sum("tanh" if name == "g" else "sigmoid") for name, s in sums.items()}
        after = torch.empty(len(x) + 1, *c.v.shape, dtype=c.v.dtype)
        after[0] = c.v
        for at in _blocks(gates["f"]):
            state = torch.mul(gates["i"][at], gates["g"][at], out=after[1:][at])
            Scan(gates["f"][at])(after[at.start], state)
        reach = {name: _reach(s).view(*x.shape[:2], 1) for name, s in sums.items()}
        least = {name: float(reach[name].amin()) for name in "ifo"}
        return LstmForwards(gates, after, c.e, reach["g"], least, KERNEL * self._a.u.sums)

    def carried(self, forwards: LstmForwards) -> Number:
        """The cell state after the last step. Its error is at most that of computing it back from h, that is, of
        tanh."""
        e = forwards.c_error(len(forwards.c) - 1)
        return Number(forwards.c[-1].clone(), e.clamp(max=forwards.kernel), self._a.u)

    def back(self, forwards: LstmForwards, shown: ShownBackwards) -> LstmBackwards:
        rows, u, after = Rows(shown.seen), self._a.u, shown.after
        v = affine(rows.v, self._back.w, None).view_as(forwards.gates["f"])
        e = torch.outer(rows.norm, self._back.slope).view_as(v)
        if shown.valid is not None:  # beyond an item's end all that comes goes on
            v, e = (torch.where(shown.valid, one, end) for one, end in ((v, after["h"].v), (e, after["h"].e)))
        c = Number(torch.empty_like(v), torch.empty_like(v), u)
        found = LstmBackwards(forwards, shown, Number(v, e, u), c)
        found.largest = max(float(rows.norm.amax()), largest(forwards.c))
        unit = LAMBDA * math.sqrt(rows.v.shape[1] + 2)
        carried = after["c"]
        for at in reversed(_blocks(v)):
            block = LstmBlock(found, at, unit, self._factor)
            block.output()
            carried = block.carried(carried)
            block.others()
        found.before = {"h": Number(v[0], e[0], u), "c": carried}
        return found


class LstmBlock:
    """A block of steps that is gone back over by `output`, `carried` and `others`, in this order."""

    def __init__(self, found: LstmBackwards, at: slice, unit: float, factor: int) -> None:
        forwards, shown = found.forwards, found.shown
        self._found, self.at, self._factor = found, at, factor
        self._steep = {"sigmoid": 4 / unit, "tanh": 16 / unit}
        """From this error on, the error of a slope is small compared with that of the number it is multiplied with."""
        self._tiny = torch.tensor(found.c.u.tiny, dtype=forwards.c.dtype)
        self._valid = None if shown.valid is None else shown.valid[at]
        self._gates = {name: v[at] for name, v in forwards.gates.items()}
        self.slopes = {name: tanh_slope(v) if name == "g" else sigmoid_slope(v) for name, v in self._gates.items()}
        self._lowest = {name: float(slope.amin()) for name, slope in self.slopes.items()}
        self._off = {name: forwards.kernel + off * self._lowest[name] for name, off in forwards.least.items()}
        self._g_error = forwards.g_error(at, self.slopes["g"])
        self._c_error = self._gates["i"] * self._g_error
        self._seen = dict(zip("ifgo", shown.seen[at].chunk(4, -1), strict=True))
        self._dc, self._dc_error = found.c.v[at], found.c.e[at]

    def output(self) -> None:
        """Compares the gradients of gate o, and gives the part of dL/dc at each step that comes from h."""
        found, o, dc, e, at = self._found, self._gates["o"], self._dc, self._dc_error, self.at
        after = found.shown.after["h"]
        dh = _next(found.to_h.v, after.v, at) + found.shown.upstream[at]
        h_error, size = _next(found.to_h.e, after.e, at), self._size(dh)
        t = squashed(found.forwards.c[1:][at], "tanh")
        slope = tanh_slope(t)
        t_error = torch.mul(slope, self._c_error).add_(found.forwards.kernel)
        self.see("o", dh * t, t_error.mul_(size).addcmul_(t.abs_(), h_error))
        torch.mul(dh, o, out=dc)
        torch.mul(o, h_error, out=e).add_(size, alpha=self._off["o"])
        self._times(e, dc, slope, float(slope.amin()), "tanh")
        dc.mul_(slope)

    def carried(self, after: Number) -> Number:
        """From the part of dL/dc that comes from later steps to all of dL/dc, and to the part for the steps before
        these."""
        dc, e, f, off = self._dc, self._dc_error, self._gates["f"], self._off["f"]
        if self._valid is not None:
            f = torch.where(self._valid, f, 1)
            dc.masked_fill_(~self._valid, 0)
            e.masked_fill_(~self._valid, 0)
        scan = Scan(f[1:], back=True)
        dc[-1] += after.v
        e[-1] += after.e
        scan(dc[-1], dc[:-1])
        self._dc_size = self._size(dc)
        lost = self._dc_size if self._valid is None else self._dc_size * self._valid
        e[:-1].add_(lost[1:], alpha=off)
        scan(e[-1], e[:-1])
        return Number(f[0] * dc[0], (f[0] * e[0]).add_(lost[0], alpha=off), after.u)

    def others(self) -> None:
        """Compares the gradients of gates i, f and g."""
        dc, e, size, i, g = self._dc, self._dc_error, self._dc_size, self._gates["i"], self._gates["g"]
        forwards, at = self._found.forwards, self.at
        self.see("i", dc * g, torch.mul(self._g_error, size).addcmul_(g.abs(), e))
        c, c_error = forwards.c[at], torch.cat([forwards.c_error(at.start)[None], self._c_error[:-1]])
        self.see("f", dc * c, c_error.mul_(size).addcmul_(c.abs(), e))
        self.see("g", dc * i, torch.mul(i, e).add_(size, alpha=self._off["i"]))

    def _size(self, g: Tensor) -> Tensor:
        size = g.abs()
        self._found.largest = max(self._found.largest, float(size.amax()))
        return size

    def _times(self, e: Tensor, g: Tensor, slope: Tensor, lowest: float, function: str) -> None:
        """From the error of g to that of g ⊙ slope, in place. The error of σ′ or tanh′ as s is e (1 − k s), at most
        what one of e in σ or tanh makes of it: with σ′ = σ (1 − σ), |1 − 2σ| = √(1 − 4 σ′) ≥ 1 − 4 σ′; with
        tanh′ = 1 − tanh², |2 tanh| ≥ 2 (1 − tanh′)."""
        torch.addcmul(self._tiny, e, slope, out=e)
        if lowest <= self._steep[function]:
            k, own = (4.0, 1.0) if function == "sigmoid" else (1.0, 2.0)
            own *= self._found.forwards.kernel
            size = g.abs()
            e.add_(size, alpha=own).addcmul_(size, slope, value=-own * k)

    def see(self, gate: str, g: Tensor, e: Tensor) -> None:
        """Compares the gradients of a gate's sum, where those of what it gives are g, which may err by e. After it e
        is how far those of the sum may be off."""
        slope = self.slopes[gate]
        self._times(e, g, slope, self._lowest[gate], "tanh" if gate == "g" else "sigmoid")
        ratio = torch.addcmul(self._seen[gate], g, slope, value=-1).div_(e)
        if self._factor != 1:
            ratio.div_(self._factor)
        if self._valid is not None:
            ratio.masked_fill_(~self._valid, 0)
        self._found.see(ratio, self.at.start)


def _reach(s: Product) -> Tensor:
    """The largest error of the sum of each row in any unit; at most 1."""
    (rows, block), *others = s.terms
    least = rows.norm * block.slope.amin()
    for more, its in others:
        least.addcmul_(more.norm, its.slope.amin())
    return least.clamp_(max=1)


def _blocks(v: Tensor) -> list[slice]:
    """Blocks of the steps of (steps, batch, H)."""
    size = max(1, BLOCK // v[0].numel())
    return [slice(start, min(len(v), start + size)) for start in range(0, len(v), size)]


def _next(v: Tensor, last: Tensor, at: slice) -> Tensor:
    """For each step of a block the value of the step behind it, for the last step of all from `last`."""
    if at.stop < len(v):
        return v[at.start + 1 : at.stop + 1]
    return torch.cat([v[at.start + 1 :], last.expand_as(v[:1])])
