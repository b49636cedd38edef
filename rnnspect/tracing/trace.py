"""What an engine gives for a sequence: alone (`Run`), or with every quantity of the equations beside it (`Trace`)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.errors import InputError, from_extra
from rnnspect.network.parameters import recurrent_repr
from rnnspect.network.places import check_item
from rnnspect.network.shown import Shown, counted, in_brief
from rnnspect.tracing.layers import LayerTrace

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from torch import Tensor

    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.spec import Spec


RESULTS = ("output", "h_n", "c_n", "head")
"""What a network returns, by the names of PyTorch and of a spec's head."""


@dataclass(frozen=True, kw_only=True)
class EngineRun:
    """What `Run` and `Trace` share: a sequence and the engine that ran it. `batched`: x had a batch axis."""

    spec: Spec
    engine: EngineInfo
    x: Tensor
    h0: Tensor
    c0: Tensor | None
    lengths: tuple[int, ...] | None
    batched: bool
    stack_difference: float
    notes: tuple[str, ...] = ()
    """What of the parameters the engine has no place for, and in how many calls it ran."""

    @property
    def steps(self) -> int:
        return self.x.shape[1]

    @property
    def batch(self) -> int:
        return self.x.shape[0]

    def __repr__(self) -> str:
        batch = f"a batch of {self.batch}, " if self.batched else ""
        steps = f"{batch}{counted(self.steps, 'step')}"
        return in_brief(self, f"{recurrent_repr(self.spec)}, {steps}{self._beside}")

    @property
    def _beside(self) -> str:
        """How the engine's numbers are, in a few words."""
        return f": {self.engine.name}"

    def length(self, item: int) -> int:
        """How many steps the item at this place of the batch has."""
        return self.lengths[item] if self.lengths else self.steps

    def _arrays(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """What the run was given and `tensors`, as numpy arrays by name."""
        from rnnspect.network.arrays import as_numpy, input_arrays

        return input_arrays(self.spec, self.x, self.h0, self.c0, self.lengths) | as_numpy(tensors)


@dataclass(frozen=True, kw_only=True, repr=False)
class Run(EngineRun):
    """What an engine gives. x and output are [batch][step][unit], states [layer·direction][batch][unit], head
    [batch][unit]; on the CPU. `stack_difference` is how far the engine's whole stack is from its layers one by one.
    """

    output: Tensor
    h_n: Tensor
    c_n: Tensor | None
    head: Tensor | None

    def to_numpy(self, parameters: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """output, h_n, c_n and head beside what the run was given: x, h0, c0, lengths, and the spec as JSON.

        With the parameters by PyTorch's names it is all that an implementation in another language needs.
        """
        tensors = {name: tensor for name in RESULTS if (tensor := getattr(self, name)) is not None}
        return self._arrays(tensors | {name: tensor.cpu() for name, tensor in (parameters or {}).items()})


@dataclass(frozen=True)
class Pair:
    """The same value from the equations (manual) and from the engine, in one shape; None where no engine ran."""

    manual: Tensor
    engine: Tensor | None

    def __repr__(self) -> str:
        beside = "the equations alone" if self.engine is None else "the equations and the engine"
        return in_brief(self, f"of shape {tuple(self.manual.shape)}: {beside}")


@dataclass(frozen=True, kw_only=True, repr=False)
class Trace(EngineRun, Shown):
    """What the equations give and what the engine gave.

    Sequences are [batch][step][unit] whatever `batch_first` says, states [layer·direction][batch][unit], on the CPU
    in the spec's dtype. `max_abs_difference` is the largest |manual − engine| of all that both gave, and
    `stack_difference` how far the engine's whole stack is from its layers one by one, absolute.
    """

    layers: tuple[LayerTrace, ...]
    output: Pair
    h_n: Pair
    c_n: Pair | None
    head: Pair | None
    max_abs_difference: float

    @property
    def _beside(self) -> str:
        if self.output.engine is None:
            return ": the equations alone"
        return f": {self.engine.name}, maximum difference {self.max_abs_difference:.1e}"

    def to_numpy(self) -> dict[str, Any]:
        """Every array by the name that `rnnspect trace -o run.npz` gives it: numpy.savez(path, **trace.to_numpy()).

        l0.forward.i is a quantity (B, T, H) of the equations, l0.forward.engine.h the engine's h; manual.output and
        engine.output (B, T, D·P), h_n (L·D, B, P), c_n and head of both; x, h0, c0, lengths, and the spec as JSON.
        bfloat16 becomes float32. Arrays share the trace's memory.
        """
        return trace_arrays(self)

    def to_pandas(self, quantities: Iterable[str] | None = None) -> DataFrame:
        """A tidy table: one row for each layer, direction, step, batch item, quantity and unit.

        Its columns are these six, then `equations`, `engine` and `difference`, which is engine − equations; both are
        NaN where the engine does not show the quantity. Steps beyond an item's length have no rows. The rows of an
        input projection are those of its gates, "input_projection f". This needs pandas: pip install 'rnnspect[pandas]'

        Args:
            quantities: Which ones, such as ["f", "c", "h"]. If left out: all.

        Raises:
            InputError: If the cell has no such quantity.
            PackageError: If pandas is not installed.
            ResourceError: If the table does not fit into memory.

        Examples:
            >>> import rnnspect
            >>> table = rnnspect.trace(rnnspect.Spec(cell="lstm", hidden_size=2), "randn:50").to_pandas()
            >>> forget = table[table.quantity == "f"].pivot(index="step", columns="unit", values="equations")
            >>> forget.shape
            (50, 2)
        """
        with from_extra("to_pandas", "pandas"):
            from rnnspect.tracing.figure import frame
        lengths = [self.length(item) for item in range(self.batch)]
        return frame(self.spec, self.layers, lengths, quantities)

    def plot(
        self,
        quantities: Iterable[str] | None = None,
        *,
        layer: int = 0,
        direction: str | None = None,
        batch_index: int = 0,
    ) -> Figure:
        """A heat map over time, steps to the right and units downwards, of each gate and state of one layer.

        The figure belongs to no window and not to pyplot. A notebook shows it where it is the last line of a cell, and
        `.savefig("gates.png")` writes it. This needs matplotlib: pip install 'rnnspect[plot]'

        Args:
            quantities: Which ones, such as ["f", "c", "h"]. If left out: every gate and state.
            layer: Which layer, from 0. -1 is the last one.
            direction: "forward" or "reverse". If left out: the first that the network has.
            batch_index: Which item of the batch, from 0.

        Raises:
            InputError: If there is no such quantity, layer, direction or item.
            PackageError: If matplotlib is not installed.

        Examples:
            >>> import rnnspect
            >>> figure = rnnspect.trace(rnnspect.Spec(cell="lstm", hidden_size=8), "randn:50").plot()
            >>> figure.savefig("gates.png")
        """
        with from_extra("plot", "plot"):
            from rnnspect.tracing.figure import Shot, figure
        check_item(batch_index, self.batch, "batch_index")
        shown = Shot(batch_index, self.length(batch_index), self.batched)
        return figure(self.spec, self._place(layer, direction), shown, quantities)

    def _place(self, layer: int, direction: str | None) -> LayerTrace:
        """One layer, from 0 or from the end, and direction, the first if None. Raises `InputError` for any other."""
        count, chosen = self.spec.num_layers, direction or self.spec.directions[0]
        if not -count <= layer < count:
            raise InputError(f"no layer {layer}", allowed="0" if count == 1 else f"0 to {count - 1}", where="layer")
        if chosen not in self.spec.directions:
            raise InputError.unknown(f"no direction {chosen!r}", chosen, self.spec.directions, "direction")
        return next(one for one in self.layers if (one.layer, one.direction) == (layer % count, chosen))


def trace_arrays(*traces: Trace) -> dict[str, Any]:
    """The arrays of `Trace.to_numpy`, of one or more engines on the same sequence.

    Of several engines each has its name in it: l0.forward.engine.keras.h, engine.keras.output.
    """
    from rnnspect.network.recording import ArrayName

    first = traces[0]
    tensors: dict[ArrayName, Tensor] = {}
    for trace in traces:
        theirs = functools.partial(ArrayName, whose="engine", engine=trace.engine.name if len(traces) > 1 else None)
        for layer in trace.layers:
            place = (layer.layer, layer.direction)
            if trace is first:
                tensors |= {ArrayName(name, place): values for name, values in layer.quantities.items()}
            tensors |= {theirs(name, place): values for name, values in layer.engine.items()}
        for name in RESULTS:
            if pair := getattr(trace, name):
                tensors[ArrayName(name, whose="manual")] = pair.manual
                tensors |= {} if pair.engine is None else {theirs(name): pair.engine}
    return first._arrays({str(name): values for name, values in tensors.items()})
