"""Defines what a layout is: for each cell, a framework's arrays and the rows of PyTorch's parameters in them.

An array is written as its blocks, in the letters of PyTorch's equations:

    W_ii      the rows of weight_ih that belong to gate i: (H, I)
    W_hf      the rows of weight_hh that belong to gate f: (H, H), with a projection (H, P)
    W_hr      of an LSTM: weight_hr, (P, H)
    b_ii b_hi the rows of bias_ih and bias_hh that belong to gate i: (H,)
    b_i       their sum
    -W_iz     a block whose sign is changed
    ;         what follows lies below: the other half of [x; h], or the second row of a bias

"W_ii W_io W_if W_ig" is a fused kernel in the order i o f g, and "b_z b_r b_in b_hn" the four blocks of a GRU's bias.
Data, and the sizes that shapes mean: `packing.py` moves parameters by it, `table.py` puts it into words.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from rnnspect.errors import InputError, Problem, WeightsError, listed, nearest

FORMS: dict[str, tuple[str, ...]] = {
    "rnn": ("h",),
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
    "gru-before": ("r", "z", "n"),
}
"""The gates of each form of a cell, in PyTorch's order. "gru" resets after the product, n = tanh(W_in x + b_in + r ⊙
(W_hn h + b_hn)), "gru-before" before it, n = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)."""
IN_WORDS = {
    "rnn": "RNN",
    "lstm": "LSTM",
    "gru": "GRU with reset after the matrix product",
    "gru-before": "GRU with reset before the matrix product",
}
"""The forms as people say them."""
ORIENTATIONS = ("out×in", "in×out", "reshaped")
_WORD = re.compile(r"(-?)([Wb])_([ih]?)([a-z])")


@dataclass(frozen=True)
class Block:
    """One gate's rows of a parameter, or of the sum of both biases."""

    kind: Literal["W", "b"]
    side: Literal["i", "h", ""]
    """Whether it belongs to the input or to the state; "" is the sum of both biases."""
    gate: str
    """A gate of the form; "r" of an LSTM is the projection."""
    sign: int


@dataclass(frozen=True, eq=False)
class Packing:
    """How one framework packs one cell, of one layer and direction."""

    form: str
    """rnn, lstm, gru or gru-before."""
    where: str
    """What the cell is called there, such as flax.nnx.GRUCell."""
    arrays: Mapping[str, str]
    """The blocks in each array, by the framework's name of it."""
    orientation: Literal["out×in", "in×out", "reshaped"]
    """Reshaped: each gate's kernel has the shape (in, H), and in it the numbers of (H, in) in their order."""
    source: str
    """Where that is stated: a file of the framework, or its documentation."""
    states: str = "h"
    """How states are handed over, and in which order."""
    bias_always: bool = False
    """Whether the biases cannot be left out; where there are none, they are zeros."""
    forget_bias: float = 0.0
    """What the cell adds to f at run time and does not store."""
    peepholes: str = ""
    """The array of peephole weights and its order, where there is one."""
    quirks: tuple[str, ...] = ()
    """What else one has to know, a sentence each."""

    @functools.cached_property
    def blocks(self) -> Mapping[str, tuple[tuple[Block, ...], ...]]:
        """By name the rows of blocks, which ; divides. Raises `ValueError` for what is no block of the form."""
        return {name: blocks_in(line, self.form) for name, line in self.arrays.items()}

    @functools.cached_property
    def weights(self) -> tuple[str, ...]:
        """The names of the arrays that are always there: the kernels."""
        return tuple(name for name in self.arrays if not self.is_bias(name) and not self.is_projection(name))

    @functools.cached_property
    def biases(self) -> tuple[str, ...]:
        """The names of the arrays of biases."""
        return tuple(filter(self.is_bias, self.arrays))

    def is_bias(self, name: str) -> bool:
        return self.blocks[name][0][0].kind == "b"

    def is_projection(self, name: str) -> bool:
        """Whether an array is weight_hr."""
        return self.form == "lstm" and self.blocks[name][0][0].gate == "r"

    @property
    def every_block(self) -> tuple[Block, ...]:
        return tuple(block for rows in self.blocks.values() for row in rows for block in row)

    @functools.cached_property
    def held(self) -> frozenset[tuple[str, str, str]]:
        """The kind, side and gate of every block that has a place; a sum holds both biases."""
        return frozenset(
            (block.kind, side, block.gate) for block in self.every_block for side in (block.side or ("i", "h"))
        )


