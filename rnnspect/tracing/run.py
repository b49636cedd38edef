"""What an engine gives for a sequence, without the equations beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rnnspect.network.arrays import as_numpy, input_arrays
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

    def to_numpy(self, parameters: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """output, h_n, c_n and head beside what the run was given: x, h0, c0, lengths, and the spec as JSON.

        With the parameters by PyTorch's names it is all that an implementation in another language needs.
        """
        given = {"output": self.output, "h_n": self.h_n, "c_n": self.c_n, "head": self.head}
        tensors = {name: tensor for name, tensor in given.items() if tensor is not None}
        tensors |= {name: tensor.cpu() for name, tensor in (parameters or {}).items()}
        return input_arrays(self.spec, self.x, self.h0, self.c0, self.lengths) | as_numpy(tensors)


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
