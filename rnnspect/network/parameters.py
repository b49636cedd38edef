"""The parameters of a spec: names, shapes, and the rows of each gate. Loads neither torch nor numpy."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rnnspect.cells.interface import Cell
from rnnspect.errors import InputError, WeightsError, listed
from rnnspect.network.spec_keys import ITEMSIZE

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class Gate:
    """The rows [start, stop) of a packed parameter that belong to one gate."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Parameter:
    name: str
    """PyTorch's name, such as weight_ih_l0_reverse; head.weight and head.bias for the head."""
    shape: tuple[int, ...]
    reads: str
    """The shape in words, such as "4·hidden × input"."""
    gates: tuple[Gate, ...]
    bytes: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class BlockSizes:
    """How many units there are of each block, where they do not all have hidden_size: of the gates, and of the cell
    state. `hidden_size` is how many h has."""

    gates: tuple[int, ...]
    state: tuple[int, ...]
    hidden_size: int

    @classmethod
    def of(cls, spec: Spec) -> BlockSizes | None:
        cell, sizes = spec.cell_type, (spec.hidden_size, spec.input_size)
        if not cell.has_own_sizes:
            return None
        state = tuple(math.prod(cell.shape(shape, *sizes)) for _, shape in cell.cell_state)
        return cls(spec.gate_sizes, state, spec.hidden_size)


@dataclass(frozen=True)
class LayerParameters:
    """The tensors of one layer and direction; G gates of H units, P units of h.

    weight_ih (G·H, I), weight_hh (G·H, P), bias_ih and bias_hh (G·H) or None, weight_hr (P, H) or None, weight_ch of
    K peepholes (K·H) or None.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    weight_hr: Tensor | None
    weight_ch: Tensor | None = None
    own: Mapping[str, Tensor] = field(default_factory=dict)
    """Those that the cell itself declares, by its names for them (`Cell.parameters`)."""
    blocks: BlockSizes | None = None
    """How many units the gates and the cell state have, where these are not all H."""
    has_projection_of_x: bool = True
    """Whether weight_ih is a parameter; without it, it is the identity, and x goes into the gates as it is."""
    is_recurrent: ClassVar[bool] = True
    """Whether weight_hh is a parameter."""

    @classmethod
    def of(
        cls, parameters: Mapping[str, Tensor], layer: int, direction: str, spec: Spec | None = None
    ) -> LayerParameters:
        """`spec` is needed for a cell without recurrent weights, or with parameters that torch.nn's cells do not
        have."""
        end = suffix(layer, direction)
        weight_ih = parameters.get("weight_ih" + end)
        if weight_ih is None:
            assert spec is not None
            weight_ih = identity(spec, parameters)
        weight_hh = parameters.get("weight_hh" + end)
        kind = cls
        if weight_hh is None:
            assert spec is not None
            kind = NotRecurrent
            weight_hh = weight_ih.new_zeros(len(weight_ih), spec.hidden_size)
        return kind(
            weight_ih,
            weight_hh,
            parameters.get("bias_ih" + end),
            parameters.get("bias_hh" + end),
            parameters.get("weight_hr" + end),
            parameters.get("weight_ch" + end),
            {name: parameters[name + end] for name, _ in spec.cell_type.parameters} if spec else {},
            BlockSizes.of(spec) if spec else None,
            spec is None or spec.cell_type.has_projection_of_x,
        )

    def named(self, layer: int, direction: str) -> dict[str, Tensor]:
        """The tensors by PyTorch's names, such as weight_ih_l0_reverse."""
        end = suffix(layer, direction)
        return {name + end: self[name] for name in self.names}

    def __getitem__(self, name: str) -> Tensor:
        """Any of its tensors: weight_ih …, or one that the cell itself declares. Raises `KeyError`."""
        return self.tensors[name]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that it has by name; where the cell is not recurrent also the zeros that stand for weight_hh."""
        others = ("own", "blocks", "has_projection_of_x")
        common = {name: one for name, one in vars(self).items() if name not in others}
        return {name: one for name, one in {**common, **self.own}.items() if one is not None}

    def split(self, packed: Tensor, gates: int, axis: int = -1) -> tuple[Tensor, ...]:
        """A packed value or parameter of so many gates, one block for each."""
        return packed.chunk(gates, axis) if self.blocks is None else packed.split_with_sizes(self.blocks.gates, axis)

    def gate_sizes(self, gates: int) -> tuple[int, ...]:
        """How many rows each of so many gates has."""
        return (self.units(gates),) * gates if self.blocks is None else self.blocks.gates

    def state_sizes(self, gates: int) -> tuple[int, ...]:
        """How many units each block of the cell state has."""
        return (self.units(gates),) if self.blocks is None else self.blocks.state

    def units(self, gates: int) -> int:
        """H, of a cell of so many gates."""
        return len(self.weight_hh) // gates if self.blocks is None else self.blocks.hidden_size

    @property
    def names(self) -> tuple[str, ...]:
        """weight_ih, weight_hh, …: the parameters that it has."""
        stand_ins = ("weight_hh",) * (not self.is_recurrent) + ("weight_ih",) * (not self.has_projection_of_x)
        return tuple(name for name in self.tensors if name not in stand_ins)

    def with_changes(self, **changed: Any) -> Self:
        """With other tensors in place of some."""
        own = {name: changed.pop(name) for name in self.own if name in changed}
        return replace(self, own={**self.own, **own}, **changed)

    @property
    def products(self) -> int:
        """How many numbers a step of one item multiplies: those of W_ih and of W_hh."""
        return self.weight_ih.numel() + self.weight_hh.numel()

    @property
    def terms(self) -> int:
        """How many numbers a pre-activation is the sum of, peepholes not counted."""
        return self.weight_ih.shape[1] + (self.weight_hh.shape[1] if self.is_recurrent else 0) + 2


@dataclass(frozen=True)
class NotRecurrent(LayerParameters):
    """The parameters of a cell without recurrent weights: its lines never multiply with weight_hh, which is zero
    here."""

    is_recurrent = False


def identity(spec: Spec, parameters: Mapping[str, Tensor]) -> Tensor:
    """What stands for weight_ih of a cell without one. This loads torch."""
    import torch

    like = next(iter(parameters.values()), torch.zeros((), dtype=getattr(torch, spec.dtype)))
    return torch.eye(sum(spec.gate_sizes), dtype=like.dtype, device=like.device)


def suffix(layer: int, direction: str) -> str:
    """How PyTorch ends the names of a layer's parameters: _l0, _l0_reverse, …"""
    return f"_l{layer}_reverse" if direction == "reverse" else f"_l{layer}"


