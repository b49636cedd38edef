"""What was traced of one layer and direction, and the quantities of it that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnspect.errors import listed
from rnnspect.network.quantities import PROJECTIONS, known
from rnnspect.network.shown import in_brief

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class LayerTrace:
    """One layer and direction. Values are [batch][step][unit], by step of the input; NaN where an item is padded."""

    layer: int
    direction: str
    quantities: dict[str, Tensor]
    """x, input_projection (W_ih x + b_ih) and hidden_projection (W_hh h + b_hh, with h of the step before), then every
    gate and state of the cell, in the order of computation."""
    engine: dict[str, Tensor]
    """h as the engine gave it, under "h"; empty where the engine does not show this layer."""
    max_abs_difference: float

    def __repr__(self) -> str:
        return in_brief(self, f"layer {self.layer} {self.direction}: {listed(self.quantities)}")


def chosen(quantities: Iterable[str], spec: Spec) -> tuple[str, ...]:
    """In the order of computation, each once. Raises `InputError` for one that the cell does not have."""
    given = (quantities,) if isinstance(quantities, str) else quantities
    asked = [known(name, spec.quantities, spec.cell, "quantities") for name in given]
    return tuple(name for name in spec.quantities if name in asked)


def by_gate(layer: LayerTrace, names: Iterable[str], spec: Spec) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """The name of each quantity, its values [batch][step][unit] from the equations, and the engine's where it shows
    them. A projection, which is packed, is taken apart: "input_projection f"."""
    gates = spec.cell_type.gates
    for name in names:
        values = layer.quantities[name]
        if name in PROJECTIONS and len(gates) > 1:
            blocks = zip(gates, values.split_with_sizes(spec.gate_sizes, -1), strict=True)
            yield from ((f"{name} {gate}", block, None) for gate, block in blocks)
        else:
            yield name, values, layer.engine.get(name)
