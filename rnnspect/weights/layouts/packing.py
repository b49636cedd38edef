"""Converts PyTorch's parameters to a framework's arrays and back, as a layout says.

Every number is read and written once. A matrix whose blocks move as it is transposed goes by way of strips that fit a
cache, since torch transposes fast only what is contiguous.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.network.parameters import LayerParameters
from rnnspect.network.spec import Spec, form_of
from rnnspect.weights.layouts.interface import FORMS, Block, Layout, Packing, Sizes, sizes_of

_Key = tuple[str, str, str]
"""Kind, side and gate of a block."""
_PROJECTION: _Key = ("W", "h", "r")
_STRIP = 1 << 19
"""How many numbers are transposed at once."""


@dataclass(frozen=True)
class Lost:
    """A parameter that a layout has no place for, with its largest magnitude; a parameter of zeros is not lost."""

    name: str
    largest: float
    where: str

    def __str__(self) -> str:
        return f"{self.where} cannot store {self.name} (largest value {self.largest:.3g})"


@dataclass(frozen=True)
class LostAt:
    """What one layer and direction loses."""

    layer: int
    direction: str
    lost: Lost

    def __str__(self) -> str:
        return f"layer {self.layer} {self.direction}: {self.lost}"


@dataclass(frozen=True)
class _Rows:
    """Rows [start, stop) of a matrix (out, in), which may be a transposed view, or of a vector."""

    whole: Tensor
    start: int
    stop: int
    sign: int = 1

    @property
    def values(self) -> Tensor:
        rows = self.whole[self.start : self.stop]
        return -rows if self.sign < 0 else rows


def pack(layout: Layout, form: str, p: LayerParameters) -> dict[str, Tensor]:
    """The arrays of one layer and direction by the framework's names, in new memory; `lost` says what they do not hold.

    Where a layout has one bias for b_ih and b_hh, their sum is rounded to their dtype, which is not called lost: it
    is exact where one of the two is zero, and else off by at most half a unit in the last place. What a framework adds
    to f at run time is subtracted from b_f, which rounds as well.

    Raises `InputError` for a form that the framework does not have.
    """
    packing = layout.packing(form)
    there = _of_torch(form, p)
    vectors = packing.bias_always or bool(packing.forget_bias) or p.bias_ih is not None
    arrays: dict[str, Tensor] = {}
    for name, rows in packing.blocks.items():
        if packing.is_bias(name):
            if vectors:
                joined = [torch.cat([_bias(packing, block, there) for block in row]) for row in rows]
                arrays[name] = torch.stack(joined) if len(rows) > 1 else joined[0]
        elif all(_key(block) in there for row in rows for block in row):
            parts = [_runs([replace(there[_key(block)], sign=block.sign) for block in row]) for row in rows]
            kernel = _joined(parts, packing.orientation)
            arrays[name] = _reshaped(kernel, len(rows[0])) if packing.orientation == "reshaped" else kernel
    return arrays


def lost(layout: Layout, form: str, p: LayerParameters) -> tuple[Lost, ...]:
    """The parameters that the framework has no place for. Raises as `pack`."""
    packing = layout.packing(form)
    return tuple(
        Lost(f"{kind}_{side}{gate}", largest, packing.where)
        for (kind, side, gate), rows in _of_torch(form, p).items()
        if (kind, side, gate) not in packing.held
        if (largest := float(rows.values.abs().max())) != 0
    )


def every_loss(layout: Layout, spec: Spec, parameters: Mapping[str, Tensor]) -> tuple[LostAt, ...]:
    """What each layer and direction of a network loses; nothing is packed for it. Raises as `pack`."""
    return tuple(
        LostAt(layer, direction, one)
        for layer, direction in spec.places
        for one in lost(layout, form_of(spec), LayerParameters.of(parameters, layer, direction))
    )


def unpack(layout: Layout, form: str, arrays: Mapping[str, Tensor]) -> LayerParameters:
    """PyTorch's parameters from a framework's arrays of one layer and direction, in new memory.

    What a layout holds as one bias becomes bias_ih, and bias_hh is zero, but for b_hn of a reset-after GRU and for what
    the framework adds to f at run time. Without any array of biases there are none.

    Raises `InputError` for a form that the framework does not have, `WeightsError` for arrays that are missing,
    unknown, or do not fit together.
    """
    packing = layout.packing(form)
    sizes = sizes_of(packing, {name: tuple(array.shape) for name, array in arrays.items()})
    there = _of_framework(packing, arrays, sizes)
    gates = FORMS[form]
    weight_ih, weight_hh = (_stacked(_runs([there["W", side, gate] for gate in gates])) for side in "ih")
    projection = there[_PROJECTION].values.clone() if sizes.proj_size else None
    if not sizes.bias:
        return LayerParameters(weight_ih, weight_hh, None, None, projection)
    zeros = weight_hh.new_zeros(sizes.hidden_size)
    added = zeros + packing.forget_bias
    first = [there.get(("b", "i", gate)) or there.get(("b", "", gate)) for gate in gates]
    second = [there.get(("b", "h", gate)) for gate in gates]
    bias_ih = torch.cat([rows.values if rows else zeros for rows in first])
    unstored = [added if gate == "f" else zeros for gate in gates]
    bias_hh = torch.cat([rows.values if rows else other for rows, other in zip(second, unstored, strict=True)])
    return LayerParameters(weight_ih, weight_hh, bias_ih, bias_hh, projection)


def unpack_gradients(layout: Layout, form: str, arrays: Mapping[str, Tensor]) -> LayerParameters:
    """The gradients of PyTorch's parameters from those of a framework's arrays of one layer and direction.

    A matrix goes the way that `unpack` goes. Where one bias stands for b_ih + b_hh, its gradient is that of each of the
    two. A bias of which the framework has no place for a part has none.

    Raises as `unpack`.
    """
    found = unpack(layout, form, arrays)
    if found.bias_ih is None:
        return found
    packing = layout.packing(form)
    there = _of_framework(packing, arrays, sizes_of(packing, {name: tuple(one.shape) for name, one in arrays.items()}))

    def bias(side: str) -> Tensor | None:
        blocks = [there.get(("b", side, gate)) or there.get(("b", "", gate)) for gate in FORMS[form]]
        held = [rows.values for rows in blocks if rows]
        return torch.cat(held) if len(held) == len(blocks) else None

    return replace(found, bias_ih=bias("i"), bias_hh=bias("h"))


def _of_framework(packing: Packing, arrays: Mapping[str, Tensor], sizes: Sizes) -> dict[_Key, _Rows]:
    """Where each block is in a framework's arrays; matrices are (out, in) views."""
    there: dict[_Key, _Rows] = {}
    state = sizes.proj_size or sizes.hidden_size
    for name, given in arrays.items():
        array, rows = given.detach(), packing.blocks[name]
        if packing.is_bias(name):
            parts = list(array) if len(rows) > 1 else [array]
        elif packing.orientation == "reshaped":
            parts = [torch.cat([gate.reshape(gate.shape[::-1]) for gate in array.chunk(len(rows[0]), 1)])]
        else:
            axis = 1 if packing.orientation == "out×in" else 0
            widths = [array.shape[axis]] if len(rows) == 1 else [array.shape[axis] - state, state]
            split = array.split(widths, axis)  # type: ignore[no-untyped-call]
            parts = list(split) if axis else [part.t() for part in split]
        for part, row in zip(parts, rows, strict=True):
            size = part.shape[0] // len(row)
            for at, block in enumerate(row):
                there[_key(block)] = _Rows(part, at * size, (at + 1) * size, block.sign)
    return there


