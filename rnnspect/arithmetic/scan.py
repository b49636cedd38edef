"""c_t = f_t ⊙ c_{t−1} + v_t for all steps of a chunk at once, without a division."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

_WIDE = 4096  # from so many values in a step on, the arithmetic costs more than the calls do
_SIZE = 8


class Scan:
    """The recurrence for one f (steps, …), 0 ≤ f ≤ 1, to be run over several v; with `back` from the last step to the
    first.

    A prefix scan in blocks (Blelloch, Prefix sums and their applications, 1990): blocks of short rows advance together,
    then their ends in the same way, then each start is carried through its block. Products of f only ever shrink, so an
    underflow there loses nothing; dividing cumulative products, the usual shortcut, would lose everything.
    """

    def __init__(self, f: Tensor, back: bool = False) -> None:
        self._f, self._back = f, back
        steps = len(f)
        self._whole = 0 if steps < 2 * _SIZE or f[0].numel() > _WIDE else steps // _SIZE * _SIZE
        if self._whole:
            self._through = self._blocks(f).clone()
            rows = self._in_order(self._through.unbind(1))
            for before, row in itertools.pairwise(rows):
                row.mul_(before)
            self._ends = Scan(rows[-1], back)

    def __call__(self, start: Tensor, v: Tensor, out: Tensor | None = None) -> Tensor:
        """c (steps, …) from c before the first step (…) and v (steps, …), in `out`, or in v's own memory without it."""
        out = v if out is None else out
        if self._whole:
            given, rows, factors = (self._in_order(self._blocks(of).unbind(1)) for of in (v, out, self._f))
            if out is not v:
                rows[0].copy_(given[0])
            for before, own, row, factor in zip(rows, given[1:], rows[1:], factors[1:], strict=False):
                torch.addcmul(own, factor, before, out=row)
            both = torch.cat(self._in_order((start[None], rows[-1])))
            ends, starts = (both[:-1], both[1:]) if self._back else (both[1:], both[:-1])
            start = self._ends(start, ends)[0 if self._back else -1]
            self._blocks(out).addcmul_(self._through, starts.unsqueeze(1))
        left = slice(len(v) - self._whole) if self._back else slice(self._whole, None)
        for own, row, factor in zip(*(self._in_order(of[left].unbind()) for of in (v, out, self._f)), strict=True):
            start = torch.addcmul(own, factor, start, out=row)
        return out

    def _blocks(self, a: Tensor) -> Tensor:
        part = a[len(a) - self._whole :] if self._back else a[: self._whole]
        return part.view(-1, _SIZE, *a.shape[1:])

    def _in_order(self, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return rows[::-1] if self._back else rows
