"""The gradients of a loss by the equations, and what an engine gave: what `rnnspect trace --backward` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.network.parameters import recurrent_repr
from rnnspect.network.shown import Shown, counted, in_brief
from rnnspect.tracing.trace import Pair

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.spec import Spec
    from rnnspect.tracing.gradient_reach_found import Reach

STARTS = ("x", "h0", "c0")
"""What a run begins with, and what its gradients are called by."""


@dataclass(frozen=True)
class LayerGradient:
    """The gradients in one layer and direction. Values are [batch][step][unit], by step of the input, and zero where
    an item is padded.

    `quantities`: x, as far as it comes from this direction, then every gate and state of the cell; h_output and h_next
    are the parts of h that came from the output, or the layer above, and from the step that was processed after this
    one; c_next of c the same.
    `pre_activations`: by gate, of what goes into its function.
    """

    layer: int
    direction: str
    quantities: dict[str, Tensor]
    pre_activations: dict[str, Tensor]
    reach: Reach

    def __repr__(self) -> str:
        return in_brief(self, f"layer {self.layer} {self.direction}: {', '.join(self.quantities)}")


@dataclass(frozen=True)
class ParameterGradient:
    """The gradient of one parameter, in its shape. `steps` (T,) is the norm of what each step of the input adds to it,
    all items of the batch together."""

    name: str
    gradient: Pair
    steps: Tensor

    def largest(self, count: int) -> list[tuple[int, float]]:
        """The steps that add most, each with its share of what all of them add, in norm."""
        total = float(self.steps.sum())
        if not 0 < total < float("inf"):
            return []
        values, at = self.steps.topk(min(count, len(self.steps)))
        return [(step, value / total) for step, value in zip(at.tolist(), values.tolist(), strict=True) if value]


@dataclass(frozen=True, kw_only=True, repr=False)
class Gradients(Shown):
    """Every gradient of a loss: by the equations, step by step, and by the engine beside them.

    Sequences are [batch][step][unit] whatever `batch_first` says, states [layer·direction][batch][unit], on the CPU in
    the spec's dtype. `loss` says what was differentiated, and `loss_value` what it is; `upstream` is dL/d output. `x`,
    `h0` and `c0` are gradients. What the engine did not give is None in its `Pair`, and `notes` say why.
    `max_abs_difference` is the largest |manual − engine| of all gradients that both gave.
    """

    spec: Spec
    engine: EngineInfo
    loss: str
    loss_value: float
    given: dict[str, Tensor]
    """x, h0 and c0 of the run itself."""
    lengths: tuple[int, ...] | None
    batched: bool
    output: Pair
    upstream: Tensor
    layers: tuple[LayerGradient, ...]
    parameters: dict[str, ParameterGradient]
    x: Pair
    h0: Pair
    c0: Pair | None
    max_abs_difference: float
    notes: tuple[str, ...]

    @property
    def steps(self) -> int:
        return self.upstream.shape[1]

    @property
    def batch(self) -> int:
        return self.upstream.shape[0]

    def length(self, item: int) -> int:
        """How many steps the item at this place of the batch has."""
        return self.lengths[item] if self.lengths else self.steps

    def whole_x(self, layer: int) -> Tensor:
        """dL/dx of a layer, which all its directions read."""
        parts = [one.quantities["x"] for one in self.layers if one.layer == layer]
        return sum(parts[1:], parts[0])

    @property
    def pairs(self) -> dict[str, Pair]:
        """What an engine may give: x, h0, c0 and each parameter, by name."""
        starts = {name: pair for name in STARTS if (pair := getattr(self, name)) is not None}
        return starts | {name: one.gradient for name, one in self.parameters.items()}

    @property
    def is_compared(self) -> bool:
        """Whether an engine gave anything."""
        return any(pair.engine is not None for pair in self.pairs.values())

    def __repr__(self) -> str:
        batch = f"a batch of {self.batch}, " if self.batch > 1 else ""
        beside = f"{self.engine.name}, maximum difference {self.max_abs_difference:.1e}"
        said = f"{recurrent_repr(self.spec)}, {batch}{counted(self.steps, 'step')}: "
        return in_brief(self, said + (beside if self.is_compared else "the equations alone"))

    def to_numpy(self) -> dict[str, Any]:
        """Every array by the name that `rnnspect trace --backward -o run.npz` gives it.

        grad.output is dL/d output (B, T, D·P). grad.x, grad.h0, grad.c0 and grad.weight_ih_l0 are the engine's
        gradients where it has any, else those of the equations; manual.grad.x those of the equations beside them, as
        output and manual.output are.
        l0.forward.grad.i (B, T, H) is the gradient of a gate by the equations, l0.forward.grad.i_pre that of what goes
        into its function. x, h0, c0, lengths, and the spec as JSON are those of the run.
        """
        return gradient_arrays(self)


def gradient_arrays(*results: Gradients) -> dict[str, Any]:
    """The arrays of `Gradients.to_numpy`, of one or more engines on the same run; of several each has its name in it:
    engine.keras.grad.x."""
    from rnnspect.network.arrays import as_numpy, input_arrays
    from rnnspect.network.recording import ArrayName

    first = results[0]
    tensors = {ArrayName("output", is_gradient=True): first.upstream}
    for one in first.layers:
        place = (one.layer, one.direction)
        named = one.quantities | {f"{gate}_pre": values for gate, values in one.pre_activations.items()}
        tensors |= {ArrayName(name, place, is_gradient=True): values for name, values in named.items()}
    for name, pair in (first.pairs | {"output": first.output}).items():
        is_gradient = pair is not first.output
        theirs = {
            ArrayName(name, None, "engine", one.engine.name, is_gradient)
            if len(results) > 1
            else ArrayName(name, is_gradient=is_gradient): given
            for one in results
            if (given := (one.pairs | {"output": one.output})[name].engine) is not None
        }
        tensors[ArrayName(name, whose="manual" if theirs else None, is_gradient=is_gradient)] = pair.manual
        tensors |= theirs
    x, h0, c0 = (first.given.get(name) for name in STARTS)
    assert x is not None
    assert h0 is not None
    kept = input_arrays(first.spec, x, h0, c0, first.lengths)
    return kept | as_numpy({str(name): values.contiguous() for name, values in tensors.items()})
