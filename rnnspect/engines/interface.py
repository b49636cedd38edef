"""What an engine is asked for; what it gives back is a `rnnspect.network.recording.Recording`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.network.recording import Recording
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec


class Engine(Protocol):
    name: str

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        """Runs the whole network on the device that the sequence is on.

        Raises `EngineError` with the reason for what this engine cannot run.
        """
        ...


@runtime_checkable
class Theirs(Engine, Protocol):
    """Somebody's own code, which may keep or mix what it should not: it is worth running again."""

    def without_state(self) -> Engine | None:
        """The same code, called without any initial state; None where it has to be given one."""
        ...
