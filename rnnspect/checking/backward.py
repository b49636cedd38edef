"""A check of gradients: whether what an engine gives going back is what the equations give."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.unroll import output_of, unroll
from rnnspect.checking.check import judge_recording
from rnnspect.checking.exposed import exposed_layers
from rnnspect.engines.interface import backward_of
from rnnspect.errors import EngineError
from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.stack import judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.declared import Declared, declared_by
from rnnspect.judging.finding import Progress, silent
from rnnspect.judging.verdict import Verdict
from rnnspect.network.device import plain_defaults
from rnnspect.network.drawing import draw_normal, generator_of
from rnnspect.network.gradients import Upstream
from rnnspect.network.losses import Loss
from rnnspect.tracing.prepare import Prepared

DRAWN = "a drawn dL/d output (standard normal)"


def check_backward(
    prepared: Prepared,
    loss: Loss | None = None,
    declared: Declared | None = None,
    progress: Progress = silent,
    explain: float | None = None,
) -> Verdict:
    """The verdict on the gradients that the prepared engine gives for the loss; without one dL/d output is drawn.

    Its values are checked first, where it can run forwards alone: where those differ, that is the verdict.

    Raises `EngineError` for an engine that has no gradients, and what the engine raises.
    """
    engine = backward_of(prepared.engine)
    forwards = _forwards(prepared, declared, progress, explain)
    if forwards is not None and forwards.verdict == "differ":
        return replace(forwards, notes=(*forwards.notes, "the gradients were not checked: the values differ already"))
    spec, sequence, parameters = prepared.spec, prepared.sequence, prepared.parameters
    inputs, output = _inputs(prepared)
    upstream = _drawn(prepared) if loss is None else loss.of(output, sequence)[1]
    whole = engine.backward(spec, parameters, sequence, upstream)
    layers = exposed_layers(engine, spec, parameters, sequence, upstream, inputs)
    cpu = torch.device("cpu")
    case = BackwardCase(
        spec, {name: values.detach().to(cpu) for name, values in parameters.items()}, sequence.to(cpu),
        whole.engine, layers, declared or declared_by(whole.engine),
    )  # fmt: skip
    with plain_defaults():
        verdict = backward_verdict(case, judge_backward(case, progress=lambda steps: progress(None, steps)))
    said = f"the loss is {loss.said}" if loss else f"the gradients are those of {DRAWN}; --loss chooses a loss"
    found = replace(verdict, notes=(*whole.notes, *verdict.notes, said))
    if forwards is not None and forwards.verdict == "cannot tell" and found.agrees:
        return forwards
    return found


def _forwards(
    prepared: Prepared, declared: Declared | None, progress: Progress, explain: float | None
) -> Verdict | None:
    """The verdict on the values; None for code that only goes back."""
    try:
        recording = prepared.run()
    except EngineError:
        return None
    return judge_recording(prepared, recording, declared, progress, explain).verdict


def _inputs(prepared: Prepared) -> tuple[list[Tensor], Tensor]:
    """The x of each layer and the output of the network, by the equations, in the network's dtype."""
    spec, sequence = prepared.spec, prepared.sequence
    found: dict[int, list[Tensor]] = {}
    with torch.no_grad(), plain_defaults():
        for one in unroll(spec, prepared.parameters, sequence):
            found.setdefault(one.layer, []).append(one.quantities["h"])
        outputs = [output_of(parts, sequence) for parts in found.values()]
    return [sequence.x, *outputs[:-1]], outputs[-1]


def _drawn(prepared: Prepared) -> Upstream:
    spec, sequence = prepared.spec, prepared.sequence
    shape = (sequence.steps, sequence.batch, spec.output_size * spec.num_directions)
    g = draw_normal(shape, generator_of(spec)).to(sequence.x)
    valid = sequence.valid()
    return Upstream(g if valid is None else torch.where(valid.to(g.device)[..., None], g, 0))