def refuse_mixed(parameters: Mapping[str, Tensor]) -> None:
    """Raises `WeightsError` for parameters of several dtypes, as a live module may have."""
    dtypes = {name: str(values.dtype).removeprefix("torch.") for name, values in parameters.items()}
    usual = Counter(dtypes.values()).most_common(1)
    if other := [f"{name} is {dtype}" for name, dtype in dtypes.items() if dtype != usual[0][0]]:
        found = f"the parameters have several dtypes: {listed(other, 3)}, the others {usual[0][0]}"
        raise WeightsError(found, allowed="one dtype", advice="module.float() gives all of them float32")


def parameters_of(spec: Spec) -> tuple[Parameter, ...]:
    """Every parameter in PyTorch's order, then the head's."""
    found: list[Parameter] = []

    def add(name: str, shape: tuple[int, ...], reads: str, gates: tuple[Gate, ...] = ()) -> None:
        found.append(Parameter(name, shape, reads, gates, math.prod(shape) * ITEMSIZE[spec.dtype]))

    gates = _gates(spec, spec.cell_type.gates)
    rows, packed = sum(spec.gate_sizes), _packed_in_words(spec.cell_type)
    state = "proj" if spec.proj_size else "hidden"
    states = f"2·{state}" if spec.bidirectional else state
    for layer in range(spec.num_layers):
        width = spec.layer_input_size(layer)
        _refuse_layer(spec, layer, width, rows)
        below = states if layer else "input"
        for direction in spec.directions:
            end = suffix(layer, direction)
            projects, recurrent = spec.cell_type.has_projection_of_x, spec.cell_type.is_recurrent
            if projects:
                add("weight_ih" + end, (rows, width), f"{packed} × {below}", gates)
            if recurrent:
                add("weight_hh" + end, (rows, spec.output_size), f"{packed} × {state}", gates)
            if spec.bias and projects:
                add("bias_ih" + end, (rows,), packed, gates)
            if spec.bias and recurrent:
                add("bias_hh" + end, (rows,), packed, gates)
            if spec.proj_size:
                add("weight_hr" + end, (spec.proj_size, spec.hidden_size), "proj × hidden")
            if peepholes := _gates(spec, spec.cell_type.peepholes):
                reads = f"{len(peepholes)}·hidden" if len(peepholes) > 1 else "hidden"
                add("weight_ch" + end, (len(peepholes) * spec.hidden_size,), reads, peepholes)
            for name, sizes in spec.cell_type.parameters:
                add(name + end, spec.cell_type.shape(sizes, spec.hidden_size, width), _shape_in_words(sizes))
    if spec.head:
        shape = (spec.head.out_features, spec.output_width)
        add("head.weight", shape, f"out × {states}")
        add("head.bias", shape[:1], "out")
    return tuple(found)


