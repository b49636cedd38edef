"""Kernels that are transposed, or reshaped instead of transposed."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause, both_ways
from rnnspect.judging.assumption import Assumption

_NAMES = {"weight_ih": "kernel-transposed", "weight_hh": "recurrent-kernel-transposed"}
RESHAPED = {
    "as in × out": ("out × in", "in × out"),
    "from in × out": ("in × out", "out × in"),
}
"""How a kernel is stored, and the shape that it is given."""
_GATE_BY_GATE = "gate by gate, "
"""Each gate's block is reshaped by itself: so Keras keeps what it was given by a CuDNN layer."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    kernels = {name: assumed.p[name] for name in (_NAMES if assumed.p.is_recurrent else ("weight_ih",))}
    gates = len(assumed.cell.gates)
    sizes = set(assumed.p.gate_sizes(gates))
    square_blocks = {name for name, w in kernels.items() if sizes == {w.shape[1]}}
    for which, name in _NAMES.items():
        if which in square_blocks:
            yield Cause(
                name,
                f"each gate's block of {which} is transposed (the blocks are square, so the shapes fit anyway)",
                both_ways(
                    "transpose each block: PyTorch and ONNX store out × in; Keras, Flax and TensorFlow store in × out.",
                    "transpose each block of the file exactly once.",
                ),
                functools.partial(_transposed, which=which),
            )
    if len(kernels) > 1 and assumed.p.weight_ih.shape == assumed.p.weight_hh.shape:
        yield Cause(
            "kernels-exchanged",
            "weight_ih and weight_hh are swapped (they have the same shape, so nothing fails)",
            both_ways("swap the two.", "swap the two."),
            lambda assumed: assumed.with_parameters(weight_ih=assumed.p.weight_hh, weight_hh=assumed.p.weight_ih),
        )
    # Reshaping a square matrix means transposing it, which is yielded above.
    square = {name for name, w in kernels.items() if w.shape[0] == w.shape[1]}
    both = tuple(kernels)
    for how in RESHAPED:
        yield from (_kernel_reshaped((name,), how, echo=name in square) for name in both)
        if len(both) > 1:
            yield _kernel_reshaped(both, how)
    if gates > 1:
        for how in (_GATE_BY_GATE + plain for plain in RESHAPED):
            yield from (_kernel_reshaped((name,), how, echo=name in square_blocks) for name in both)
            if len(both) > 1:
                yield _kernel_reshaped(both, how, echo=square_blocks == set(both))


def _kernel_reshaped(names: tuple[str, ...], how: str, echo: bool = False) -> Cause:
    which, verb = " and ".join(names), "is" if len(names) == 1 else "are"
    plain = how.removeprefix(_GATE_BY_GATE)
    each = "each gate's block of " if plain != how else ""
    cudnn = ", as between CuDNN layers and others in Keras files" if each else ""
    return Cause(
        "kernel-reshaped",
        f"{each}{which} {'is' if each else verb} {reshaped_not_transposed(plain)}{cudnn}",
        transposing(f"{each}{which}"),
        functools.partial(reshaped, names=names, how=how),
        {"which": which, "how": how},
        echo=echo,
    )


def reshaped_not_transposed(how: str) -> str:
    """What happened to a kernel, after "is": reshaped from out × in to in × out instead of transposed."""
    stored, given = RESHAPED[how]
    return f"reshaped from {stored} to {given} instead of transposed"


def transposing(which: str) -> str:
    """How to mend such a kernel."""
    other = "they were stored this way; the code that reads them needs the other one of .T and reshape."
    return both_ways(f"transpose {which} (.T); reshape and view do not reorder the numbers.", other)


def _transposed(assumed: Assumption, which: str) -> Assumption:
    blocks = assumed.p[which].chunk(len(assumed.cell.gates))
    return assumed.with_parameters(**{which: torch.cat([block.T for block in blocks])})


def reshaped(assumed: Assumption, names: tuple[str, ...], how: str) -> Assumption:
    """The assumption in which these parameters have the same numbers in another order. "as in × out": stored as out ×
    in, but read as in × out. "from in × out": stored as in × out, and brought to the right shape by a reshape. After
    "gate by gate, " each gate's block is reshaped by itself."""
    plain = how.removeprefix(_GATE_BY_GATE)

    def again(w: Tensor) -> Tensor:
        blocks = (w,) if plain == how else assumed.p.split(w, len(assumed.cell.gates), 0)
        return torch.cat([reordered(block, plain) for block in blocks])

    return assumed.with_parameters(**{name: again(assumed.p[name]) for name in names})


def reordered(w: Tensor, how: str) -> Tensor:
    """A matrix with its numbers in another order, as `reshaped` has it."""
    rows, columns = w.shape
    return w.reshape(columns, rows).T.contiguous() if how == "as in × out" else w.T.reshape(rows, columns)