def _of_torch(form: str, p: LayerParameters) -> dict[_Key, _Rows]:
    """Where each block is in PyTorch's parameters."""
    gates = FORMS[form]
    hidden = p.weight_hh.shape[0] // len(gates)
    named = [("W", "i", p.weight_ih), ("W", "h", p.weight_hh), ("b", "i", p.bias_ih), ("b", "h", p.bias_hh)]
    there = {
        (kind, side, gate): _Rows(whole.detach(), at * hidden, (at + 1) * hidden)
        for kind, side, whole in named
        if whole is not None
        for at, gate in enumerate(gates)
    }
    if p.weight_hr is not None:
        there[_PROJECTION] = _Rows(p.weight_hr.detach(), 0, p.weight_hr.shape[0])
    return there


def _bias(packing: Packing, block: Block, there: Mapping[_Key, _Rows]) -> Tensor:
    """One block of a bias, without what the framework adds to it at run time."""
    weight = there["W", "h", block.gate]
    zeros = weight.whole.new_zeros(weight.stop - weight.start)
    first, second = (rows.values if (rows := there.get(("b", side, block.gate))) else zeros for side in "ih")
    if block.side:
        value = first if block.side == "i" else second
    else:
        # Added to the state's bias first: b_f + (1 − 1) is b_f again, (b_f + 1) − 1 may not be.
        second = second - packing.forget_bias if block.gate == "f" else second
        # Where one is zero the other stays as it is, its sign of zero included.
        value = torch.where(second == 0, first, first + second)
    return -value if block.sign < 0 else value


def _runs(pieces: list[_Rows]) -> list[Tensor]:
    """The pieces in the order in which they are stacked; neighbours in the same matrix are joined to one."""
    merged: list[_Rows] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if last and last.whole is piece.whole and last.stop == piece.start and last.sign == piece.sign:
            merged[-1] = replace(last, stop=piece.stop)
        else:
            merged.append(piece)
    return [piece.values for piece in merged]


def _joined(parts: list[list[Tensor]], orientation: str) -> Tensor:
    """Matrices (out, in_k), each in runs of rows, beside each other as one (out, in) or (in, out), in new memory."""
    if orientation == "out×in":
        stacked = [_stacked(part) for part in parts]
        return stacked[0] if len(stacked) == 1 else torch.cat(stacked, 1)
    widths = [part[0].shape[1] for part in parts]
    made = parts[0][0].new_empty(sum(widths), sum(len(run) for run in parts[0]))
    for target, runs in zip(made.split(widths), parts, strict=True):  # type: ignore[no-untyped-call]
        if len(runs) == 1:
            target.copy_(runs[0].t())
        else:
            for at in _strips(target):
                target[at].copy_(torch.cat([run[:, at] for run in runs]).t())
    return made


def _stacked(runs: list[Tensor]) -> Tensor:
    """Runs of rows, transposed views among them, as one matrix in new memory."""
    made = runs[0].new_empty(sum(len(run) for run in runs), runs[0].shape[1])
    for target, run in zip(made.split([len(run) for run in runs]), runs, strict=True):  # type: ignore[no-untyped-call]
        if run.is_contiguous() or run.t().is_contiguous():
            target.copy_(run)
        else:
            for at in _strips(target):
                target[at].copy_(run[at].t().contiguous().t())
    return made


def _reshaped(kernel: Tensor, gates: int) -> Tensor:
    """A kernel (in, out) with the numbers of each gate in the order of (out, in), which is not to transpose it."""
    return torch.cat([gate.t().reshape(gate.shape) for gate in kernel.chunk(gates, 1)], 1)


def _strips(matrix: Tensor) -> Iterator[slice]:
    """Slices of its rows."""
    rows, width = matrix.shape
    step = max(1, _STRIP // width)
    return (slice(start, start + step) for start in range(0, rows, step))


def _key(block: Block) -> _Key:
    return block.kind, block.side, block.gate
