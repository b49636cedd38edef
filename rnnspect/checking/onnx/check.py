"""A check of an ONNX model: the whole graph runs once, and each recurrent part is judged on what it received then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.checking.onnx.calls import NodeVerdict, why
from rnnspect.checking.onnx.cells import CellCalls
from rnnspect.checking.onnx.exposed import CellTaps, NodeTaps, loops_around, tapped
from rnnspect.checking.onnx.inputs import feeds_of
from rnnspect.checking.onnx.nodes import NodeCalls
from rnnspect.engines.shared.onnx_model import Ran, run_model
from rnnspect.errors import FileError, InputError, RnnspectError
from rnnspect.files.onnx_file import read_model
from rnnspect.judging.declared import Declared
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.onnx import Part, chosen, parts_in
from rnnspect.weights.readers.onnx_nodes import SCALES, OnnxNode, spec_of
from rnnspect.weights.readers.onnx_written_out import spec_of_cell

if TYPE_CHECKING:
    from onnx import ModelProto

    Array = Any


@dataclass(frozen=True)
class ModelVerdict:
    calls: tuple[NodeVerdict, ...]
    never_ran: tuple[str, ...]
    warnings: tuple[str, ...]


def check_model(
    path: Path,
    given: Any,
    module: str | None,
    batch: int | None,
    seed: int,
    held_to: Declared | None,
    explain: float | None,
) -> ModelVerdict:
    """Runs the model once on `given`: its inputs by name, one array, or a generator. `module` names the only node to
    judge; `batch` and `seed` are for a generator; `explain` is as `check_observation` has it.

    Raises `FileError` for a file that is no such model, or none of whose nodes can be read, `InputError` for inputs
    that do not fit it or a graph that no runtime runs.
    """
    file = str(path)
    model = read_model(path)
    parts = chosen(parts_in(model, file), module, file)
    layers, calls = _layers(parts)
    said = (part.warning if isinstance(part, OnnxNode) else part.note for part in parts.values())
    warnings = tuple(one for one in said if one)
    never: list[str] = []
    if layers:
        for feed in feeds_of(model, given, parts, batch, seed):
            try:
                taps, ran, refused = _run_with_loops(model, feed.arrays, layers, file)
                break
            except InputError as error:
                last = error
        else:
            raise last
        calls += refused
        warnings += (f"note: {feed.note}",) if feed.note else ()
        for tap in taps:
            own = (ran, held_to, explain)
            found = list((NodeCalls(tap, *own) if isinstance(tap, NodeTaps) else CellCalls(tap, *own)).verdicts())
            calls += found
            never += [] if found else [tap.part.name]
    return ModelVerdict(tuple(calls), tuple(never), warnings)


def _layers(parts: Mapping[str, Part]) -> tuple[list[tuple[Part, Spec]], list[NodeVerdict]]:
    """The parts that have a spec, with it, and why the others have none. Raises where no part can be read."""
    layers: list[tuple[Part, Spec]] = []
    calls: list[NodeVerdict] = []
    unusable: list[RnnspectError] = []
    for name, part in parts.items():
        if isinstance(part, OnnxNode) and part.quantized:
            unknown = [one for one in ("W", "R", *SCALES) if not part.is_fixed(one)]
            if unknown:
                reason = f"cannot tell: its {unknown[0]} is no constant of the file, and its integers are not known"
                calls.append(NodeVerdict(name, None, reason))
                continue
        try:
            layers.append((part, spec_of(part) if isinstance(part, OnnxNode) else spec_of_cell(part)))
        except RnnspectError as error:
            calls.append(NodeVerdict(name, None, why(error)))
            unusable.append(error)
    if unusable and len(unusable) == len(parts):
        raise FileError([problem for error in unusable for problem in error.problems])
    return layers, calls


def _run_with_loops(
    model: ModelProto, feed: Mapping[str, Array], layers: list[tuple[Part, Spec]], file: str
) -> tuple[list[NodeTaps | CellTaps], Ran, list[NodeVerdict]]:
    """As `_run`. Where what nodes in loops receive cannot be led out, they are left out, with the reason."""
    try:
        return *_run(model, feed, layers, file), []
    except InputError as error:
        inside = [part.name for part, _ in layers if loops_around(part.path)]
        if not inside:
            raise
        ran = _run(model, feed, [layer for layer in layers if layer[0].name not in inside], file)
        reason = why(error, "cannot tell: what it receives in a loop cannot be led out: ")
        return *ran, [NodeVerdict(name, None, reason) for name in inside]


def _run(
    model: ModelProto, feed: Mapping[str, Array], layers: list[tuple[Part, Spec]], file: str
) -> tuple[list[NodeTaps | CellTaps], Ran]:
    """What these parts receive and give in a run of the model."""
    copy, taps = tapped(model, layers)
    dtype = next((spec.dtype for _, spec in layers), "float32")
    shown = [output for tap in taps for output in tap.every_output]
    wanted = shown or [output.name for output in model.graph.output]  # without a node, whether the rest runs
    return taps, run_model(copy, feed, [tap.part for tap in taps if isinstance(tap, NodeTaps)], dtype, file, wanted)
