"""c_t = f_t ⊙ c_{t−1} + v_t for all steps of a chunk at once, without a division."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

_WIDE = 4096  # from so many values in a step on, the arithmetic costs more than the calls do
_SIZE = 8


class Scan:
    """The recurrence for one f (steps, …), 0 ≤ f ≤ 1, to be run over several v.

    A prefix scan in blocks (Blelloch, Prefix sums and their applications, 1990): blocks of short rows advance together,
    then their ends in the same way, then each start is carried through its block. Products of f only ever shrink, so an
    underflow there loses nothing; dividing cumulative products, the usual shortcut, would lose everything.
    """

    def __init__(self, f: Tensor) -> None:
        self._f = f
        steps = len(f)
        self._whole = 0 if steps < 2 * _SIZE or f[0].numel() > _WIDE else steps // _SIZE * _SIZE
        if self._whole:
            self._through = _blocks(f[: self._whole]).clone()
            rows = self._through.unbind(1)
            for before, row in itertools.pairwise(rows):
                row.mul_(before)
            self._ends = Scan(rows[-1])

    def __call__(self, start: Tensor, v: Tensor, out: Tensor | None = None) -> Tensor:
        """c (steps, …) from c before the first step (…) and v (steps, …), in `out`, or in v's own memory without it."""
        out = v if out is None else out
        if self._whole:
            given, rows = (_blocks(values[: self._whole]).unbind(1) for values in (v, out))
            if out is not v:
                rows[0].copy_(given[0])
            factors = _blocks(self._f[: self._whole]).unbind(1)
            for before, own, row, factor in zip(rows, given[1:], rows[1:], factors[1:], strict=False):
                torch.addcmul(own, factor, before, out=row)
            starts = torch.cat([start[None], rows[-1]])
            start = self._ends(start, starts[1:])[-1]
            _blocks(out[: self._whole]).addcmul_(self._through, starts[:-1].unsqueeze(1))
        for own, row, factor in zip(v[self._whole :], out[self._whole :], self._f[self._whole :], strict=True):
            start = torch.addcmul(own, factor, start, out=row)
        return out


def _blocks(a: Tensor) -> Tensor:
    return a.view(-1, _SIZE, *a.shape[1:])
