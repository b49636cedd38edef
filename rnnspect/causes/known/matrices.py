"""Single matrices of a cell of one's own: the kernel of one gate, and the cell's own parameters. They may be
transposed, or reshaped instead of transposed (for all gates together: `kernels.py`), or have the rows of their heads in
another order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from rnnspect.causes.interface import Cause, both_ways
from rnnspect.causes.known.kernels import RESHAPED, reordered, reshaped_not_transposed, transposing
from rnnspect.cells.sizes import Size
from rnnspect.errors import listed
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
    yield from _of_heads(assumed)
    if len(cell.gates) == 1:
        return
    for name in ("weight_ih", "weight_hh"):
        if name in p.names:
            for gate, block in assumed.blocks(p[name]).items():
                change = functools.partial(_with_block, name=name, gate=gate)
                yield from _of(name, f"the block of gate {gate} in {name}", block, change)


def _of(name: str, which: str, w: Tensor, change: Callable[..., Assumption]) -> Iterator[Cause]:
    """What may be wrong with the order of a matrix's numbers; `change` puts the matrix that it is given in place of
    it."""
    if 1 in w.shape:  # transposing does not change the order of its numbers
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
            transposing(which),
            functools.partial(change, how=how),
            {"which": which, "how": how},
        )


def _of_heads(assumed: Assumption) -> Iterator[Cause]:
    """The rows of gates with two sizes, such as heads × d_k, are in the order d_k × heads: in one such gate, or in all
    of the same sizes."""
    shaped: dict[tuple[Size, ...], list[str]] = {}
    for gate, sizes in assumed.cell.sizes:
        shaped.setdefault(sizes, []).append(gate)
    for sizes, gates in shaped.items():
        if len(sizes) != 2:
            continue
        right, turned = (" × ".join(map(str, of)) for of in (sizes, sizes[::-1]))
        for chosen in [*([gate] for gate in gates), *[gates] * (len(gates) > 1)]:
            which = f"the rows of gate{'s' * (len(chosen) > 1)} {listed(chosen)}"
            yield Cause(
                "kernel-reshaped",
                f"{which} are read as {turned}, not as {right}",
                both_ways(f"read {which} as {right}.", f"where you read them, turn {turned} into {right}."),
                functools.partial(_with_rows_turned, gates=tuple(chosen)),
                {"gates": " ".join(chosen)},
            )


def _with_rows_turned(assumed: Assumption, gates: tuple[str, ...]) -> Assumption:
    cell, p = assumed.cell, assumed.p
    sizes = {gate: cell.shape(of, assumed.units, assumed.run.x.shape[2]) for gate, of in cell.sizes if gate in gates}
    made: dict[str, Any] = {}
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        if name in p.names:
            blocks = assumed.blocks(p[name])
            for gate, (heads, each) in sizes.items():
                rows = blocks[gate]
                blocks[gate] = rows.view(each, heads, *rows.shape[1:]).transpose(0, 1).reshape(rows.shape)
            made[name] = assumed.packed(blocks)
    return assumed.with_parameters(**made)


def _other(w: Tensor, how: str) -> Tensor:
    return reordered(w, how) if how else w.T.contiguous()


def _with_own(assumed: Assumption, name: str, how: str) -> Assumption:
    return assumed.with_parameters(**{name: _other(assumed.p[name], how)})


def _with_block(assumed: Assumption, name: str, gate: str, how: str) -> Assumption:
    blocks = assumed.blocks(assumed.p[name])
    blocks[gate] = _other(blocks[gate], how)
    return assumed.with_parameters(**{name: assumed.packed(blocks)})