@dataclass(frozen=True)
class Layout:
    """How a framework packs recurrent parameters. A form that is not among the packings it does not have."""

    name: str
    title: str
    """The framework, as people call it."""
    packings: tuple[Packing, ...]
    leading_direction: bool = False
    """Whether the framework's own arrays have the directions as a first axis, which those of a packing never have."""

    @functools.cached_property
    def cells(self) -> Mapping[str, Packing]:
        """The packings by form."""
        return {packing.form: packing for packing in self.packings}

    def packing(self, form: str) -> Packing:
        """Raises `InputError` for a form that the framework does not have."""
        if form not in self.cells:
            raise InputError(f"{self.title} has no {IN_WORDS.get(form, form)}", allowed=listed(self.cells))
        return self.cells[form]


@dataclass(frozen=True)
class Sizes:
    """I, H, and P or 0, and whether there are biases; the fields are keys of a spec."""

    input_size: int
    hidden_size: int
    proj_size: int
    bias: bool


def sizes_of(packing: Packing, shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
    """The sizes that arrays of these shapes mean, of one layer and direction.

    Raises `WeightsError` for arrays that are missing, unknown, or do not fit together.
    """
    _check_names(packing, shapes)
    for name, shape in shapes.items():
        axes = 2 if not packing.is_bias(name) or len(packing.blocks[name]) > 1 else 1
        if len(shape) != axes or 0 in shape:
            raise _unfit(packing, name, shape, f"{'two dimensions' if axes == 2 else 'one dimension'} of at least 1")
    out, into = (0, 1) if packing.orientation == "out×in" else (1, 0)
    weights = [name for name in packing.weights if name in shapes]
    of_h = next(name for name in weights if packing.blocks[name][-1][0].side == "h")
    of_x = next(name for name in weights if packing.blocks[name][0][0].side == "i")
    hidden = shapes[of_h][out] // len(packing.blocks[of_h][-1])
    projection = next((shapes[name][out] for name in shapes if packing.is_projection(name)), 0)
    state = projection or hidden
    sides = {"h": state, "i": shapes[of_x][into] - (state if len(packing.blocks[of_x]) > 1 else 0)}
    for name, shape in shapes.items():
        fits = _expected(packing, name, sides, hidden, projection)
        if shape != fits or sides["i"] < 1:
            raise _unfit(packing, name, shape, f"{fits} to fit {of_h} {shapes[of_h]}")
    bias = packing.bias_always or bool(packing.forget_bias) or any(name in shapes for name in packing.biases)
    return Sizes(sides["i"], hidden, projection, bias)


def fitting(packing: Packing, shapes: Mapping[str, tuple[int, ...]]) -> Sizes | None:
    """The sizes that arrays of these shapes mean; None where no layer in this packing has such arrays."""
    if packing.bias_always and not any(name in shapes for name in packing.biases):
        return None
    try:
        return sizes_of(packing, shapes)
    except WeightsError:
        return None


def _expected(packing: Packing, name: str, sides: Mapping[str, int], hidden: int, projection: int) -> tuple[int, ...]:
    rows = packing.blocks[name]
    wide = len(rows[0]) * hidden
    if packing.is_bias(name):
        return (len(rows), wide) if len(rows) > 1 else (wide,)
    shape = (projection, hidden) if packing.is_projection(name) else (wide, sum(sides[row[0].side] for row in rows))
    return shape if packing.orientation == "out×in" else shape[::-1]


def _check_names(packing: Packing, given: Collection[str]) -> None:
    known = packing.arrays
    needed = [*packing.weights, *(packing.biases if any(name in given for name in packing.biases) else [])]
    problems = [
        Problem(f"unknown array {name!r}", listed(known), nearest(name, known), packing.where)
        for name in given
        if name not in known
    ]
    if missing := [name for name in needed if name not in given]:
        problems.append(Problem(f"missing: {listed(missing)}", listed(known), where=packing.where))
    if problems:
        raise WeightsError(problems)


def _unfit(packing: Packing, name: str, shape: tuple[int, ...], allowed: str) -> WeightsError:
    return WeightsError(f"{name} has the shape {shape}", allowed=allowed, where=packing.where)


@functools.cache
def blocks_in(line: str, form: str) -> tuple[tuple[Block, ...], ...]:
    """The rows of blocks of one array. Raises `ValueError` for what is no block of the form."""
    return tuple(tuple(_block(word, form) for word in row.split()) for row in line.split(";"))


def _block(word: str, form: str) -> Block:
    match = _WORD.fullmatch(word)
    if not match:
        raise ValueError(word)
    sign, kind, side, gate = match.groups()
    projection = (form, kind, side, gate) == ("lstm", "W", "h", "r")
    if (kind == "W" and not side) or not (gate in FORMS[form] or projection):
        raise ValueError(word)
    return Block(kind, side, gate, -1 if sign else 1)  # type: ignore[arg-type]