def _refuse_layer(spec: Spec, layer: int, width: int, rows: int) -> None:
    """Raises `InputError` for a layer that cannot receive so many features, where its gates have so many rows."""
    cell, receives = spec.cell_type, f"layer {layer} of cell {spec.cell} receives {width} features"
    if not cell.has_projection_of_x and width != rows:
        allowed = "num_layers 1 for a cell without a projection of x"
        raise InputError(f"{receives}, and its gates take {rows}", allowed=allowed)
    of_x = (name for name, shape in (*cell.sizes, *cell.cell_state) if any("input_size" in str(one) for one in shape))
    if width != spec.input_size and (block := next(of_x, None)):
        found = f"{receives}, and {block} has units for the {spec.input_size} of x: a block has one size in all layers"
        allowed = "num_layers 1 for a gate or a block of the cell state with input_size units"
        advice = f"or give {block} a size of the cell's own, a constant"
        raise InputError(found, allowed=allowed, advice=advice)


def recurrent_parameters(spec: Spec) -> tuple[Parameter, ...]:
    """Every parameter but the head's, in PyTorch's order."""
    return tuple(one for one in parameters_of(spec) if not one.name.startswith("head."))


def module_repr(spec: Spec) -> str:
    """The module as PyTorch prints it, with its head."""
    recurrent = recurrent_repr(spec)
    if not spec.head:
        return recurrent
    linear = f"Linear(in_features={spec.output_width}, out_features={spec.head.out_features}, bias=True)"
    return f"Model(\n  (rnn): {recurrent}\n  (head): {linear}\n)"


def recurrent_repr(spec: Spec) -> str:
    """The recurrent module alone as PyTorch prints it (torch.nn.modules.rnn.RNNBase.extra_repr)."""
    usual = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False}
    arguments = [str(spec.input_size), str(spec.hidden_size)]
    arguments += [f"{name}={value}" for name, default in usual.items() if (value := getattr(spec, name)) != default]
    arguments += [f"{name}={_in_words(value)}" for name, value in spec.variant_keys.items()]
    return f"{spec.cell_type.title}({', '.join(arguments)})"


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _packed_in_words(cell: Cell) -> str:
    """4·hidden, or 2·hidden + heads·d_k"""
    counts = Counter(_shape_in_words(cell.gate_shape(gate)).replace(" × ", "·") for gate in cell.gates)
    return " + ".join(words if count == 1 else f"{count}·{words}" for words, count in counts.items())


def _shape_in_words(sizes: tuple[int | str, ...]) -> str:
    """hidden × d_state: people leave out _size."""
    return " × ".join(str(one).replace("_size", "") for one in sizes)


def _gates(spec: Spec, names: tuple[str, ...]) -> tuple[Gate, ...]:
    sizes = dict(zip(spec.cell_type.gates, spec.gate_sizes, strict=True))
    ends = list(itertools.accumulate(sizes.get(name, spec.hidden_size) for name in names))
    return tuple(map(Gate, names, [0, *ends], ends))
