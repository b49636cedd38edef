"""What `rnnspect shapes` shows. Of a spec: every parameter, and the shapes of what goes in and comes out. Of a live
model: its modules with their sizes, too. Loads neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.cells.trial import own_products
from rnnspect.errors import listed
from rnnspect.network.parameters import Parameter, module_repr, parameters_of, recurrent_repr
from rnnspect.network.shown import Shown, counted, in_brief

if TYPE_CHECKING:
    from rnnspect.network.spec import Spec

_WEIGHTS = ("weight_ih", "weight_hh", "weight_hr", "weight_ch")


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
        return in_brief(self, f"{recurrent_repr(self.spec)}: {size}")

    @property
    def multiply_adds(self) -> int:
        """Of one step of one sequence, in all layers and directions: one for each weight, and what a cell of one's own
        multiplies with parameters of its own or as matrices. Other products unit by unit are not counted, nor is the
        head, which runs once."""
        spec, own = self.spec, 0
        for layer, _ in spec.places:
            own += own_products(spec.cell_type, spec.hidden_size, spec.layer_input_size(layer))
        return own + sum(one.count for one in self.parameters if one.name.startswith(_WEIGHTS))

    @property
    def total(self) -> int:
        return sum(parameter.count for parameter in self.parameters)

    @property
    def bytes(self) -> int:
        return sum(parameter.bytes for parameter in self.parameters)


@dataclass(frozen=True)
class ModelPart:
    """One module of a model, and how many numbers its parameters have, those of the modules in it included."""

    name: str
    """encoder.rnn; empty for the model itself."""
    layer: str
    """As PyTorch prints it where that is a line, such as Linear(in_features=3, out_features=2, bias=True); else its
    class."""
    count: int
    trainable: int
    """How many of them are trained: those with requires_grad."""

    @property
    def depth(self) -> int:
        """How many modules it is in."""
        return self.name.count(".") + 1 if self.name else 0


@dataclass(frozen=True)
class ModelShapes(Shown):
    """What `rnnspect shapes` shows of a live model: its modules in their order, and the shapes of each recurrent one by
    its name."""

    parts: tuple[ModelPart, ...]
    recurrent: Mapping[str, Shapes]
    refused: Mapping[str, str]
    """By the name of a recurrent module the reason why its shapes are not known."""

    def __repr__(self) -> str:
        recurrent = listed((name or "the model itself" for name in self.recurrent), 4) or "none"
        return in_brief(self, f"{self.parts[0].layer}: {counted(self.total, 'parameter')}, recurrent: {recurrent}")

    @property
    def total(self) -> int:
        return self.parts[0].count


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
        output=Axes((*batch_time, spec.output_width), axes),
        h_n=Axes((rows, "B", hidden), state),
        c_n=Axes((rows, "B", spec.units("c")), state) if spec.cell_type.has_cell_state else None,
        head=Axes(("B", spec.head.out_features), ("batch", "unit")) if spec.head else None,
    )
