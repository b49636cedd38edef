"""What was seen of a live model's modules, and what the check says of it: frozen data. Loads no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rnnspect.network.shown import in_brief

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from rnnspect.judging.verdict import Answer, Verdict
    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class CapturedCall:
    """Copies on the CPU of all that a call had: arguments, what was returned, the parameters that it ran with."""

    spec: Spec
    engine: EngineInfo
    is_cell: bool
    noisy: bool
    """Whether dropout was active between the layers."""
    parameters: Mapping[str, Tensor]
    given: dict[str, Any]
    returned: Any
    live: Any = field(repr=False)
    """The module itself, which was called."""


@dataclass(frozen=True)
class Call:
    """One call of one module: its name in the model ("" for the model itself), its class in torch.nn such as LSTM
    or GRUCell, which call of this module it was (from 0), the shape of x as it came; of a packed one (T, B, I)."""

    module: str
    kind: str
    index: int
    shape: tuple[int, ...]
    packed: bool
    kept: CapturedCall | str = field(repr=False)
    """Copies of all that the call had, or why there are none."""

    @property
    def steps(self) -> int:
        """Its steps in all layers and directions together; 0 where nothing was kept."""
        if isinstance(self.kept, str) or not self.shape:  # x came under another name, or is no tensor
            return 0
        spec = self.kept.spec
        axis = 1 if spec.batch_first and len(self.shape) == 3 and not self.packed else 0
        return (1 if self.kept.is_cell else self.shape[axis]) * len(spec.places)


@dataclass(frozen=True)
class CallVerdict:
    """What the check says of one call; None where nothing could be read of it, and then `reason` says why."""

    call: Call
    verdict: Verdict | None
    reason: str | None

    @property
    def name(self) -> str:
        return self.call.module

    @property
    def index(self) -> int:
        return self.call.index

    @property
    def answer(self) -> Answer:
        return self.verdict.verdict if self.verdict is not None else "cannot tell"

    @property
    def _start(self) -> str:
        return f"{self.name or 'the model'} ({self.call.kind}), call {self.index}: {self.answer}"

    def __repr__(self) -> str:
        return in_brief(self, self._start)

    @property
    def agrees(self) -> bool:
        return self.answer == "agree"

    def __bool__(self) -> bool:
        return self.agrees

    def __str__(self) -> str:
        """encoder.rnn (LSTM), call 0: agree, float32, at most 0.04 of the bound"""
        start = self._start
        if self.verdict is None:
            return f"{start}: {self.reason}"
        said = [f"{start}, {self.verdict.arithmetic}"]
        if one := self.verdict.first:
            step = "" if one.step < 0 else f", step {one.step}"
            at = f"layer {one.layer} {one.direction}{step}, batch item {one.batch}, unit {one.unit}"
            said.append(f"first at {one.quantity} of {at}")
            said.append(f"expected {one.manual:.6g}, got {one.engine:.6g} ({one.ratio:.3g} × the limit)")
        elif self.verdict.worst:
            said.append(f"largest error {self.verdict.worst.ratio:.2g} × the limit")
        return ", ".join(said) + (f": {self.verdict.reason}" if self.verdict.reason else "")
