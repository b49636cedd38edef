"""Defines what an engine is: it runs a spec and returns a `rnnspect.network.recording.Recording`, or refuses with the
reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from rnnspect.errors import EngineError, listed, written
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.network.spec_keys import PLAIN

_WITHOUT = {
    "reset": "it applies the reset gate after the matrix product",
    "reverse": "it cannot run in reverse only",
    "input_forget": "its forget gate has its own parameters",
    "peepholes": "it has no peepholes",
    "activations": "it cannot use other activations",
    "clip": "it does not clip",
}
"""By key of a spec, what an engine that does not know the key does instead."""
REENTRANT = "pass use_reentrant=False to torch.utils.checkpoint, or record the gradients and check them: --recorded"
"""What to do where `torch.autograd.grad` cannot go back through a checkpoint of the older kind."""


class Engine(Protocol):
    name: str

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        """Runs the whole network on the device that the sequence is on.

        Raises `EngineError` with the reason for what this engine cannot run.
        """
        ...


@runtime_checkable
class Choosy(Engine, Protocol):
    """An engine that says beforehand what it cannot run, so that another one can be chosen."""

    def check(self, spec: Spec) -> None:
        """Raises `EngineError` with the reason for a network that this engine cannot run on the CPU."""
        ...


@runtime_checkable
class InPieces(Engine, Protocol):
    """An engine that gives the same bits for a long sequence and for pieces of it, with the state carried."""

    piece: int | None
    """The most steps of one call: a call then lasts about a second at most, and much longer than its overhead. None
    where a sequence must be one call."""


@runtime_checkable
class Theirs(Engine, Protocol):
    """The user's own code. It may keep a state between calls or mix the items of a batch, so a check runs it again."""

    def without_state(self) -> Engine | None:
        """The same code, called without an initial state; None where it requires one."""
        ...


@runtime_checkable
class GoesBack(Engine, Protocol):
    """An engine that has gradients."""

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        """Runs the whole network forwards and then backwards, in eval mode, once: dL/dx, dL/dh0, dL/dc0 and dL/dW of
        every parameter of the network (not of its head) for the loss with these gradients of what the network returns.

        Raises `EngineError` with the reason for what this engine cannot run, or cannot run backwards.
        """
        ...


GO_BACK = ("torch", "torch-cell", "torch-compile", "equinox", "flax", "keras")
"""The engines of this package that have gradients."""
BEYOND_TORCH = {"keras": ("reset", "reverse", "activations")}
"""Those of them that have gradients for networks that no module of torch.nn computes, with the keys of such a spec that
each knows."""


@runtime_checkable
class Holding(GoesBack, Protocol):
    """An engine that holds its own parameters, and runs with no others."""

    def handed(self) -> GoesBack:
        """The same kernels, run with the parameters that they are given."""
        ...


def backward_of(engine: Engine) -> GoesBack:
    """The engine itself. Raises `EngineError` for one that has no gradients."""
    if isinstance(engine, GoesBack):
        return engine
    advice = f"choose {listed(GO_BACK)}, or your own code: --engine path/to/mine.py:backward"
    raise EngineError(f"{engine.name} has no backward pass", advice=advice)


def no_gradients(engine: Engine) -> str:
    """A note for an engine that only runs forwards: why there are no gradients of it beside those of the equations."""
    reason = engine.reason if isinstance(engine, NoEngine) else f"{engine.name} gives no gradients"
    return f"{reason}: only the equations' are shown"


class NoEngine:
    """Stands for an engine where none can run a network: it gives nothing, and only the equations are computed."""

    name = "no engine"

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        del parameters
        info = EngineInfo(self.name, "", str(sequence.x.device), spec.dtype)
        return Recording(info, None, None, None, {}, 0.0, notes=(f"only the equations were computed: {self.reason}",))


OWN_CODE = "run your own code: --engine path/to/mine.py:step"
"""The advice where no engine here computes the same."""


def cannot(engine: str, what: str, why: str, advice: str | None = None) -> EngineError:
    """The error to raise; `advice` says what can be run instead, by default another engine."""
    return EngineError(f"{engine} cannot run {what}: {why}", advice=advice or "choose another engine")


def check_spec(engine: str, spec: Spec, knows: Collection[str], projection: str) -> None:
    """Raises `EngineError` for a key of the spec that the engine does not know and that is not at its default.

    It knows the keys that every engine does and those in `knows`. `projection` says why it has no projection.
    """
    if not spec.cell_type.torch_name:
        raise cannot(engine, f"cell {spec.cell}", "it has no such cell", OWN_CODE)
    for name, field in type(spec).model_fields.items():
        if name not in PLAIN and name not in knows and getattr(spec, name) != field.default:
            usual = f"no {name}" if field.default is None else f"{name}: {_said(field.default)}"
            why = _WITHOUT.get(name, f"it has no {name}")
            advice = f"use {usual}, or another engine"
            raise cannot(engine, f"{name}: {_said(getattr(spec, name))}", why, advice)
    if spec.proj_size:
        raise cannot(engine, "a projection", projection, "use proj_size: 0, or another engine")


def _said(value: Any) -> str:
    """A value as it is written in a spec."""
    return f"[{listed(value)}]" if isinstance(value, list) else written(value)


def check_dtype(engine: str, spec: Spec, dtypes: Collection[str], why: str) -> None:
    """Raises `EngineError` for a dtype that is not among `dtypes`, with the reason."""
    if spec.dtype not in dtypes:
        raise cannot(engine, spec.dtype, why, f"use {' or '.join(dtypes)}, or another engine")


def check_device(engine: str, sequence: Sequence) -> None:
    """Raises `EngineError` unless the sequence is in main memory."""
    if sequence.x.device.type != "cpu":
        raise cannot(engine, f"on {sequence.x.device}", "it runs only on the CPU here", "use --device cpu")
