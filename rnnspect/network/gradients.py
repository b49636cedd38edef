"""The gradients of a loss: what goes into a pass backwards through a network, and what an engine gives for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from rnnspect.network.recording import EngineInfo
from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class Upstream:
    """The gradient of the loss L by what the network returns, time-major, in the network's dtype.

    dL/d output (T, B, D·P), and where L depends on the final states dL/dh_n (L·D, B, P) and dL/dc_n (L·D, B, H). Zero
    beyond an item's length.
    """

    output: Tensor
    h_n: Tensor | None = None
    c_n: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Upstream:
        """The same with every gradient that there is changed."""
        h_n, c_n = (None if g is None else change(g) for g in (self.h_n, self.c_n))
        return Upstream(change(self.output), h_n, c_n)

    def without(self, names: Collection[str]) -> Upstream:
        """The same without the gradients of these final states."""
        h_n, c_n = (None if name in names else g for name, g in (("h_n", self.h_n), ("c_n", self.c_n)))
        return Upstream(self.output, h_n, c_n)


@dataclass(frozen=True)
class EngineGradients:
    """What an engine gave in one pass forwards and backwards, time-major, on the device it ran on.

    output (T, B, D·P), h_n and c_n are its own numbers of the pass forwards, None where nobody recorded them. x
    (T, B, I), h0 (L·D, B, P), c0 (L·D, B, H) and `parameters`, by PyTorch's names and in their shapes, are the
    gradients of the loss; what is None or not in there was not recorded.
    """

    engine: EngineInfo
    output: Tensor | None
    h_n: Tensor | None
    c_n: Tensor | None
    x: Tensor | None
    h0: Tensor | None
    c0: Tensor | None
    parameters: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    inputs: Mapping[int, Tensor] = field(default_factory=dict)
    """The input of each layer but the lowest, (T, B, D·P), where it was recorded: it shows dropout."""
    unused: tuple[str, ...] = ()
    """Of the final states, h_n and c_n, those from which nothing goes back in this engine, whatever their gradient."""

    @property
    def named(self) -> dict[str, Tensor]:
        """Every gradient that there is, by the name of what it is taken by: x, h0, c0, weight_ih_l0 …"""
        own = {"x": self.x, "h0": self.h0, "c0": self.c0}
        return {name: g for name, g in own.items() if g is not None} | dict(self.parameters)


def input_name(layer: int) -> str:
    """The name of the input of a layer above the lowest in a recording, and in code that goes back by hand."""
    return f"x_l{layer}"


def input_names(spec: Spec) -> dict[str, int]:
    """The layers above the lowest, by what their inputs are called: x_l1, x_l2 …"""
    return {input_name(layer): layer for layer in range(1, spec.num_layers)}
