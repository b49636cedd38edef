"""What a layout is.

A packing writes each array of a framework as the blocks in it, in the letters of PyTorch's equations:

    W_ii      the rows of weight_ih that belong to gate i: (H, I)
    W_hf      the rows of weight_hh that belong to gate f: (H, H), with a projection (H, P)
    W_hr      of an LSTM: weight_hr, (P, H)
    b_ii b_hi the rows of bias_ih and bias_hh that belong to gate i: (H,)
    b_i       their sum
    -W_iz     a block whose sign is turned
    ;         what follows lies below: the other half of [x; h], the second row of a bias

so that "W_ii W_io W_if W_ig" is a fused kernel in the order i o f g, and "b_z b_r b_in b_hn" the four blocks of a
GRU's bias. Everything else that a table shows of a packing is read off these lines.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from rnnspect.errors import InputError, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.network.parameters import LayerParameters

FORMS: dict[str, tuple[str, ...]] = {
    "rnn": ("h",),
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
    "gru-before": ("r", "z", "n"),
}
"""The gates of each form, in PyTorch's order. "gru" resets after the product, n = tanh(W_in x + b_in + r ⊙ (W_hn h +
b_hn)), "gru-before" before it, n = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)."""


@dataclass(frozen=True)
class Block:
    """One gate's rows of a parameter, or of the sum of both biases."""

    kind: Literal["W", "b"]
    side: Literal["i", "h", ""]
    """Whether it multiplies or is added to the input's side or the state's; "" is the sum of both biases."""
    gate: str
    """A gate of the form; "r" of an LSTM is the projection."""
    sign: int = 1

    def __str__(self) -> str:
        return f"{'-' if self.sign < 0 else ''}{self.kind}_{self.side}{self.gate}"


@dataclass(frozen=True, eq=False)
class Packing:
    """How one framework packs one cell, of one layer and direction."""

    form: str
    """rnn, lstm, gru or gru-before."""
    where: str
    """What it is called there, such as flax.nnx.GRUCell."""
    arrays: Mapping[str, str]
    """By the framework's name of an array the blocks in it."""
    orientation: Literal["out×in", "in×out"]
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
        """By name the rows (divided by ;) of blocks."""
        return {
            name: tuple(tuple(_block(word) for word in row.split()) for row in line.split(";"))
            for name, line in self.arrays.items()
        }

    @functools.cached_property
    def weights(self) -> tuple[str, ...]:
        """The names of the arrays that are always there: the kernels."""
        return tuple(name for name in self.arrays if not self.is_bias(name) and not self.is_projection(name))

    def is_bias(self, name: str) -> bool:
        """Whether an array is one of biases."""
        return self.blocks[name][0][0].kind == "b"

    def is_projection(self, name: str) -> bool:
        """Whether an array is weight_hr."""
        return self.form == "lstm" and self.blocks[name][0][0].gate == "r"

    @functools.cached_property
    def held(self) -> frozenset[tuple[str, str, str]]:
        """The kind, side and gate of every block that has a place; a sum holds both biases."""
        every = (block for rows in self.blocks.values() for row in rows for block in row)
        return frozenset(
            (block.kind, side, block.gate) for block in every for side in ([block.side] if block.side else ["i", "h"])
        )


@dataclass(frozen=True)
class Lost:
    """A parameter that a layout has no place for, with its largest magnitude; a parameter of zeros is not lost."""

    name: str
    largest: float
    where: str

    def __str__(self) -> str:
        return f"{self.name}, largest {self.largest:.3g}, has no place in {self.where}"


@dataclass(frozen=True)
class Packed:
    """The arrays of one layer and direction by the framework's names, in new memory, and what they do not hold.

    Where a layout has one bias for b_ih and b_hh, their sum is rounded to their dtype, which is not called lost: it
    is exact where one of the two is zero, and else off by half a unit in the last place. What a framework adds to f at
    run time is taken off b_f, which rounds as well.
    """

    arrays: dict[str, Tensor]
    lost: tuple[Lost, ...]


@dataclass(frozen=True)
class Layout:
    """How a framework packs recurrent parameters; a form that is not among the packings it does not have."""

    name: str
    title: str
    """The framework, as people call it."""
    packings: tuple[Packing, ...]
    leading_direction: bool = False
    """Whether the framework's own arrays have the directions as a first axis; what `pack` gives never has."""
    separators: str = "./"
    """What stands between the parts of an array's name; a file may write any of them."""

    @functools.cached_property
    def cells(self) -> Mapping[str, Packing]:
        """The packings by form."""
        return MappingProxyType({packing.form: packing for packing in self.packings})

    def packing(self, form: str) -> Packing:
        """Raises `InputError` for a form that the framework does not have."""
        if form not in self.cells:
            raise InputError(f"{self.title} has no {IN_WORDS.get(form, form)}", allowed=listed(self.cells))
        return self.cells[form]

    def pack(self, form: str, p: LayerParameters) -> Packed:
        """The parameters of one layer and direction as the framework has them.

        Raises `InputError` for a form that the framework does not have.
        """
        from rnnspect.weights.layouts import packing

        return packing.pack(self.packing(form), p)

    def lost(self, form: str, p: LayerParameters) -> tuple[Lost, ...]:
        """What `pack` would not hold of them; nothing is packed.

        Raises `InputError` for a form that the framework does not have.
        """
        from rnnspect.weights.layouts import packing

        return packing.lost(self.packing(form), p)

    def unpack(self, form: str, arrays: Mapping[str, Tensor]) -> LayerParameters:
        """The framework's arrays in PyTorch's order, with two biases: what one bias holds is bias_ih, and bias_hh is
        zero, but for b_hn of a reset-after GRU and for what the framework adds to f at run time. Without any array
        of biases there are none.

        Raises `InputError` for a form that the framework does not have, `WeightsError` for arrays that are missing,
        unknown, or do not fit together.
        """
        from rnnspect.weights.layouts import packing

        return packing.unpack(self.packing(form), arrays)


IN_WORDS = {
    "rnn": "RNN",
    "lstm": "LSTM",
    "gru": "GRU that resets after the product",
    "gru-before": "GRU that resets before the product",
}
"""The forms as people say them."""


@functools.cache
def _block(word: str) -> Block:
    kind, _, index = word.removeprefix("-").partition("_")
    side = index[:-1]
    assert kind in {"W", "b"}, word
    assert side in {"i", "h"} or (kind == "b" and not side), word
    return Block(kind, side, index[-1], -1 if word.startswith("-") else 1)  # type: ignore[arg-type]
