"""What goes into a pass backwards that is checked: the gradients of the loss by what the network returns."""

from __future__ import annotations

from torch import Tensor

from rnnspect.errors import listed
from rnnspect.network.gradients import Upstream
from rnnspect.network.losses import Loss, drawn_with, loss_of
from rnnspect.tracing.prepare import Prepared


def upstream_of(prepared: Prepared, loss: Loss | Upstream | None, output: Tensor) -> Upstream:
    """The gradients that go in. Without a loss they are drawn, those of the final states as well: from zeros no wrong
    use of them would be seen."""
    if isinstance(loss, Upstream):
        return loss
    spec, sequence = prepared.spec, prepared.sequence
    if loss is None:
        loss = loss_of(drawn_with(f"{name}_n" for name in spec.cell_type.states), spec, sequence, "loss")
    return loss.of(output, sequence)[1]


def loss_drawn(upstream: Upstream) -> str:
    """The loss that was drawn, as `--loss` takes it."""
    return drawn_with(name for name in ("h_n", "c_n") if getattr(upstream, name) is not None)


def said_of(loss: Loss | None, drawn: str) -> str:
    """What the loss is, in words; `drawn` is the one that was drawn where none was chosen."""
    if loss is not None:
        return f"the loss is {loss.said}"
    finals = drawn.partition(":")[2]
    names = ["dL/d output", *(f"dL/d{name}" for name in finals.split(",") if name)]
    return f"{listed(names)} {'is' if len(names) == 1 else 'are'} random (standard normal); --loss chooses a loss"
