"""Matrices of a cell of one's own, each by itself: the kernel of one gate, and parameters of the cell's own. That they
are transposed, or reshaped instead of transposed; of all gates together `kernels.py` has it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause, both_ways
from rnnspect.causes.known.kernels import RESHAPED, USE_THE_OTHER, reordered, reshaped_not_transposed
from rnnspect.judging.assumption import Assumption

_TRANSPOSED = {"weight_hh": "recurrent-kernel-transposed"}
_STORED = "transpose it in the file exactly once."


def causes(assumed: Assumption) -> Iterator[Cause]:
    cell, p = assumed.cell, assumed.p
    if cell.torch_name or cell.variant:
        return
    for name, w in p.own.items():
        if w.dim() == 2:
            yield from _of(name, name, w, functools.partial(_with_own, name=name))
    if len(cell.gates) == 1:
        return
    for name in ("weight_ih", "weight_hh"):
        if name in p.names:
            for gate, block in assumed.blocks(p[name]).items():
                change = functools.partial(_with_block, name=name, gate=gate)
                yield from _of(name, f"the block of gate {gate} in {name}", block, change)


def _of(name: str, which: str, w: Tensor, change: Callable[..., Assumption]) -> Iterator[Cause]:
    """What may be wrong with the order of one matrix; `change` sets it to what is given as `how`."""
    if 1 in w.shape:  # transposed it is the same numbers in the same order
        return
    if w.shape[0] == w.shape[1]:
        yield Cause(
            _TRANSPOSED.get(name, "kernel-transposed"),
            f"{which} is transposed (it is square, so the shape fits anyway)",
            both_ways(f"transpose {which}.", _STORED),
            functools.partial(change, how=""),
            {"which": which},
        )
        return
    for how in RESHAPED:
        yield Cause(
            "kernel-reshaped",
            f"{which} is {reshaped_not_transposed(how)}",
            both_ways(f"transpose {which} (.T); reshape and view do not reorder the numbers.", USE_THE_OTHER),
            functools.partial(change, how=how),
            {"which": which, "how": how},
        )


def _other(w: Tensor, how: str) -> Tensor:
    return reordered(w, how) if how else w.T.contiguous()


def _with_own(assumed: Assumption, name: str, how: str) -> Assumption:
    return assumed.with_parameters(**{name: _other(assumed.p[name], how)})


def _with_block(assumed: Assumption, name: str, gate: str, how: str) -> Assumption:
    blocks = assumed.blocks(assumed.p[name])
    blocks[gate] = _other(blocks[gate], how)
    return assumed.with_parameters(**{name: torch.cat([blocks[one] for one in assumed.cell.gates])})
