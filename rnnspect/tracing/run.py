"""What an engine gives for a sequence, without the equations beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.spec import Spec
    from rnnspect.tracing.prepare import Prepared


@dataclass(frozen=True)
class Run:
    """x and output are [batch][step][unit], states [layer·direction][batch][unit], head [batch][unit]; on the CPU.

    `stack_difference` is how far the engine's whole stack is from its layers one by one, absolute.
    """

    spec: Spec
    engine: EngineInfo
    x: Tensor
    h0: Tensor
    c0: Tensor | None
    lengths: tuple[int, ...] | None
    batched: bool
    output: Tensor
    h_n: Tensor
    c_n: Tensor | None
    head: Tensor | None
    stack_difference: float


def run_prepared(prepared: Prepared) -> Run:
    """Runs the engine. Raises `EngineError` for what it cannot run."""
    spec, sequence = prepared.spec, prepared.sequence
    recording = prepared.engine.run(spec, prepared.parameters, sequence)
    return Run(
        spec=spec,
        engine=recording.engine,
        x=sequence.x.transpose(0, 1).cpu(),
        h0=sequence.h0.cpu(),
        c0=None if sequence.c0 is None else sequence.c0.cpu(),
        lengths=sequence.lengths,
        batched=sequence.batched,
        output=recording.output.transpose(0, 1).cpu(),
        h_n=recording.h_n.cpu(),
        c_n=None if recording.c_n is None else recording.c_n.cpu(),
        head=None if recording.head is None else recording.head.cpu(),
        stack_difference=recording.stack_difference,
    )
