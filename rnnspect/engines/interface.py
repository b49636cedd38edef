"""What an engine is: it runs a spec and gives a `rnnspect.network.recording.Recording`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

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
    """The user's own code, which may keep a state between calls or mix the items of a batch: a check runs it again."""

    def without_state(self) -> Engine | None:
        """The same code, called without an initial state; None where it requires one."""
        ...
