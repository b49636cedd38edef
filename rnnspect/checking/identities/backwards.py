"""The identity of a pass backwards in somebody's own code: computed twice it gives the same gradients."""

from __future__ import annotations

import torch

from rnnspect.checking.identities.reruns import TWICE, extent, shortened
from rnnspect.engines.interface import backward_of
from rnnspect.engines.own.loading import their_errors
from rnnspect.errors import RnnspectError
from rnnspect.judging.verdict import Identity
from rnnspect.network.gradients import EngineGradients
from rnnspect.network.losses import DRAWN, loss_of
from rnnspect.network.tensors import differences
from rnnspect.tracing.prepare import Prepared

USUAL = "gradients that are added to those of the call before (+=), or dropout"


def twice_back(prepared: Prepared) -> Identity:
    """Whether two passes backwards over the first steps and items of the sequence, from the same gradients, give the
    same bits. Where the code raises, it fails with what it raised."""
    engine, spec, short = backward_of(prepared.engine), prepared.spec, shortened(prepared.sequence)
    shape = (short.steps, short.batch, spec.output_width)
    output = torch.zeros((), dtype=short.x.dtype, device=short.x.device).expand(shape)
    went_in = loss_of(DRAWN, spec, short, "loss").of(output, short)[1]
    try:
        with their_errors("it"):
            first, second = (engine.backward(spec, prepared.parameters, short, went_in) for _ in range(2))
    except RnnspectError as error:
        return Identity(TWICE, False, f"in another backward pass, {'; '.join(map(str, error.problems))}", USUAL)
    apart = _apart(first, second)
    if apart is None:
        return Identity(TWICE, True, f"gradients bit for bit the same: {extent(short)}")
    return Identity(TWICE, False, f"{apart}: {extent(short)}", USUAL)


def _apart(first: EngineGradients, second: EngineGradients) -> str | None:
    """The first gradient that differs, and by how much at most; None where none does. NaN equals NaN."""
    again = second.named
    for name, g in first.named.items():
        apart = differences(g, again[name])
        if bool(apart.any()):
            return f"dL/d{name} differs by up to {float(apart.abs().max()):.2g} the second time"
    return None
