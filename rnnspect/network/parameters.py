"""The parameters of a spec: names, shapes, and the rows of each gate. Loads neither torch nor numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rnnspect.network.keys import ITEMSIZE
from rnnspect.network.shown import Shown, counted, in_brief

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.cells.interface import Cell
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
class Axes:
    """A shape whose axes have names; a size that only the input decides is a letter."""

    shape: tuple[int | str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Shapes(Shown):
    """What `rnnspect shapes` shows: every parameter, and the shapes that come out for a (B, T, I) input."""

    spec: Spec
    module: str
    """The module as PyTorch prints it."""
    parameters: tuple[Parameter, ...]
    input: Axes
    output: Axes
    h_n: Axes
    c_n: Axes | None
    head: Axes | None

    def to_numpy(self) -> dict[str, Any]:
        """Structured arrays: `parameters` (name, rows, columns, count, bytes), where a bias has one column, and `gates`
        (parameter, gate, start, stop), the rows of each gate in it. This loads numpy.
        """
        from rnnspect.network.arrays import structured

        parameters = [
            (one.name, one.shape[0], one.count // one.shape[0], one.count, one.bytes) for one in self.parameters
        ]
        gates = [(one.name, gate.name, gate.start, gate.stop) for one in self.parameters for gate in one.gates]
        sizes = dict.fromkeys(("rows", "columns", "count", "bytes"), "i8")
        return {
            "parameters": structured({"name": "U"} | sizes, parameters),
            "gates": structured({"parameter": "U", "gate": "U", "start": "i8", "stop": "i8"}, gates),
        }

    def __repr__(self) -> str:
        size = f"{counted(self.total, 'parameter')}, {counted(self.bytes, 'byte')} in {self.spec.dtype}"
        return in_brief(self, f"{module_repr(self.spec.with_changes(head=None))}: {size}")

    @property
    def multiply_adds(self) -> int:
        """Of one step of one sequence, in all layers and directions: one for each weight. The head is not counted, as
        it runs once."""
        return sum(parameter.count for parameter in self.parameters if parameter.name.startswith("weight_"))

    @property
    def total(self) -> int:
        return sum(parameter.count for parameter in self.parameters)

    @property
    def bytes(self) -> int:
        return sum(parameter.bytes for parameter in self.parameters)


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
    is_recurrent: ClassVar[bool] = True
    """Whether weight_hh is a parameter."""

    @classmethod
    def of(
        cls, parameters: Mapping[str, Tensor], layer: int, direction: str, cell: Cell | None = None
    ) -> LayerParameters:
        """`cell` is needed where it may be one without recurrent weights, or with parameters of its own."""
        end = suffix(layer, direction)
        weight_ih, weight_hh = parameters["weight_ih" + end], parameters.get("weight_hh" + end)
        kind = cls
        if weight_hh is None:
            assert cell is not None
            kind, units = NotRecurrent, len(weight_ih) // len(cell.gates)
            weight_hh = weight_ih.new_zeros(len(weight_ih), units)
        return kind(
            weight_ih,
            weight_hh,
            parameters.get("bias_ih" + end),
            parameters.get("bias_hh" + end),
            parameters.get("weight_hr" + end),
            parameters.get("weight_ch" + end),
            {name: parameters[name + end] for name, _ in cell.parameters} if cell else {},
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
        common = ((name, one) for name, one in vars(self).items() if name != "own" and one is not None)
        return {**dict(common), **self.own}

    @property
    def names(self) -> tuple[str, ...]:
        """weight_ih, weight_hh, …: the parameters that it has."""
        return tuple(name for name in self.tensors if self.is_recurrent or name != "weight_hh")

    def with_changes(self, **changed: Any) -> Self:
        """With other tensors in place of some."""
        own = {name: changed.pop(name) for name in self.own if name in changed}
        return replace(self, own={**self.own, **own}, **changed)

    @property
    def terms(self) -> int:
        """How many numbers a pre-activation is the sum of, peepholes not counted."""
        return self.weight_ih.shape[1] + (self.weight_hh.shape[1] if self.is_recurrent else 0) + 2


@dataclass(frozen=True)
class NotRecurrent(LayerParameters):
    """Those of a cell without recurrent weights: its lines never multiply with weight_hh, which is zero here."""

    is_recurrent = False


def suffix(layer: int, direction: str) -> str:
    """How PyTorch ends the names of a layer's parameters: _l0, _l0_reverse, …"""
    return f"_l{layer}_reverse" if direction == "reverse" else f"_l{layer}"


