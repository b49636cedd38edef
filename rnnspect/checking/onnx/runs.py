"""A run of a whole ONNX model, in which some of its recurrent parts show what they receive and give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.checking.onnx.calls import why
from rnnspect.checking.onnx.exposed import ExposedCell, ExposedNode, loops_around, with_exposed_outputs
from rnnspect.checking.onnx.inputs import Feed, feeds_of
from rnnspect.engines.shared.onnx_model import Ran, Session
from rnnspect.errors import InputError
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.onnx import Part

if TYPE_CHECKING:
    from onnx import ModelProto

Layer = tuple[Part, Spec]


@dataclass(frozen=True)
class ModelRun:
    all_exposed: list[ExposedNode | ExposedCell]
    ran: Ran
    feed: Feed
    left_out: tuple[str, ...] = ()
    """Parts in loops that cannot show what they receive."""
    why_left_out: str = ""


def run_parts(model: ModelProto, given: Any, layers: list[Layer], batch: int | None, seed: int, file: str) -> ModelRun:
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


def _run(model: ModelProto, feeds: Callable[[], Iterator[Feed]], layers: list[Layer], file: str) -> ModelRun:
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
