"""What an engine gives for a sequence: alone (`Run`), or with every quantity of the equations beside it (`Trace`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.errors import EngineError, listed
from rnnspect.network.shown import Shown

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.network.recording import EngineInfo, Recording
    from rnnspect.network.spec import Spec
    from rnnspect.tracing.prepare import Prepared


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

    def length(self, item: int) -> int:
        """How many steps the item at this place of the batch has."""
        return self.lengths[item] if self.lengths else self.steps

    def _arrays(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """What the run was given and `tensors`, as numpy arrays by name."""
        from rnnspect.network.arrays import as_numpy, input_arrays

        return input_arrays(self.spec, self.x, self.h0, self.c0, self.lengths) | as_numpy(tensors)


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True)
class LayerTrace:
    """One layer and direction. Values are [batch][step][unit], by step of the input; NaN where an item is padded."""

    layer: int
    direction: str
    quantities: dict[str, Tensor]
    """x, input_projection (W_ih x + b_ih), then every gate and state of the cell, in the order of computation."""
    engine: dict[str, Tensor]
    """h as the engine gave it, under "h"; empty where the engine does not show this layer."""
    max_abs_difference: float


@dataclass(frozen=True, kw_only=True)
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

    def to_numpy(self) -> dict[str, Any]:
        """Every array by the name that `rnnspect trace -o run.npz` gives it: numpy.savez(path, **trace.to_numpy()).

        l0.forward.i is a quantity (B, T, H) of the equations, l0.forward.engine.h the engine's h; manual.output and
        engine.output (B, T, D·P), h_n (L·D, B, P), c_n and head of both; x, h0, c0, lengths, and the spec as JSON.
        bfloat16 becomes float32. Arrays share the trace's memory.
        """
        return trace_arrays(self)


def run_prepared(prepared: Prepared, progress: Callable[[int], None] = lambda _steps: None) -> Run:
    """Runs the engine. `progress` is that of `Prepared.run`. Raises `EngineError` for what it cannot run, and where
    there is none."""
    recording = prepared.run(progress)
    if recording.output is None:
        raise EngineError(listed(recording.notes), allowed="another engine")
    return Run(**_shared(prepared, recording), **_results(recording))


def trace_prepared(prepared: Prepared) -> Trace:
    """Runs the equations and the engine on the same parameters and sequence, both on the sequence's device."""
    return trace_recordings(prepared, (prepared.run(),))[0]


def trace_recordings(
    prepared: Prepared, recordings: Sequence[Recording], progress: Callable[[int], None] = lambda _steps: None
) -> tuple[Trace, ...]:
    """A trace for each engine that ran. The equations run once, and all traces share their numbers, which are moved to
    the CPU layer by layer."""
    import torch

    from rnnspect.arithmetic.unroll import head_of, output_of, unroll
    from rnnspect.network.device import plain_defaults
    from rnnspect.network.tensors import max_abs_difference

    spec, parameters, sequence = prepared.spec, prepared.parameters, prepared.sequence
    layers: list[list[LayerTrace]] = [[] for _ in recordings]
    tops: list[Tensor] = []
    finals: list[tuple[Tensor, ...]] = []
    with torch.no_grad(), plain_defaults():
        valid = sequence.valid()
        for run in unroll(spec, parameters, sequence, progress):
            quantities = {name: _batch_major(values) for name, values in run.quantities.items()}
            for recording, seen in zip(recordings, layers, strict=True):
                h = recording.layers.get((run.layer, run.direction))
                if h is not None and valid is not None:
                    h = torch.where(valid.to(h.device)[..., None], h, torch.nan)
                apart = 0.0 if h is None else max_abs_difference(run.quantities["h"], h)
                shown = {} if h is None else {"h": _batch_major(h)}
                seen.append(LayerTrace(run.layer, run.direction, quantities, shown, apart))
            finals.append(run.final)
            if run.layer == spec.num_layers - 1:
                tops.append(run.quantities["h"])
        output = _batch_major(output_of(tops, sequence))
        states = tuple(torch.stack(state) for state in zip(*finals, strict=True))
        head = head_of(parameters, states[0], spec.num_directions).cpu() if spec.head else None
    manual = {"output": output, "head": head} | {
        name: state.cpu() for name, state in zip(("h_n", "c_n"), states, strict=False)
    }
    return tuple(
        _beside(prepared, manual, recording, tuple(seen)) for recording, seen in zip(recordings, layers, strict=True)
    )


def _beside(
    prepared: Prepared, manual: dict[str, Tensor | None], recording: Recording, layers: tuple[LayerTrace, ...]
) -> Trace:
    """The trace of one engine: what the equations gave, and beside it what that engine gave."""
    from rnnspect.network.tensors import largest, max_abs_difference

    pairs = {
        name: Pair(ours, theirs)
        for name, theirs in _results(recording).items()
        if (theirs is not None or recording.output is None) and (ours := manual.get(name)) is not None
    }
    # The output of a single layer is that layer's h, which was compared already.
    compared = [pair for name, pair in pairs.items() if name != "output" or prepared.spec.num_layers > 1]
    worst = [layer.max_abs_difference for layer in layers]
    worst += [max_abs_difference(pair.manual, pair.engine) for pair in compared if pair.engine is not None]
    return Trace(
        **_shared(prepared, recording),
        layers=layers,
        output=pairs["output"],
        h_n=pairs["h_n"],
        c_n=pairs.get("c_n"),
        head=pairs.get("head"),
        max_abs_difference=largest(worst),
    )


def _shared(prepared: Prepared, recording: Recording) -> dict[str, Any]:
    """The fields of `EngineRun`."""
    sequence = prepared.sequence
    return {
        "spec": prepared.spec,
        "engine": recording.engine,
        "x": _batch_major(sequence.x),
        "h0": sequence.h0.cpu(),
        "c0": None if sequence.c0 is None else sequence.c0.cpu(),
        "lengths": sequence.lengths,
        "batched": sequence.batched,
        "stack_difference": recording.stack_difference,
        "notes": recording.notes,
    }


def _results(recording: Recording) -> dict[str, Any]:
    """What the engine gave by the names in `RESULTS`, on the CPU; None for what this network does not have."""
    given = {name: getattr(recording, name) for name in RESULTS}
    if recording.output is not None:
        given["output"] = recording.output.transpose(0, 1)
    return {name: None if values is None else values.cpu() for name, values in given.items()}


def _batch_major(values: Tensor) -> Tensor:
    return values.transpose(0, 1).cpu()


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