def parameters_of(spec: Spec) -> tuple[Parameter, ...]:
    """Every parameter in PyTorch's order, then the head's."""
    found: list[Parameter] = []

    def add(name: str, shape: tuple[int, ...], reads: str, gates: tuple[Gate, ...] = ()) -> None:
        found.append(Parameter(name, shape, reads, gates, math.prod(shape) * ITEMSIZE[spec.dtype]))

    gates = _gates(spec, spec.cell_type.gates)
    rows = len(gates) * spec.hidden_size
    packed = f"{len(gates)}·hidden" if len(gates) > 1 else "hidden"
    state = "proj" if spec.proj_size else "hidden"
    states = f"2·{state}" if spec.bidirectional else state
    for layer in range(spec.num_layers):
        width = spec.layer_input_size(layer)
        below = states if layer else "input"
        for direction in spec.directions:
            end = suffix(layer, direction)
            add("weight_ih" + end, (rows, width), f"{packed} × {below}", gates)
            recurrent = spec.cell_type.is_recurrent
            if recurrent:
                add("weight_hh" + end, (rows, spec.output_size), f"{packed} × {state}", gates)
            if spec.bias:
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
        shape = (spec.head.out_features, spec.layer_input_size(spec.num_layers))  # as a layer above would read
        add("head.weight", shape, f"out × {states}")
        add("head.bias", shape[:1], "out")
    return tuple(found)


def recurrent_parameters(spec: Spec) -> tuple[Parameter, ...]:
    """Every parameter but the head's, in PyTorch's order."""
    return tuple(one for one in parameters_of(spec) if not one.name.startswith("head."))


def shapes_of(spec: Spec) -> Shapes:
    """The parameters, and the shapes of what goes in and comes out."""
    batch_first, hidden = spec.batch_first, spec.output_size
    batch_time = ("B", "T") if batch_first else ("T", "B")
    axes = ("batch", "step", "unit") if batch_first else ("step", "batch", "unit")
    rows = len(spec.places)
    state = ("layer·direction" if spec.bidirectional else "layer", "batch", "unit")
    return Shapes(
        spec=spec,
        module=module_repr(spec),
        parameters=parameters_of(spec),
        input=Axes((*batch_time, spec.input_size), axes),
        output=Axes((*batch_time, hidden * spec.num_directions), axes),
        h_n=Axes((rows, "B", hidden), state),
        c_n=Axes((rows, "B", spec.hidden_size), state) if spec.cell_type.has_cell_state else None,
        head=Axes(("B", spec.head.out_features), ("batch", "unit")) if spec.head else None,
    )


def module_repr(spec: Spec) -> str:
    """The module as PyTorch prints it (torch.nn.modules.rnn.RNNBase.extra_repr)."""
    usual = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False}
    arguments = [str(spec.input_size), str(spec.hidden_size)]
    arguments += [f"{name}={value}" for name, default in usual.items() if (value := getattr(spec, name)) != default]
    arguments += [f"{name}={_in_words(value)}" for name, value in spec.variant_keys.items()]
    recurrent = f"{spec.cell_type.title}({', '.join(arguments)})"
    if not spec.head:
        return recurrent
    features = spec.layer_input_size(spec.num_layers)
    linear = f"Linear(in_features={features}, out_features={spec.head.out_features}, bias=True)"
    return f"Model(\n  (rnn): {recurrent}\n  (head): {linear}\n)"


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shape_in_words(sizes: tuple[int | str, ...]) -> str:
    """hidden × d_state: people leave out _size."""
    return " × ".join(str(one).replace("_size", "") for one in sizes)


def _gates(spec: Spec, names: tuple[str, ...]) -> tuple[Gate, ...]:
    size = spec.hidden_size
    return tuple(Gate(name, at * size, (at + 1) * size) for at, name in enumerate(names))
