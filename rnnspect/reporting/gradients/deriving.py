"""How the derivation of a gradient is made: the equations run from the inputs to the loss and back, in float64, and one
number of that is written by the chain rule."""

from __future__ import annotations

from torch import Tensor

from rnnspect.engines.interface import GoesBack, no_gradients
from rnnspect.errors import EngineError, listed
from rnnspect.network.device import plain_defaults
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.losses import Loss
from rnnspect.network.progress import StepsDone, untold
from rnnspect.reporting.gradients.data import GradientAt, GradientDerivation
from rnnspect.reporting.gradients.parameter import of_parameter
from rnnspect.reporting.gradients.run import GradientRun, run_there_and_back
from rnnspect.reporting.gradients.step import of_step
from rnnspect.tracing.prepare import Prepared


def derive_gradient(prepared: Prepared, at: GradientAt, loss: Loss, progress: StepsDone = untold) -> GradientDerivation:
    """Runs the equations to the loss and back, and the engine, where it has gradients. `at` is what `locating.located`
    gives. `progress` is told how many steps more are done, of twice those of all layers and directions."""
    with plain_defaults():
        run = run_there_and_back(prepared, at, loss, progress)
        gradients, notes = _of_engine(prepared, run.upstream)
        made = of_parameter(run, at) if at.is_parameter else of_step(run, at)
    return GradientDerivation(
        spec=prepared.spec,
        engine=None if gradients is None else gradients.engine,
        at=at,
        loss=loss.said,
        loss_value=run.loss,
        items=run.sequence.batch,
        engine_value=None if gradients is None else _engine_value(gradients, run, at),
        notes=notes,
        **made,
    )


def _of_engine(prepared: Prepared, upstream: Upstream) -> tuple[EngineGradients | None, tuple[str, ...]]:
    """What the engine gives for the same loss, and notes."""
    engine, spec, like = prepared.engine, prepared.spec, prepared.sequence.x
    if not isinstance(engine, GoesBack):
        return None, (no_gradients(engine),)
    try:
        given = engine.backward(spec, prepared.parameters, prepared.sequence, upstream.each(lambda of: of.to(like)))
    except EngineError as error:
        reasons = listed(problem.found for problem in error.problems)
        return None, (f"only the equations' gradient is shown: {reasons}",)
    return given, given.notes


def _engine_value(given: EngineGradients, run: GradientRun, at: GradientAt) -> float | None:
    if at.is_part:
        return None
    values: Tensor | None
    place: tuple[int, ...]
    row, item = run.prepared.spec.row(at.layer, at.direction), at.batch or 0
    match at.name:
        case "x":
            values, place = given.x if at.layer == 0 else None, (at.step or 0, item)
        case "h0" | "c0":
            values, place = given.h0 if at.name == "h0" else given.c0, (row, item)
        case name:
            values, place = given.parameters.get(name), ()
    return None if values is None else float(values[(*place, *at.indices)])
