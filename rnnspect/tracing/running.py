"""The engine and the equations, run on what was prepared: what a `Run` and a `Trace` hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.unroll import head_of, output_of, unroll
from rnnspect.network.device import plain_defaults
from rnnspect.network.progress import StepsDone, untold
from rnnspect.network.recording import Recording
from rnnspect.network.tensors import batch_major, largest, max_abs_difference
from rnnspect.tracing.layers import LayerTrace
from rnnspect.tracing.prepare import Prepared
from rnnspect.tracing.trace import RESULTS, Pair, Run, Trace


def run_prepared(prepared: Prepared, progress: StepsDone) -> Run:
    """Runs the engine; where no engine has such a network, the equations. `progress` is that of `Prepared.run`. Raises
    `EngineError` for what the engine cannot run."""
    recording = prepared.run(progress)
    if recording.output is None:
        return _equations(prepared, recording, progress)
    return Run(**_shared(prepared, recording), **_results(recording))


def _equations(prepared: Prepared, recording: Recording, progress: StepsDone) -> Run:
    """What the equations give, in place of an engine."""
    (found,) = trace_recordings(prepared, (recording,), progress)
    given = {name: getattr(found, name) for name in RESULTS}
    return Run(**_shared(prepared, recording), **{name: pair and pair.manual for name, pair in given.items()})


def trace_prepared(prepared: Prepared) -> Trace:
    """Runs the equations and the engine on the same parameters and sequence, both on the sequence's device."""
    return trace_recordings(prepared, (prepared.run(),))[0]


def trace_recordings(
    prepared: Prepared, recordings: Sequence[Recording], progress: StepsDone = untold
) -> tuple[Trace, ...]:
    """A trace for each engine that ran. The equations run once, and all traces share their numbers, which are moved to
    the CPU layer by layer."""
    spec, parameters, sequence = prepared.spec, prepared.parameters, prepared.sequence
    layers: list[list[LayerTrace]] = [[] for _ in recordings]
    tops: list[Tensor] = []
    finals: list[tuple[Tensor, ...]] = []
    with torch.no_grad(), plain_defaults():
        for run in unroll(spec, parameters, sequence, progress):
            quantities = {name: batch_major(values) for name, values in run.quantities.items()}
            for recording, seen in zip(recordings, layers, strict=True):
                h = recording.layers.get((run.layer, run.direction))
                h = None if h is None else sequence.within(h, torch.nan)
                apart = 0.0 if h is None else max_abs_difference(run.quantities["h"], h)
                shown = {} if h is None else {"h": batch_major(h)}
                seen.append(LayerTrace(run.layer, run.direction, quantities, shown, apart))
            finals.append(run.final)
            if run.layer == spec.num_layers - 1:
                tops.append(run.quantities["h"])
        output = batch_major(output_of(tops, sequence))
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
        "x": batch_major(sequence.x),
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
