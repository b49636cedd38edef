"""What goes into a pass backwards that is checked: the gradients of the loss by what the network returns."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from rnnspect.engines.interface import GoesBack
from rnnspect.engines.own.engine import OwnEngine
from rnnspect.errors import listed
from rnnspect.network.drawing import draw_normal, generator_of
from rnnspect.network.gradients import Upstream
from rnnspect.network.losses import DRAWN, Loss, loss_of
from rnnspect.tracing.prepare import Prepared


def upstream_of(
    prepared: Prepared, engine: GoesBack, loss: Loss | Upstream | None, output: Tensor
) -> tuple[Upstream, tuple[str, ...]]:
    """The gradients that go in, and notes about them. Without a loss dL/d output is drawn; and dL/dh_n and dL/dc_n are,
    too, for a pass backwards that was written by hand and asks for them: from zeros no wrong use of them would be seen.
    """
    if isinstance(loss, Upstream):
        return loss, ()
    spec, sequence = prepared.spec, prepared.sequence
    taken = engine.final_gradients(spec, prepared.parameters) if isinstance(engine, OwnEngine) else ()
    if loss is not None:
        return loss.of(output, sequence)[1], (said_of(loss), *_unused(taken))
    given = loss_of(DRAWN, spec, sequence, "loss").of(output, sequence)[1]
    generator = generator_of(spec.with_changes(seed=(spec.seed + 1) % 2**64))  # not the numbers of dL/d output again
    drawn = {
        name: draw_normal((len(spec.places), sequence.batch, spec.units(name)), generator).to(given.output)
        for name in ("h_n", "c_n")[: len(sequence.state)]
    }
    return replace(given, **{name: drawn[name] for name in taken}), (said_of(None, taken),)


def said_of(loss: Loss | None, finals: tuple[str, ...] = ()) -> str:
    """What the loss is, in words; `finals` are the final states whose gradients were drawn as well."""
    if loss is not None:
        return f"the loss is {loss.said}"
    drawn = listed(("dL/d output", *(f"dL/d{name}" for name in finals)))
    return f"{drawn} {'were' if finals else 'was'} drawn (standard normal); --loss chooses a loss"


def _unused(taken: tuple[str, ...]) -> tuple[str, ...]:
    """A note for a loss of the output alone, where the code would take gradients of final states as well."""
    if not taken:
        return ()
    names = listed(f"grad_{name}" for name in taken)
    was = "was" if len(taken) == 1 else "were"
    return (f"{names} {was} zero, as the loss takes no final state: what the code makes of it was not checked",)
