"""c_t = f_t ⊙ c_{t−1} + v_t for all steps of a chunk at once, without a division."""

from __future__ import annotations

import torch
from torch import Tensor

_WIDE = 4096  # from so many values in a step on, the arithmetic costs more than the calls do
_SIZE = 8


class Scan:
    """The recurrence for one f (steps, …), 0 ≤ f ≤ 1, to be run over several v; with `back` from the last step to the
    first.

    A prefix scan in blocks (Blelloch, Prefix sums and their applications, 1990): blocks of short rows advance together
    to their ends, these in the same way, then each block goes on from where the one before it really ended. Nothing is
    kept of a block but its end, so that little new memory is taken. Products of f only ever shrink, so an underflow
    there loses nothing; dividing cumulative products, the usual shortcut, would lose everything.
    """

    def __init__(self, f: Tensor, back: bool = False) -> None:
        self._f, self._back = f, back
        steps = len(f)
        self._whole = 0 if steps < 2 * _SIZE or f[0].numel() > _WIDE else steps // _SIZE * _SIZE
        if self._whole:
            first, second, *others = self._rows(f)
            through = first * second
            for factor in others:
                through.mul_(factor)
            self._ends = Scan(through, back)

    def __call__(self, start: Tensor, v: Tensor, out: Tensor | None = None) -> Tensor:
        """c (steps, …) from c before the first step (…) and v (steps, …), in `out`, or in v's own memory without it."""
        out = v if out is None else out
        if self._whole:
            rows = list(zip(self._rows(v), self._rows(self._f), self._rows(out), strict=True))
            (first, _, _), (own, factor, _), *others = rows
            ends = torch.addcmul(own, factor, first)
            for own, factor, _ in others:
                torch.addcmul(own, factor, ends, out=ends)
            both = torch.cat(self._in_order((start[None], self._ends(start, ends))))
            before, start = (both[1:], both[0]) if self._back else (both[:-1], both[-1])
            for own, factor, row in rows:
                before = torch.addcmul(own, factor, before, out=row)
        left = slice(len(v) - self._whole) if self._back else slice(self._whole, None)
        for own, row, factor in zip(*(self._in_order(of[left].unbind()) for of in (v, out, self._f)), strict=True):
            start = torch.addcmul(own, factor, start, out=row)
        return out

    def _rows(self, a: Tensor) -> tuple[Tensor, ...]:
        """The first step of each block, the second of each, and so on: (blocks, …) each."""
        part = a[len(a) - self._whole :] if self._back else a[: self._whole]
        return self._in_order(part.view(-1, _SIZE, *a.shape[1:]).unbind(1))

    def _in_order(self, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return rows[::-1] if self._back else rows
