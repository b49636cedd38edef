"""A trace: every quantity of every step from the equations, with an engine's numbers beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.differences import largest, max_abs_difference

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rnnspect.engines.interface import EngineInfo
    from rnnspect.preparing import Prepared
    from rnnspect.spec import Spec


@dataclass(frozen=True)
class Pair:
    """The same value from the equations and from the engine."""

    manual: Tensor
    engine: Tensor


@dataclass(frozen=True)
class LayerTrace:
    """One layer and direction. Values are [batch][step][unit], by step of the input; NaN where an item is padded."""

    layer: int
    direction: str
    quantities: dict[str, Tensor]
    """x, input_projection (W_ih x + b_ih), then every gate and state of the cell, in the order of computation."""
    engine: dict[str, Tensor]
    """What the engine showed of the same step: h."""
    max_abs_difference: float


@dataclass(frozen=True)
class Trace:
    """What the equations give and what the engine gave.

    Sequences are [batch][step][unit] whatever `batch_first` says, states [layer·direction][batch][unit], on the CPU
    in the spec's dtype. `stack_difference` is how far the engine's whole stack is from its layers one by one.
    """

    spec: Spec
    engine: EngineInfo
    x: Tensor
    h0: Tensor
    c0: Tensor | None
    lengths: tuple[int, ...] | None
    batched: bool
    layers: tuple[LayerTrace, ...]
    output: Pair
    h_n: Pair
    c_n: Pair | None
    head: Pair | None
    max_abs_difference: float
    stack_difference: float

    @property
    def steps(self) -> int:
        return self.x.shape[1]

    @property
    def batch(self) -> int:
        return self.x.shape[0]

    def length(self, item: int) -> int:
        """How many steps the item at this place of the batch has."""
        return self.lengths[item] if self.lengths else self.steps


def trace_prepared(prepared: Prepared, progress: Callable[[int], None] = lambda _steps: None) -> Trace:
    """Runs the equations and the engine on the same parameters and sequence.

    Both run on the sequence's device; what is kept is moved to the CPU layer by layer.
    """
    import torch

    from rnnspect.device import plain_defaults
    from rnnspect.unroll import head_of, output_of, unroll

    spec, parameters, sequence = prepared.spec, prepared.parameters, prepared.sequence
    recording = prepared.engine.run(spec, parameters, sequence)
    with plain_defaults():
        valid = sequence.valid()
    layers: list[LayerTrace] = []
    tops: list[Tensor] = []
    finals: list[tuple[Tensor, ...]] = []
    with torch.no_grad(), plain_defaults():
        for run in unroll(spec, parameters, sequence, progress):
            engine_h = recording.layers[run.layer, run.direction]
            if valid is not None:
                engine_h = torch.where(valid.to(engine_h.device)[..., None], engine_h, torch.nan)
            apart = max_abs_difference(run.quantities["h"], engine_h)
            quantities = {name: _batch_major(values) for name, values in run.quantities.items()}
            layers.append(LayerTrace(run.layer, run.direction, quantities, {"h": _batch_major(engine_h)}, apart))
            finals.append(run.final)
            if run.layer == spec.num_layers - 1:
                tops.append(run.quantities["h"])
        output = Pair(_batch_major(output_of(spec, tops, sequence)), _batch_major(recording.output))
        h_n, *rest = (torch.stack(state) for state in zip(*finals, strict=True))
        head = None
        if spec.head:
            assert recording.head is not None
            head = Pair(head_of(parameters, h_n, spec.num_directions).cpu(), recording.head.cpu())
    states = Pair(h_n.cpu(), recording.h_n.cpu())
    c_n = None if recording.c_n is None else Pair(rest[0].cpu(), recording.c_n.cpu())
    # The output of a single layer is that layer's h, which was compared already.
    pairs = [pair for pair in (output if spec.num_layers > 1 else None, states, c_n, head) if pair]
    worst = [layer.max_abs_difference for layer in layers]
    worst += [max_abs_difference(pair.manual, pair.engine) for pair in pairs]
    return Trace(
        spec=spec,
        engine=recording.engine,
        x=_batch_major(sequence.x),
        h0=sequence.h0.cpu(),
        c0=None if sequence.c0 is None else sequence.c0.cpu(),
        lengths=sequence.lengths,
        batched=sequence.batched,
        layers=tuple(layers),
        output=output,
        h_n=states,
        c_n=c_n,
        head=head,
        max_abs_difference=largest(worst),
        stack_difference=recording.stack_difference,
    )


def _batch_major(values: Tensor) -> Tensor:
    return values.transpose(0, 1).cpu()


def as_numpy(tensor: Tensor) -> Any:
    """The same numbers as a numpy array; bfloat16, which numpy lacks, as float32."""
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
