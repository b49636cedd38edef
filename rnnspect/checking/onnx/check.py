"""A check of an ONNX model: the whole graph runs once, and each recurrent part is judged on what it received then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.checking.check import AS_USUAL, CheckTerms
from rnnspect.checking.onnx.calls import NodeVerdict, why
from rnnspect.checking.onnx.cells import CellCalls
from rnnspect.checking.onnx.exposed import ExposedCell, ExposedNode, loops_around, with_exposed_outputs
from rnnspect.checking.onnx.inputs import Feed, feeds_of
from rnnspect.checking.onnx.nodes import NodeCalls
from rnnspect.engines.shared.onnx_model import Ran, Session
from rnnspect.errors import FileError, InputError, RnnspectError
from rnnspect.files.onnx_file import read_model
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.onnx import Part, chosen, part_in, parts_in, spec_of_part
from rnnspect.weights.readers.onnx_rnn_nodes import SCALES, OnnxNode

if TYPE_CHECKING:
    from onnx import ModelProto


_Layer = tuple[Part, Spec]


@dataclass(frozen=True)
class ModelRun:
    all_exposed: list[ExposedNode | ExposedCell]
    ran: Ran
    feed: Feed
    left_out: tuple[str, ...] = ()
    """Parts in loops that cannot show what they receive."""
    why_left_out: str = ""


def run_parts(model: ModelProto, given: Any, layers: list[_Layer], batch: int | None, seed: int, file: str) -> ModelRun:
    """One run, on `given` as `feeds_of` takes it. Raises `InputError` where no runtime runs it."""

    def feeds() -> Iterator[Feed]:
        return feeds_of(model, given, layers, batch, seed)

    try:
        return _run(model, feeds, layers, file)
    except InputError as error:
        inside = tuple(part.name for part, _ in layers if loops_around(part.path))
        if not inside:
            raise
        run = _run(model, feeds, [layer for layer in layers if layer[0].name not in inside], file)
        reason = why(error, "cannot tell: what it receives inside a loop cannot be shown: ")
        return ModelRun(run.all_exposed, run.ran, run.feed, inside, reason)


def _run(model: ModelProto, feeds: Callable[[], Iterator[Feed]], layers: list[_Layer], file: str) -> ModelRun:
    """On the first feed that the model takes."""
    copy, all_exposed = with_exposed_outputs(model, layers)
    dtype = next((spec.dtype for _, spec in layers), "float32")
    shown = [output for exposed in all_exposed for output in exposed.every_output]
    wanted = shown or [output.name for output in model.graph.output]  # without a part, whether the rest runs
    waiting = feeds()
    feed = next(waiting)  # what is wrong with it is said before anything is made ready
    session = Session(copy, [exposed.part for exposed in all_exposed if isinstance(exposed, ExposedNode)], dtype, file)
    while True:
        try:
            return ModelRun(all_exposed, Ran(session.run(feed.arrays, wanted), session.engine), feed)
        except InputError:
            following = next(waiting, None)
            if following is None:
                raise
            feed = following


@dataclass(frozen=True)
class ModelVerdict:
    calls: tuple[NodeVerdict, ...]
    never_ran: tuple[str, ...]
    warnings: tuple[str, ...]


def check_model(
    path: Path, given: Any, module: str | None, batch: int | None, seed: int, terms: CheckTerms
) -> ModelVerdict:
    """Runs the model once on `given`: its inputs by name, one array, or a generator. `module` names the only node to
    judge; `batch` and `seed` are for a generator; `terms` say how.

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
        run = run_parts(model, given, layers, batch, seed, file)
        calls += [NodeVerdict(name, None, run.why_left_out) for name in run.left_out]
        warnings += (f"note: {run.feed.note}",) if run.feed.note else ()
        for exposed in run.all_exposed:
            found = list(_calls_of(exposed, run, terms).verdicts())
            calls += found
            never += [] if found else [exposed.part.name]
    return ModelVerdict(tuple(calls), tuple(never), warnings)


def received(path: Path, module: str | None, given: Any, batch: int | None, seed: int) -> tuple[Sequence, str]:
    """What a part of the model received in its first call, in a run on `given`, and what was drawn for that run. Raises
    as `check_model`, and `InputError` where the part did not run."""
    file = str(path)
    model = read_model(path)
    layers, _ = _layers({(part := part_in(model, module, file)).name: part})
    run = run_parts(model, given, layers, batch, seed, file)
    first = next((one for exposed in run.all_exposed for one in _calls_of(exposed, run, AS_USUAL).received()), None)
    if first is None:
        raise InputError("this node did not run on this input", where=f"{file}:{module}" if module else file)
    return first, run.feed.note


def _calls_of(exposed: ExposedNode | ExposedCell, run: ModelRun, terms: CheckTerms) -> NodeCalls | CellCalls:
    return (
        NodeCalls(exposed, run.ran, terms) if isinstance(exposed, ExposedNode) else CellCalls(exposed, run.ran, terms)
    )


def _layers(parts: Mapping[str, Part]) -> tuple[list[tuple[Part, Spec]], list[NodeVerdict]]:
    """The parts that have a spec, with it, and why the others have none. Raises where no part can be read."""
    layers: list[tuple[Part, Spec]] = []
    calls: list[NodeVerdict] = []
    unusable: list[RnnspectError] = []
    for name, part in parts.items():
        if isinstance(part, OnnxNode) and part.quantized:
            unknown = [one for one in ("W", "R", *SCALES) if not part.is_fixed(one)]
            if unknown:
                reason = f"cannot tell: its {unknown[0]} is not stored in the model, so its integers are not known"
                calls.append(NodeVerdict(name, None, reason))
                continue
        try:
            layers.append((part, spec_of_part(part)))
        except RnnspectError as error:
            calls.append(NodeVerdict(name, None, why(error)))
            unusable.append(error)
    if unusable and len(unusable) == len(parts):
        raise FileError([problem for error in unusable for problem in error.problems])
    return layers, calls
