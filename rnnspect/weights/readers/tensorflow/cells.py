"""One recurrent cell of TensorFlow: which arrays are its parameters, and what it does beside its equations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from rnnspect.errors import WeightsError
from rnnspect.files.reading import Stored
from rnnspect.weights import layouts
from rnnspect.weights.layouts.interface import Packing, Sizes, sizes_of
from rnnspect.weights.readers.interface import whole

DIAGONALS = ("w_i_diag", "w_f_diag", "w_o_diag")
"""Peepholes of LSTMCell, LSTMBlockCell and LSTMBlockFusedCell (tensorflow rnn_cell_impl.py, contrib lstm_ops.py)."""


@dataclass(frozen=True)
class TensorFlowCell:
    """One cell of one layer and direction."""

    layout: str
    form: str
    arrays: Mapping[str, str]
    """By the layout's name of an array its name in the file."""
    stored: Mapping[str, Stored]
    """Every tensor of the file."""
    peepholes: tuple[str, ...] = ()
    """The names in the file of those of i, f and o."""
    functions: tuple[str, ...] = ()
    """As a spec lists them; empty where nothing says them."""
    forget_bias: float | None = None
    """What is added to f at run time; None where nothing says it."""
    clip: float | None = None
    """The limit of the cell state, where there is one."""
    product: str = ""
    """The node of its graph that multiplies x with its kernel; empty where none was seen."""
    reverse: bool = False
    """Whether that takes the last step first."""

    @cached_property
    def prefix(self) -> str:
        """What the names of its arrays begin with: rnn/basic_lstm_cell."""
        parts = [name.split("/") for name in self.arrays.values()]
        shared = 0
        while all(len(one) > shared + 1 and one[shared] == parts[0][shared] for one in parts):
            shared += 1
        return "/".join(parts[0][:shared])

    @property
    def packing(self) -> Packing:
        return layouts.find(self.layout).packing(self.form)

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor of the file that belongs to it."""
        return (*self.arrays.values(), *self.peepholes)

    @property
    def fits(self) -> bool:
        """Whether the shapes of its arrays fit together."""
        try:
            return self.sizes.hidden_size > 0
        except WeightsError:
            return False

    @cached_property
    def sizes(self) -> Sizes:
        """Raises `WeightsError` for shapes that do not fit together."""
        return sizes_of(self.packing, {known: self.stored[name].shape for known, name in self.arrays.items()})


def in_order(found: Mapping[frozenset[str], TensorFlowCell], stored: Iterable[str]) -> list[TensorFlowCell]:
    """The cells with the names of their arrays, in the order of the file, without those that are a part of another."""
    places = {name: at for at, name in enumerate(stored)}
    return [found[names] for names in sorted(whole(found), key=lambda names: min(places[name] for name in names))]
